"""The inputs that decide a tree: at every split, its threshold, a step either side, and missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parity.explain.prove_numbers import ANYTHING, INFINITY, MINUS_ZERO, MISSING, Range
from parity.explain.prove_trees import NO_LEAF, Box, DeclaredTree

ON, BELOW, ABOVE, ABSENT, SENTINEL, CELL, WHOLE = range(7)
KINDS = (
    "on a threshold",
    "below a threshold",
    "above a threshold",
    "missing",
    "a number that code may treat apart",
    "in a cell where the trees differ",
    "of a tree without splits",
)
# Numbers that code has been seen to take for something else: a missing value, an overflow. As
# places: infinities and the largest finite numbers, both zeros, -1, -999.
_SENTINELS = (
    INFINITY, -INFINITY, INFINITY - 1, 1 - INFINITY, 0, MINUS_ZERO, -0x3F800000, -0x4479C000,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Inputs of one tree, in the places of prove_numbers.

    Attributes:
        places: int64 [point, feature].
        kinds: [point], places in KINDS.
    """

    places: NDArray[np.int64]
    kinds: NDArray[np.int8]


@dataclass(slots=True)
class Sentinels:
    """Which special numbers of which features have not been visited yet."""

    pending: dict[int, list[int]] = field(default_factory=dict)

    def take(self, feature: int, within: Range, place: int, *, default_left: bool) -> list[int]:
        """Those that this split tells from a missing value: the number goes the other way."""
        pending = self.pending.setdefault(feature, list(_SENTINELS))
        found = [
            number
            for number in pending
            if within.holds(_value(number)) and (_value(number) < place) != default_left
        ]
        for number in found:
            pending.remove(number)
        return found


def points_of(tree: DeclaredTree, *, num_features: int, sentinels: Sentinels) -> Points:
    """Every input that the tree's own proof needs, at most five a split, and its sentinels.

    A point reaches its split with every feature within the range that the way there leaves it,
    and a feature that the way does not ask for is 0. Where the way leaves only one side of a threshold, the number
    nearest to it stands for the other side's.
    """
    rows: list[NDArray[np.int64]] = []
    kinds: list[int] = []
    if tree.leaf[0] != NO_LEAF:
        rows.append(row_in({}, num_features))
        kinds.append(WHOLE)
    front: list[tuple[int, Box]] = [(0, {})]
    while front:
        node, box = front.pop()
        if tree.leaf[node] != NO_LEAF:
            continue
        feature, place = tree.feature[node], tree.place[node]
        within = box.get(feature, ANYTHING)
        base = row_in(box, num_features)
        special = sentinels.take(feature, within, place, default_left=tree.default_left[node])
        for kind, number in [*_around(within, place), *((SENTINEL, n) for n in special)]:
            row = base.copy()
            row[feature] = number
            rows.append(row)
            kinds.append(kind)
        front.extend(reversed(list(tree.split(node, box))))
    return Points(places=np.stack(rows), kinds=np.asarray(kinds, np.int8))


def row_in(box: Box, num_features: int) -> NDArray[np.int64]:
    """[feature], an input in the box, away from the thresholds that bound it; 0 is any."""
    row = np.zeros(num_features, np.int64)
    for feature, within in box.items():
        row[feature] = within.inside()
    return row


def joined(parts: Sequence[Points], num_features: int) -> Points:
    """Points one after another."""
    empty = Points(places=np.zeros((0, num_features), np.int64), kinds=np.zeros(0, np.int8))
    return Points(
        places=np.concatenate([empty.places, *(part.places for part in parts)]),
        kinds=np.concatenate([empty.kinds, *(part.kinds for part in parts)]),
    )


def _around(within: Range, place: int) -> Iterator[tuple[int, int]]:
    """Kind and number of what a split is visited with."""
    numbers = {within.nearest(place + step) for step in (-1, 0, 1)} - {MISSING}
    for number in sorted(numbers):
        yield (BELOW if number < place else ABOVE if number > place else ON), number
    if place == 0 and within.holds(0):
        yield ON, MINUS_ZERO
    if within.missing:
        yield ABSENT, MISSING


def _value(number: int) -> int:
    """The place that a number is compared by."""
    return 0 if number == MINUS_ZERO else number
