"""The walk over cells agrees with trying every input, and costs one pair a node when trees are equal."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parity.explain.prove import prove
from parity.explain.prove_cells import compare_trees
from parity.explain.prove_numbers import values_of
from parity.explain.prove_points import row_in
from parity.explain.prove_trees import trees_of
from tests.parity.explain.tree_stacks import ArrayStack, Node, mirrored, structure

THRESHOLDS = [-1.0, -0.0, 0.0, float(np.float32(1e-45)), 2.5]
# Every value that some split of these trees can tell from another: each threshold, a step either
# side, the ends, and missing.
_STEPS = [np.nextafter(np.float32(t), np.float32(s)) for t in THRESHOLDS for s in (-np.inf, np.inf)]
VALUES = np.unique(np.asarray([*_STEPS, *THRESHOLDS, -np.inf, np.inf, np.nan], np.float32))
GRID = np.asarray(list(product(VALUES, VALUES)), np.float32)


def nodes(depth: int) -> st.SearchStrategy[Node]:
    leaf = st.integers(0, 2)
    if depth == 0:
        return leaf
    below = nodes(depth - 1)
    split = st.tuples(st.integers(0, 1), st.sampled_from(THRESHOLDS), st.booleans(), below, below)
    return st.one_of(split, leaf)


def tree_of(node: Node) -> Any:
    return trees_of([structure(node)], [0, 1], stack="tests")[0]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(nodes(3), nodes(3))
def test_cells_differ_exactly_where_some_input_does(one: Node, other: Node) -> None:
    a, b = tree_of(one), tree_of(other)
    apart = a.leaves(GRID) != b.leaves(GRID)

    cells = compare_trees(a, b)

    assert cells.is_complete
    assert (cells.differs_in is not None) == apart.any()
    if cells.differs_in is not None:
        row = values_of(row_in(cells.differs_in, 2))[None]
        assert a.leaves(row) != b.leaves(row)


@settings(max_examples=100, deadline=None)
@given(nodes(3), nodes(3))
def test_a_proof_says_equal_exactly_when_every_input_is(one: Node, other: Node) -> None:
    sides = [ArrayStack([structure(node)], ["x", "y"]) for node in (one, other)]
    apart = (sides[0].leaves(GRID) != sides[1].leaves(GRID)).any()

    assert prove(*sides).outcome == ("counterexample" if apart else "equal")


@settings(max_examples=100, deadline=None)
@given(nodes(4))
def test_a_tree_and_its_mirror_cost_a_pair_a_node_at_most(node: Node) -> None:
    tree = structure(node)

    cells = compare_trees(tree_of(node), trees_of([mirrored(tree)], [0, 1], stack="tests")[0])

    assert cells.differs_in is None
    assert cells.pairs <= len(tree.leaf)


@settings(max_examples=200, deadline=None)
@given(nodes(3), nodes(3))
def test_no_two_trees_cost_more_than_all_their_pairs(one: Node, other: Node) -> None:
    a, b = tree_of(one), tree_of(other)

    assert compare_trees(a, b).pairs <= len(a.leaf) * len(b.leaf)
