"""What each cause costs: repaired one after another, by how much does the final gap close?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from parity.compare.alignment import Pair
from parity.compare.ranks import moved_ranks, ranked_by
from parity.explain.causes import Fault, find_faults
from parity.explain.probe import Probe, given_from_reference
from parity.judge.report import Cause
from parity.tolerance import Floats, Mask
from replay.stack import Stack
from replay.trace import EMPTY, Array, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The gap before any repair and after each, in causal order, on the probe's sample.

    Attributes:
        measured: The output that the gap is taken at; None when nothing parts there.
        shares: Of each fault, its signed part of the gap; None when it can not be repaired
            or there is no gap. Shares and remainder add up to one.
        remainder: The share that repairing every fault leaves.
        rank_flips: Candidates whose rank moved, before any repair and after each that was made.
    """

    measured: str | None
    shares: tuple[float | None, ...]
    remainder: float | None
    rank_flips: tuple[int, ...]


def repair(challenger: Stack, probe: Probe) -> Repair:
    """Repair the probe's faults one after another: one pass of the challenger for each.

    A fault is repaired by giving the reference's values where it stands, and where the faults
    before it stand. The gap is the mean absolute difference of the logit; where no logit is
    aligned, or both agree on it, of pctr.
    """
    faults = find_faults(probe)
    measured, usable = _measured(probe)
    gaps = [_gap(measured, probe, probe.free_run, EMPTY, usable)]
    flips = [_flips(probe, probe.free_run, EMPTY)]
    given: dict[str, Array] = {}
    shares: list[float | None] = []
    capture = [pair.challenger.name for pair in probe.alignment.outputs.values()]
    for fault in faults:
        added = _repaired(fault, probe)
        if not added or not (gaps[0] or flips[0]):
            shares.append(None)
            continue
        given |= added
        trace = challenger.score(probe.batch, capture=capture, given=given)
        gaps.append(_gap(measured, probe, trace, given, usable))
        flips.append(_flips(probe, trace, given))
        shares.append((gaps[-2] - gaps[-1]) / gaps[0] if gaps[0] else None)
    return Repair(
        measured=None if measured is None else measured.name,
        shares=tuple(shares),
        remainder=gaps[-1] / gaps[0] if gaps[0] and faults else None,
        rank_flips=tuple(flips),
    )


def with_shares(causes: Sequence[Cause], found: Repair) -> tuple[Cause, ...]:
    """The causes, each with its share of the gap."""
    return tuple(
        replace(cause, share_of_gap=share)
        for cause, share in zip(causes, found.shares, strict=True)
    )


def _repaired(fault: Fault, probe: Probe) -> dict[str, Array]:
    names = [pair.name for pair in fault.pairs]
    given, _ = given_from_reference(names, probe.alignment, probe.reference)
    return given


def _measured(probe: Probe) -> tuple[Pair | None, Mask]:
    """The output to measure at, and its [row] mask of rows that are finite without a repair."""
    for name in ("logit", "pctr"):
        pair = probe.alignment.outputs.get(name)
        if pair is None:
            continue
        apart = _apart(pair, probe, probe.free_run, EMPTY)
        usable = np.isfinite(apart)
        if np.any(apart[usable] > 0.0):
            return pair, usable
    return None, np.zeros(0, dtype=np.bool_)


def _gap(
    pair: Pair | None, probe: Probe, trace: Trace, given: Mapping[str, Array], usable: Mask
) -> float:
    if pair is None:
        return 0.0
    return float(np.mean(_apart(pair, probe, trace, given)[usable]))


def _apart(pair: Pair, probe: Probe, trace: Trace, given: Mapping[str, Array]) -> Floats:
    """[row]: absolute differences of an output as it went on: given, else produced."""
    ours, theirs = pair.values(probe.reference, _carried(trace, given))
    with np.errstate(invalid="ignore"):  # infinity - infinity: left out as not usable
        apart: Floats = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).ravel()
    return apart


def _flips(probe: Probe, trace: Trace, given: Mapping[str, Array]) -> int:
    pair = probe.alignment.outputs.get("rank")
    if pair is None or pair.rows != "candidate":
        return 0
    carried = _carried(trace, given)
    ranked = ranked_by(probe.alignment, probe.batch, probe.reference, carried)
    ours, theirs = pair.values(probe.reference, carried)
    return int(moved_ranks(ours, theirs, probe.batch.keys.candidate_offsets, ranked).flips.sum())


def _carried(trace: Trace, given: Mapping[str, Array]) -> Trace:
    return replace(trace, values={**trace.values, **given})
