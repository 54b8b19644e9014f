"""Proof beyond the log: two sides' trees are equal on every float32 input, or one that tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parity.explain.prove_cells import MAX_PAIRS, compare_trees
from parity.explain.prove_evidence import Counterexample, Evidence, KindCount
from parity.explain.prove_points import (
    CELL,
    Points,
    Sentinels,
    joined,
    points_of,
    row_in,
)
from parity.explain.prove_sides import NamedTrees, Side, sides_of

Outcome = Literal["equal", "counterexample", "undecided"]
EXIT_CODES: Mapping[Outcome, int] = {"equal": 0, "counterexample": 1, "undecided": 3}
# Rows handed to both stacks at once: 120 trees' leaves of them are 2 MB.
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proof:
    """What was proven, and by what.

    Attributes:
        outcome: Whether the sides are equal on every input; "undecided" says why in `doubts`.
        reference, challenger: Names of the sides.
        trees, challenger_trees: How many each has.
        splits: Inner nodes of the reference's trees.
        features: Columns of the matrix.
        points: Inputs that both sides' own code was run on.
        pairs: Pairs of nodes met in comparing what the sides declare.
        repeating: Trees in which a side declares one leaf in several places: what its code
            decides there shows in the leaves, but not split by split.
        kinds: The points by kind, and at how many the point's own tree differs.
        differing_trees: Trees with a counterexample, ascending.
        counterexamples: The first ones, one a tree.
        explanation: The one known mistake that predicts the challenger's leaf at every point.
        doubts: Why nothing is proven although no counterexample was found.
    """

    outcome: Outcome
    reference: str
    challenger: str
    trees: int
    challenger_trees: int
    splits: int
    features: int
    points: int
    pairs: int
    repeating: int
    kinds: tuple[KindCount, ...]
    differing_trees: tuple[int, ...]
    counterexamples: tuple[Counterexample, ...]
    explanation: str | None
    doubts: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 equal, 1 a counterexample, 3 undecided."""
        return EXIT_CODES[self.outcome]


def prove(
    reference: NamedTrees,
    challenger: NamedTrees,
    *,
    renames: Mapping[str, str] | None = None,
    limit: int = MAX_PAIRS,
) -> Proof:
    """Prove that both sides' trees give the same leaves for every float32 row, or find one.

    Three steps: what the sides declare is compared cell by cell; each side's own code is run
    at every split of both, where it has to do what the side declares; and both sides' leaves
    at all these points are compared. docs/prove.md says what follows, and from what.

    Args:
        reference: The side we trust.
        challenger: The other.
        renames: A challenger's checkpoint to the reference's name for it.
        limit: Pairs of nodes after which two trees that ask differently are left undecided.

    Raises:
        ConfigError: A side's trees read a feature that the other does not have.
        StackError: What a side declares are no trees, or what it gives are no leaves.
    """
    ours, theirs, names = sides_of(reference, challenger, renames or {})
    evidence = Evidence(ours, theirs, names)
    pairs, undecided = 0, []
    waiting: list[tuple[int, Points]] = []
    sentinels = Sentinels()
    for tree in range(max(len(ours.trees), len(theirs.trees))):
        parts = _points(ours, theirs, tree, len(names), sentinels)
        if tree < min(len(ours.trees), len(theirs.trees)):
            cells = compare_trees(ours.trees[tree], theirs.trees[tree], limit=limit)
            pairs += cells.pairs
            if cells.differs_in is not None:
                row = row_in(cells.differs_in, len(names))[None]
                parts.append(Points(places=row, kinds=np.asarray([CELL], np.int8)))
            if not cells.is_complete:
                undecided.append(tree)
        waiting.append((tree, joined(parts, len(names))))
        if sum(len(points.kinds) for _, points in waiting) >= ROWS_AT_ONCE:
            _run(evidence, waiting, len(names))
    _run(evidence, waiting, len(names))
    doubts = (*evidence.doubts(), *_too_large(undecided, limit))
    outcome: Outcome = "equal"
    if evidence.differing_trees:
        outcome = "counterexample"
    elif doubts:
        outcome = "undecided"
    return Proof(
        outcome=outcome,
        reference=ours.name,
        challenger=theirs.name,
        trees=len(ours.trees),
        challenger_trees=len(theirs.trees),
        splits=sum(tree.num_inner for tree in ours.trees),
        features=len(names),
        points=evidence.points,
        pairs=pairs,
        repeating=sum(
            any(side.trees[t].repeats_a_leaf for side in (ours, theirs) if t < len(side.trees))
            for t in range(max(len(ours.trees), len(theirs.trees)))
        ),
        kinds=evidence.kinds(),
        differing_trees=tuple(sorted(evidence.differing_trees)),
        counterexamples=evidence.counterexamples(),
        explanation=evidence.explanation(),
        doubts=doubts,
    )


def _points(
    ours: Side, theirs: Side, tree: int, num_features: int, sentinels: Sentinels
) -> list[Points]:
    """The points of a tree as the reference declares it, and as the challenger does if otherwise."""
    declared = [side.trees[tree] for side in (ours, theirs) if tree < len(side.trees)]
    if len(declared) == 2 and declared[0].same_as(declared[1]):
        declared.pop()
    return [points_of(one, num_features=num_features, sentinels=sentinels) for one in declared]


def _run(evidence: Evidence, waiting: list[tuple[int, Points]], num_features: int) -> None:
    points = joined([own for _, own in waiting], num_features)
    trees: NDArray[np.int64] = np.repeat(
        np.asarray([tree for tree, _ in waiting], np.int64),
        [len(own.kinds) for _, own in waiting],
    )
    waiting.clear()
    for start in range(0, len(trees), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        part = Points(places=points.places[rows], kinds=points.kinds[rows])
        evidence.add(part, trees[rows])


def _too_large(trees: list[int], limit: int) -> list[str]:
    if not trees:
        return []
    shown = ", ".join(map(str, trees[:5])) + (" and others" if len(trees) > 5 else "")
    doubt = (
        f"{len(trees)} trees ask so differently that {limit:,} pairs of their nodes did not "
        f"decide them: tree {shown}; --limit allows more"
    )
    return [doubt]
