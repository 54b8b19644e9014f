"""What each cause costs: repaired one after another, by how much does each gap close?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.compare.alignment import Pair
from parity.compare.ranks import moved_ranks, ranked_by
from parity.explain.causes import Fault, find_faults
from parity.explain.probe import Probe, given_from_reference
from parity.tolerance import Floats, Mask
from replay.stack import Stack
from replay.trace import EMPTY, Array, Trace

# The outputs that a gap is taken at, in the order in which shares prefer them.
UNITS = ("logit", "pctr", "ecpm_micros")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The gaps before any repair and after each, in causal order, on the probe's sample.

    Attributes:
        measured: The output that shares are taken at; None when nothing parts there.
        shares: Of each fault, its signed part of that gap; None when it can not be repaired
            or there is no gap. Shares and remainder add up to one.
        remainder: The share that repairing every fault leaves.
        gaps: Output to its gap before any repair and after each that was made.
        rank_flips: Candidates whose rank moved, likewise.
        places: Of each fault, its place among the repairs that were made; None for no repair.
        money: Mean eCPM of the reference in millionths; None where there is none.
        candidates: In the sample.
    """

    measured: str | None
    shares: tuple[float | None, ...]
    remainder: float | None
    gaps: Mapping[str, tuple[float, ...]]
    rank_flips: tuple[int, ...]
    places: tuple[int | None, ...]
    money: float | None
    candidates: int

    def closed(self, unit: str, fault: int) -> float | None:
        """What repairing a fault, after those before it, takes off a gap."""
        place = self.places[fault]
        series = self.rank_flips if unit == "rank_flips" else self.gaps.get(unit)
        return None if place is None or series is None else series[place - 1] - series[place]


def repair(challenger: Stack, probe: Probe) -> Repair:
    """Repair the probe's faults one after another: one pass of the challenger for each.

    A fault is repaired by giving the reference's values where it stands, and where the faults
    before it stand. A gap is the mean absolute difference of an output; what a repair closes is
    counted in the direction in which each row's output was apart, so that parts add up, and a
    cause that held another one back has a negative share. Shares are of the logit's gap; where no
    logit is aligned, or both agree on it, of pctr's.
    """
    faults = find_faults(probe)
    every = {name: _Signed.of(name, probe) for name in UNITS}
    gaps = {name: gap for name, gap in every.items() if gap is not None}
    series = {name: [gap.at(probe.free_run, EMPTY)] for name, gap in gaps.items()}
    flips = [_flips(probe, probe.free_run, EMPTY)]
    given: dict[str, Array] = {}
    places: list[int | None] = []
    capture = [pair.challenger.name for pair in probe.alignment.outputs.values()]
    for fault in faults:
        added = _repaired(fault, probe)
        if not added or not (gaps or flips[0]):
            places.append(None)
            continue
        given |= added
        trace = challenger.score(probe.batch, capture=capture, given=given)
        for name, gap in gaps.items():
            series[name].append(gap.at(trace, given))
        flips.append(_flips(probe, trace, given))
        places.append(len(flips) - 1)
    measured = next((name for name in UNITS[:2] if name in gaps), None)
    found = Repair(
        measured=measured,
        shares=(),
        remainder=None,
        gaps={name: tuple(values) for name, values in series.items()},
        rank_flips=tuple(flips),
        places=tuple(places),
        money=_money(probe),
        candidates=probe.batch.num_candidates,
    )
    if measured is None:
        return replace(found, shares=(None,) * len(faults))
    whole = series[measured][0]
    closed = [found.closed(measured, number) for number in range(len(faults))]
    return replace(
        found,
        shares=tuple(None if part is None else part / whole for part in closed),
        remainder=series[measured][-1] / whole if faults else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Signed:
    """An output's gap, measured in the direction of each row's difference before any repair.

    Attributes:
        pair: The output.
        signs: [row], -1, 0 or 1.
        usable: [row], finite on both sides without a repair.
    """

    pair: Pair
    signs: Floats
    usable: Mask
    probe: Probe

    @classmethod
    def of(cls, name: str, probe: Probe) -> _Signed | None:
        """The gap of an output; None where it is not aligned, or no finite row is apart."""
        pair = probe.alignment.outputs.get(name)
        if pair is None:
            return None
        apart = signed_difference(pair, probe, probe.free_run, EMPTY)
        usable = np.isfinite(apart)
        signs = np.where(usable, np.sign(apart), 0.0)
        return cls(pair=pair, signs=signs, usable=usable, probe=probe) if signs.any() else None

    def at(self, trace: Trace, given: Mapping[str, Array]) -> float:
        """Mean over the rows that are finite without a repair; the same in any order of rows."""
        apart = signed_difference(self.pair, self.probe, trace, given)
        closed = self.signs[self.usable] * apart[self.usable]
        return math.fsum(closed) / len(closed)


def signed_difference(pair: Pair, probe: Probe, trace: Trace, given: Mapping[str, Array]) -> Floats:
    """[row] float64: challenger - reference of an output as it went on: given, else produced."""
    ours, theirs = pair.values(probe.reference, _carried(trace, given))
    with np.errstate(invalid="ignore"):  # infinity - infinity: left out as not usable
        apart: Floats = (theirs.astype(np.float64) - ours.astype(np.float64)).ravel()
    return apart


def _repaired(fault: Fault, probe: Probe) -> dict[str, Array]:
    names = [pair.name for pair in fault.pairs]
    given, _ = given_from_reference(names, probe.alignment, probe.reference)
    return given


def _flips(probe: Probe, trace: Trace, given: Mapping[str, Array]) -> int:
    pair = probe.alignment.outputs.get("rank")
    if pair is None or pair.rows != "candidate":
        return 0
    carried = _carried(trace, given)
    ranked = ranked_by(probe.alignment, probe.batch, probe.reference, carried)
    ours, theirs = pair.values(probe.reference, carried)
    return int(moved_ranks(ours, theirs, probe.batch.keys.candidate_offsets, ranked).flips.sum())


def _money(probe: Probe) -> float | None:
    pair = probe.alignment.outputs.get("ecpm_micros")
    if pair is None:
        return None
    values = np.abs(probe.reference[pair.name].astype(np.float64))
    finite = values[np.isfinite(values)]
    return math.fsum(finite) / finite.size if finite.size else None


def _carried(trace: Trace, given: Mapping[str, Array]) -> Trace:
    return replace(trace, values={**trace.values, **given})
