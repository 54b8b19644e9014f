"""What both sides' own code said at the points that were visited, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.explain.prove_mistakes import MISTAKES
from parity.explain.prove_numbers import places_of, values_of
from parity.explain.prove_points import KINDS, Points
from parity.explain.prove_sides import Side
from parity.explain.prove_trees import NO_LEAF, GoesLeft

# A person reads one; a few more show whether they are alike.
EXAMPLES = 5
Leaves = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """Points of one kind, and at how many of them their own tree's leaves differ."""

    kind: str
    visited: int
    differing: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counterexample:
    """One input that both sides' own code was run on, with different leaves.

    Attributes:
        tree: Place of the tree.
        node: Where the reference's ways to the two leaves part; None where one of the leaves
            is not in its tree. The feature, value and threshold are those of this node.
        value: float32; NaN is missing.
        relation: Where the value stands: "exactly the threshold", "one ulp below it", ...
        missing_goes: Where the node sends a missing value.
        reference_leaf, challenger_leaf: Leaf ordinals; None: that side has no such tree.
        because: Whose code or whose arrays are behind it.
        row: The whole input, feature to float32 value; NaN is missing.
    """

    tree: int
    node: int | None
    feature: str | None
    value: float | None
    relation: str | None
    threshold: float | None
    missing_goes: str | None
    reference_leaf: int | None
    challenger_leaf: int | None
    because: str
    row: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Example:
    """A row that tells a tree apart, and whether it is one of the tree's own points."""

    row: NDArray[np.float32]
    ours: int
    theirs: int
    is_own: bool


