"""The floor: what a step differs by when nothing that matters does, and what lies above it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from parity.compare.alignment import Pair
from parity.drill.bench import Bench
from parity.tolerance import Floats, Mask, ulp
from replay.trace import Array, Trace

# A step may round each side's value once, and round what it rounds: below this many units in the
# last place nobody can tell a mistake from arithmetic.
ULPS = 4.0
# Trailing bits of a float32 that are 0 in every bfloat16 and float16 value.
_NARROW_BITS = (16, 13)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """By reference name, the largest difference seen where nothing was planted.

    It comes from running, not from declared tolerances: the challenger against the reference,
    and the challenger against itself under every benign variation.
    """

    largest: Mapping[str, float]


def floor_of(bench: Bench, others: Iterable[Trace]) -> Floor:
    """The floor from the clean run and runs of the same batch that have to agree with it."""
    runs = [bench.clean, *others]
    largest = {}
    for pair in bench.alignment.pairs:
        ours, theirs = pair.values(bench.reference, bench.clean)
        seen = 0.0 if pair.name in bench.already else _distance(ours, theirs)
        for run in runs[1:]:
            seen = max(seen, _distance(pair.values(bench.reference, run)[1], theirs))
        largest[pair.name] = seen
    return Floor(largest=largest)


def moved(bench: Bench, planted: Trace) -> list[str]:
    """Reference names of the steps of which a plant changes any bit, on the same inputs."""
    return [
        pair.name
        for pair in bench.alignment.pairs
        if not _same(bench.clean[pair.challenger.name], planted[pair.challenger.name])
    ]


def above(bench: Bench, floor: Floor, planted: Trace) -> list[str]:
    """Reference names of the steps that a plant moves beyond the floor, on the same inputs."""
    return [
        pair.name
        for pair in bench.alignment.pairs
        if _beyond(
            bench.clean[pair.challenger.name],
            planted[pair.challenger.name],
            pair,
            floor.largest[pair.name],
            _coarser(bench.reference[pair.reference.name], bench.clean[pair.challenger.name]),
        ).any()
    ]


def _beyond(clean: Array, planted: Array, pair: Pair, largest: float, coarser: float) -> Mask:
    if clean.dtype.kind != "f":
        differs: Mask = clean != planted
        return differs
    apart = np.isnan(clean) != np.isnan(planted)
    with np.errstate(invalid="ignore", over="ignore"):  # two infinities of one sign agree
        distance = np.abs(clean.astype(np.float64) - planted.astype(np.float64))
    least = largest + ULPS * coarser * _unit(clean, planted, pair)
    beyond: Mask = apart | (distance > np.nan_to_num(least, nan=0.0))
    return beyond


def _coarser(ours: Array, theirs: Array) -> float:
    """The last place of the narrow type that the challenger's float32 values come in, over float32's.

    A copy in bfloat16 rounds each value onto bfloat16's grid: a change far below its last place
    moves the value by a whole one. 1.0 where the reference's values lie on that grid too.
    """
    if not ours.dtype == theirs.dtype == np.float32:
        return 1.0
    for bits in _NARROW_BITS:
        lost = np.uint32(2**bits - 1)
        if not (theirs.view(np.uint32) & lost).any() and (ours.view(np.uint32) & lost).any():
            return float(2**bits)
    return 1.0


def _unit(clean: Array, planted: Array, pair: Pair) -> Floats:
    """The last place of a feature's own value; of a layer's channel, whose terms may cancel."""
    own = ulp(clean, planted)
    if pair.stage not in {"layer", "output"} or not len(clean):
        return own
    wide = clean.astype(np.float64)
    typical = np.sqrt(np.mean(np.where(np.isfinite(wide), wide, 0.0) ** 2, axis=0, keepdims=True))
    whole = typical.astype(clean.dtype)
    return np.fmax(own, np.broadcast_to(ulp(whole, whole), own.shape))


def _distance(ours: Array, theirs: Array) -> float:
    if ours.dtype.kind != "f" or not ours.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
    return float(np.nanmax(np.where(np.isfinite(apart), apart, 0.0)))


def _same(one: Array, other: Array) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))
