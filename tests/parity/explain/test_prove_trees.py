"""What is no tree is refused by name; what is one is walked as its arrays say, in every stack alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpp_serving import stack as cpp
from legacy.export import export
from modern.port import stack as port_stack
from parity.explain.prove_trees import trees_of
from replay.capabilities import ExposesTrees
from replay.errors import StackError
from tests.artifacts import write_artifact
from tests.parity.explain.tree_stacks import BoosterStack, structure

TREE = structure((0, 1.5, False, (1, -0.5, True, 0, 1), 2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left": [1, 0, -1, -1, -1]}, "reached twice"),
        ({"left": [1, 9, -1, -1, -1]}, "not there"),
        ({"leaf": [-1, 3, 0, 1, 2]}, "can not be reached"),
        ({"leaf": [-1, -1, -5, 1, 2]}, "negative|not there"),
        ({"feature": [0, 2, -1, -1, -1]}, "none of its 2"),
        ({"feature": [-1, 1, -1, -1, -1]}, "none of its 2"),
        ({"threshold": [np.nan, 0, 0, 0, 0]}, "NaN"),
    ],
)
def test_arrays_that_are_no_tree_are_refused_with_their_place(
    change: dict[str, Any], said: str
) -> None:
    arrays = {n: np.asarray(v, getattr(TREE, n).dtype) for n, v in change.items()}

    with pytest.raises(StackError, match=said) as caught:
        trees_of([TREE, replace(TREE, **arrays)], [0, 1], stack="odd")

    assert "stack 'odd', tree_structure, tree 1" in caught.value.where


def test_no_nodes_are_no_tree() -> None:
    empty = replace(TREE, **{n: getattr(TREE, n)[:0] for n in TREE.__dataclass_fields__})

    with pytest.raises(StackError, match="there is none"):
        trees_of([empty], [0, 1], stack="odd")


def test_the_ways_to_two_leaves_part_at_the_deepest_node_they_share() -> None:
    (tree,) = trees_of([TREE], [0, 1], stack="tests")
    (twice,) = trees_of(
        [structure((0, 0.0, True, (1, 0.0, True, 0, 1), (1, 0.0, True, 0, 2)))],
        [0, 1],
        stack="tests",
    )

    assert (tree.parting(0, 1), tree.parting(0, 2), tree.parting(0, 7)) == (1, 0, None)
    assert (twice.parting(0, 2), twice.parting(1, 2), twice.parting(0, 1)) == (4, 0, 1)
    assert (tree.repeats_a_leaf, twice.repeats_a_leaf) == (False, True)


def test_all_stacks_of_one_training_declare_the_leaves_that_their_code_finds(
    tmp_path: Path,
) -> None:
    write_artifact(tmp_path / "legacy", num_trees=6, depth=5, seed=3)
    export(tmp_path / "legacy", tmp_path / "scorer.bin")
    booster = BoosterStack(tmp_path / "legacy" / "booster.json")
    rng = np.random.default_rng(0)
    rows = np.stack([rng.choice(own, 500) for own in booster.split_points()], axis=1)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    columns = range(rows.shape[1])
    expected = booster.leaves(rows)

    for stack in (
        booster,
        cpp.open_stack(tmp_path / "scorer.bin"),
        port_stack.open_stack(tmp_path / "legacy"),
    ):
        assert isinstance(stack, ExposesTrees)
        trees = trees_of(stack.tree_structure(), columns, stack="tests")
        found = np.stack([tree.leaves(rows) for tree in trees], axis=1)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(stack.leaves(rows), expected)