class Evidence:
    """Collects what was seen at points, batch by batch, in memory that does not grow with them."""

    def __init__(self, reference: Side, challenger: Side, names: tuple[str, ...]) -> None:
        self.points = 0
        self.differing_trees: dict[int, _Example] = {}
        self._reference, self._challenger, self._names = reference, challenger, names
        self._visited = np.zeros(len(KINDS), np.int64)
        self._differing = np.zeros(len(KINDS), np.int64)
        self._disobeys: dict[Side, tuple[int, int]] = {}
        self._answered: dict[Side, int] = {}
        self._mistakes = list(MISTAKES)
        self._departs = False

    def add(self, points: Points, trees: NDArray[np.int64]) -> None:
        """Run both sides' code on points, [point], each made for the tree beside it."""
        rows = values_of(points.places)
        width = max(len(self._reference.trees), len(self._challenger.trees), 1)
        ours, theirs = self._reference.leaves(rows), self._challenger.leaves(rows)
        self._answered |= {self._reference: ours.shape[1], self._challenger: theirs.shape[1]}
        width = max(width, ours.shape[1], theirs.shape[1])
        ours, theirs = _widened(ours, width), _widened(theirs, width)
        self.points += len(rows)
        self._visited += np.bincount(points.kinds, minlength=len(KINDS))
        own = np.arange(len(rows)), trees
        apart = ours[own] != theirs[own]
        self._differing += np.bincount(points.kinds[apart], minlength=len(KINDS))
        self._keep_examples(rows, ours, theirs, trees)
        for side, leaves in ((self._reference, ours), (self._challenger, theirs)):
            self._compare_with_declared(side, rows, leaves[own], trees)
        self._try_mistakes(rows, theirs[own], trees)

    def kinds(self) -> tuple[KindCount, ...]:
        """The kinds that were visited."""
        return tuple(
            KindCount(kind=kind, visited=int(visited), differing=int(differing))
            for kind, visited, differing in zip(KINDS, self._visited, self._differing, strict=True)
            if visited
        )

    def counterexamples(self) -> tuple[Counterexample, ...]:
        """The first of each of the first trees."""
        return tuple(
            self._counterexample(tree, self.differing_trees[tree])
            for tree in sorted(self.differing_trees)[:EXAMPLES]
        )

    def explanation(self) -> str | None:
        """The mistake that turns the reference's trees into all of the challenger's leaves."""
        return self._mistakes[0].says if self._mistakes and self._departs else None

    def doubts(self) -> tuple[str, ...]:
        """Why agreement at the points would not be agreement everywhere."""
        disobeying = (
            f"the code of {side.label} does not do what the trees it declares say, at {count:,} of "
            f"{self.points:,} points, first in tree {tree}"
            for side, (count, tree) in self._disobeys.items()
        )
        miscounted = (
            f"the code of {side.label} gives leaves of {count} trees; it declares {len(side.trees)}"
            for side, count in self._answered.items()
            if count != len(side.trees)
        )
        nothing = () if self.points else ("neither side has a tree: nothing was compared",)
        return (*disobeying, *miscounted, *nothing)

    def _keep_examples(
        self,
        rows: NDArray[np.float32],
        ours: Leaves,
        theirs: Leaves,
        trees: NDArray[np.int64],
    ) -> None:
        """A tree's example is the first of its own points that tells, else any other's."""
        apart = ours != theirs
        for tree in np.flatnonzero(apart.any(axis=0)).tolist():
            where = np.flatnonzero(apart[:, tree])
            own = where[trees[where] == tree]
            known = self.differing_trees.get(tree)
            if known is None or (len(own) and not known.is_own):
                row = int(own[0] if len(own) else where[0])
                self.differing_trees[tree] = _Example(
                    row=rows[row].copy(),
                    ours=int(ours[row, tree]),
                    theirs=int(theirs[row, tree]),
                    is_own=len(own) > 0,
                )

    def _compare_with_declared(
        self,
        side: Side,
        rows: NDArray[np.float32],
        leaves: Leaves,
        trees: NDArray[np.int64],
    ) -> None:
        wrong = leaves != _walked(side, rows, trees)
        if wrong.any():
            count, first = self._disobeys.get(side, (0, int(trees[wrong][0])))
            self._disobeys[side] = (count + int(wrong.sum()), first)

    def _try_mistakes(
        self, rows: NDArray[np.float32], theirs: Leaves, trees: NDArray[np.int64]
    ) -> None:
        """Drop the mistakes that would have given another leaf at any of these points."""
        self._departs |= not np.array_equal(theirs, _walked(self._reference, rows, trees))
        self._mistakes = [
            mistake
            for mistake in self._mistakes
            if np.array_equal(theirs, _walked(self._reference, rows, trees, mistake.goes_left))
        ]

    def _counterexample(self, tree: int, example: _Example) -> Counterexample:
        reference = self._reference
        row, ours, theirs = example.row, example.ours, example.theirs
        node = None
        if tree < len(reference.trees):
            node = reference.trees[tree].parting(ours, theirs)
        feature = value = relation = threshold = missing = None
        if node is not None:
            own = reference.trees[tree]
            value, threshold = row[own.feature[node]], own.structure.threshold[node]
            feature = self._names[own.feature[node]]
            relation = relation_of(value, threshold)
            missing = "left" if own.default_left[node] else "right"
        return Counterexample(
            tree=tree,
            node=node,
            feature=feature,
            value=None if value is None else float(value),
            relation=relation,
            threshold=None if threshold is None else float(threshold),
            missing_goes=missing,
            reference_leaf=None if ours == NO_LEAF else ours,
            challenger_leaf=None if theirs == NO_LEAF else theirs,
            because=self._because(tree, row, ours, theirs),
            row={name: float(number) for name, number in zip(self._names, row, strict=True)},
        )

    def _because(self, tree: int, row: NDArray[np.float32], ours: int, theirs: int) -> str:
        sides = (self._reference, ours), (self._challenger, theirs)
        counts = [len(side.trees) for side, _ in sides]
        if counts[0] != counts[1] and tree >= min(counts):
            return f"{sides[0][0].label} has {counts[0]} trees, {sides[1][0].label} {counts[1]}"
        said = [
            f"the code of {side.label} does not do what its own tree says, leaf {says}"
            for side, leaf in sides
            for says in (int(side.trees[tree].leaves(row[None])[0]),)
            if says != leaf
        ]
        return "; ".join(said) or "the trees differ: " + "; ".join(
            self._asks(side, tree, ours, theirs) for side, _ in sides
        )

    def _asks(self, side: Side, tree: int, one: int, other: int) -> str:
        own = side.trees[tree]
        node = own.parting(one, other)
        if node is None:
            return f"the tree of {side.label} has not both leaves"
        name = self._names[own.feature[node]]
        missing = "left" if own.default_left[node] else "right"
        threshold = own.structure.threshold[node]
        return f"node {node} of {side.label} asks {name} < {threshold!s}, missing goes {missing}"


def relation_of(value: np.float32, threshold: np.float32) -> str:
    """Where a value stands beside a threshold."""
    if np.isnan(value):
        return "missing"
    step = int(places_of(np.asarray([value]))[0] - places_of(np.asarray([threshold]))[0])
    if step == 0:
        return "exactly the threshold"
    side = "below" if step < 0 else "above"
    return f"one ulp {side} the threshold" if abs(step) == 1 else f"{side} the threshold"


def _walked(
    side: Side,
    rows: NDArray[np.float32],
    trees: NDArray[np.int64],
    goes_left: GoesLeft | None = None,
) -> Leaves:
    """[row], the leaf in each row's own tree by the side's arrays; -1 where it has no such tree."""
    found = np.full(len(rows), NO_LEAF, np.int64)
    for tree in np.unique(trees).tolist():
        if tree < len(side.trees):
            own = np.flatnonzero(trees == tree)
            found[own] = side.trees[tree].leaves(rows[own], goes_left)
    return found


def _widened(leaves: Leaves, width: int) -> Leaves:
    """The leaves with -1 for the trees that a side has fewer."""
    if leaves.shape[1] >= width:
        return leaves
    return np.pad(leaves, ((0, 0), (0, width - leaves.shape[1])), constant_values=NO_LEAF)
