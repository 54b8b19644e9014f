"""The trees that a stack declares, checked to be trees, and walked as their arrays say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from parity.explain.prove_numbers import ANYTHING, Range, places_of
from replay.capabilities import TreeStructure
from replay.errors import StackError

Box = dict[int, Range]  # by feature; what is not in it can be anything
# From values, thresholds and default directions, [row] each, to whether the row goes left.
GoesLeft = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]], NDArray[np.bool_]
]
NO_LEAF = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeclaredTree:
    """One tree whose features are columns of the proof's own matrix.

    Attributes:
        structure: Its arrays, by node.
        feature, left, right, leaf, default_left: The same as lists, for walks by hand.
        place: Of each node's threshold among the float32 numbers; 0 at a leaf.
        parent: Of each node; -1 at the root.
    """

    structure: TreeStructure
    feature: list[int]
    place: list[int]
    left: list[int]
    right: list[int]
    default_left: list[bool]
    leaf: list[int]
    parent: list[int]

    @property
    def num_inner(self) -> int:
        """How many splits there are."""
        return sum(leaf == NO_LEAF for leaf in self.leaf)

    def same_as(self, other: DeclaredTree) -> bool:
        """Whether every array is the same; thresholds at leaves are of no meaning."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("feature", "place", "left", "right", "default_left", "leaf")
        )

    def split(self, node: int, box: Box) -> Iterator[tuple[int, Box]]:
        """The children of an inner node that some input reaches, with what is left of the box."""
        feature = self.feature[node]
        ranges = box.get(feature, ANYTHING).split(
            self.place[node], default_left=self.default_left[node]
        )
        for child, part in zip((self.left[node], self.right[node]), ranges, strict=True):
            if not part.is_empty:
                yield child, {**box, feature: part}

    def leaves(
        self, rows: NDArray[np.float32], goes_left: GoesLeft | None = None
    ) -> NDArray[np.int32]:
        """[row], the leaf of each row of a [row, feature] matrix, as declared or as `goes_left`."""
        decide = declared if goes_left is None else goes_left
        tree = self.structure
        node = np.zeros(len(rows), np.int64)
        moving = np.flatnonzero(tree.leaf[node] == NO_LEAF)
        while len(moving):
            at = node[moving]
            left = decide(rows[moving, tree.feature[at]], tree.threshold[at], tree.default_left[at])
            node[moving] = np.where(left, tree.left[at], tree.right[at])
            moving = moving[tree.leaf[node[moving]] == NO_LEAF]
        found: NDArray[np.int32] = tree.leaf[node]
        return found

    @property
    def repeats_a_leaf(self) -> bool:
        """Whether one leaf stands in several places, as after a split was moved up."""
        leaves = [leaf for leaf in self.leaf if leaf != NO_LEAF]
        return len(set(leaves)) != len(leaves)

    def parting(self, one: int, other: int) -> int | None:
        """The node at which the ways to two leaves part, the deepest where there are several.

        None where a leaf is not of this tree.
        """
        places = [
            [node for node, leaf in enumerate(self.leaf) if leaf == wanted != NO_LEAF]
            for wanted in (one, other)
        ]
        ways = [[list(self._way(node))[::-1] for node in nodes] for nodes in places]
        shared = [
            list(takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
            for first in ways[0]
            for second in ways[1]
        ]
        return max(shared, key=len)[-1][0] if shared else None

    def _way(self, node: int) -> Iterator[int]:
        """The node and all above it, from below."""
        while node >= 0:
            yield node
            node = self.parent[node]


def declared(
    values: NDArray[np.float32], thresholds: NDArray[np.float32], default_left: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The contract: float32 `x < threshold` goes left, NaN goes the default direction."""
    return np.where(np.isnan(values), default_left, values < thresholds)


def trees_of(
    structure: Sequence[TreeStructure], columns: Sequence[int], *, stack: str
) -> tuple[DeclaredTree, ...]:
    """Check that arrays are trees, and put their features in the proof's columns.

    Args:
        structure: As the stack gives it.
        columns: Of each of the stack's columns, its place in the proof's matrix.
        stack: Its name, for errors.

    Raises:
        StackError: Naming the tree, and what no tree has.
    """
    return tuple(
        _tree(tree, columns, where=f"stack {stack!r}, tree_structure, tree {place}")
        for place, tree in enumerate(structure)
    )


def _tree(tree: TreeStructure, columns: Sequence[int], *, where: str) -> DeclaredTree:
    is_leaf = tree.leaf != NO_LEAF
    parent = _parents(tree, is_leaf, where)
    inner = np.flatnonzero(~is_leaf)
    used = tree.feature[inner]
    if ((used < 0) | (used >= len(columns))).any():
        raise _bad(f"a split reads a column that is none of its {len(columns)}", where)
    if np.isnan(tree.threshold[inner]).any():
        raise _bad("a threshold is NaN, which sends every number right", where)
    if (tree.leaf[is_leaf] < 0).any():
        raise _bad("a leaf has a negative ordinal", where)
    feature = np.full(len(is_leaf), -1, np.int32)
    feature[inner] = np.asarray(columns, np.int32)[used]
    threshold = np.where(is_leaf, np.float32(0), tree.threshold).astype(np.float32)
    own = TreeStructure(
        feature=feature,
        threshold=threshold,
        left=tree.left,
        right=tree.right,
        default_left=tree.default_left & ~is_leaf,
        leaf=tree.leaf,
    )
    return DeclaredTree(
        structure=own,
        feature=feature.tolist(),
        place=places_of(threshold).tolist(),
        left=np.where(is_leaf, -1, tree.left).tolist(),
        right=np.where(is_leaf, -1, tree.right).tolist(),
        default_left=own.default_left.tolist(),
        leaf=tree.leaf.tolist(),
        parent=parent,
    )


def _parents(tree: TreeStructure, is_leaf: NDArray[np.bool_], where: str) -> list[int]:
    """Each node's parent, having seen every node exactly once on the way from the root."""
    parent = [-1] * len(is_leaf)
    front, seen = [0] if len(is_leaf) else [], {0}
    while front:
        node = front.pop()
        if is_leaf[node]:
            continue
        for child in (int(tree.left[node]), int(tree.right[node])):
            if not 0 <= child < len(is_leaf) or child in seen:
                raise _bad(f"node {node} has the child {child}, not there or reached twice", where)
            seen.add(child)
            parent[child] = node
            front.append(child)
    if len(seen) != len(is_leaf):
        raise _bad("a node can not be reached from node 0, or there is none", where)
    return parent


def _bad(what: str, where: str) -> StackError:
    return StackError(
        f"it is no tree: {what}.",
        where=where,
        fix="give the arrays of replay.capabilities.TreeStructure",
    )
