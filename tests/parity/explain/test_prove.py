"""Equal trees are proven equal on every input; any difference is found, logged or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpp_serving import stack as cpp
from legacy.export import export
from modern.port import stack as port_stack
from parity.explain.prove import prove
from parity.explain.prove_trees import declared
from replay.capabilities import TreeStructure
from replay.errors import ConfigError
from tests.artifacts import write_artifact
from tests.parity.explain.tree_stacks import (
    ArrayStack,
    BoosterStack,
    assert_holds,
    mirrored,
    structure,
    with_threshold,
)

TREES, DEPTH = 12, 4
INCLUSIVE = "x <= threshold goes left, where x < threshold should"
DECIMALS = "thresholds are compared as their decimals in float64, not rounded to float32"
OTHER_WAY = "a missing value goes against each node's default direction"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prove")
    write_artifact(folder / "legacy", num_trees=TREES, depth=DEPTH, seed=7)
    export(folder / "legacy", folder / "scorer.bin")
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path) -> BoosterStack:
    return BoosterStack(folder / "legacy" / "booster.json", name="legacy")


def opened(side: str, folder: Path) -> Any:
    if side == "cpp":
        return cpp.open_stack(folder / "scorer.bin")
    return port_stack.open_stack(folder / "legacy")


def inner(tree: TreeStructure) -> list[int]:
    return np.flatnonzero(tree.leaf < 0).tolist()


@pytest.mark.parametrize("side", ["cpp", "port"])
def test_the_same_trees_in_other_code_are_equal_on_every_input(
    side: str, folder: Path, reference: BoosterStack
) -> None:
    proof = prove(reference, opened(side, folder))

    assert (proof.outcome, proof.exit_code) == ("equal", 0)
    assert proof.counterexamples == proof.doubts == proof.differing_trees == ()
    assert proof.trees == proof.challenger_trees == TREES
    assert proof.splits == sum(len(inner(tree)) for tree in reference.tree_structure()) > 100
    assert {count.differing for count in proof.kinds} == {0}


@pytest.mark.parametrize(
    ("side", "kind", "explanation"),
    [
        ("cpp", "threshold_le", INCLUSIVE),
        ("cpp", "nan_direction", OTHER_WAY),
        ("port", "threshold_le", INCLUSIVE),
        ("port", "float64_thresholds", DECIMALS),
        ("port", "nan_direction", OTHER_WAY),
    ],
)
def test_a_planted_fault_has_a_counterexample_that_both_sides_confirm(
    side: str, kind: str, explanation: str, folder: Path, reference: BoosterStack
) -> None:
    stack = opened(side, folder)
    fault = next(f for f in stack.faults() if (f.kind, f.checkpoint) == (kind, "gbdt.leaves"))
    challenger = stack.planted(fault)

    proof = prove(reference, challenger)

    assert (proof.outcome, proof.exit_code) == ("counterexample", 1)
    assert_holds(proof, reference, challenger)
    assert proof.explanation == explanation
    relation = "missing" if kind == "nan_direction" else "exactly the threshold"
    assert {example.relation for example in proof.counterexamples} == {relation}
    # The direction of missing values is in both challengers' arrays; the others are in their code.
    in_code = kind != "nan_direction"
    assert (f"the code of challenger {side}" in proof.counterexamples[0].because) == in_code


@pytest.mark.parametrize("toward", [-np.inf, np.inf], ids=["down", "up"])
def test_one_threshold_one_ulp_off_in_one_tree_is_found_there(
    toward: float, folder: Path, reference: BoosterStack
) -> None:
    tree = reference.tree_structure()[5]
    node = inner(tree)[-1]
    moved = np.nextafter(tree.threshold[node], np.float32(toward))

    def edit(trees: list[dict[str, Any]]) -> None:
        trees[5]["split_conditions"][node] = float(moved)

    challenger = BoosterStack(folder / "legacy" / "booster.json", edit, name="moved")

    proof = prove(reference, challenger)

    assert proof.differing_trees == (5,)
    (example,) = proof.counterexamples
    assert (example.node, example.threshold) == (node, tree.threshold[node])
    assert example.value == min(tree.threshold[node], moved)
    name = reference.tree_features()[tree.feature[node]]
    assert example.feature == f"features.{name}"
    assert f"challenger moved asks features.{name} < {moved!s}" in example.because
    assert_holds(proof, reference, challenger)


def test_a_challenger_right_on_every_logged_row_but_wrong_on_an_unlogged_branch_is_found(
    folder: Path, reference: BoosterStack
) -> None:
    """A thousand logged rows never have the value missing where one node has its bit flipped."""
    rng = np.random.default_rng(3)
    points = reference.split_points()
    logged = np.stack([rng.choice(own, 1000) + rng.normal(0, 1, 1000) for own in points], axis=1)
    tree = reference.tree_structure()[3]
    node = inner(tree)[2]

    def edit(trees: list[dict[str, Any]]) -> None:
        trees[3]["default_left"][node] = int(not trees[3]["default_left"][node])

    challenger = BoosterStack(folder / "legacy" / "booster.json", edit, name="port")
    rows = logged.astype(np.float32)
    np.testing.assert_array_equal(reference.leaves(rows), challenger.leaves(rows))

    proof = prove(reference, challenger)

    assert proof.differing_trees == (3,)
    (example,) = proof.counterexamples
    assert (example.node, example.relation) == (node, "missing")
    assert np.isnan(example.value)
    assert_holds(proof, reference, challenger)


def test_trees_stored_in_another_order_are_equal(reference: BoosterStack) -> None:
    swapped = [mirrored(tree) for tree in reference.tree_structure()]
    pairs = zip(swapped, reference.tree_structure(), strict=True)
    assert all((a.left != b.left).any() for a, b in pairs)

    proof = prove(reference, ArrayStack(swapped, reference.tree_features()))

    assert proof.outcome == "equal"


A, B, C, D = range(4)
ROTATIONS = {
    # x0 asked first, or x1: the same four corners.
    "rotated": (
        (0, 1.5, True, (1, -0.5, False, A, B), (1, -0.5, False, C, D)),
        (1, -0.5, False, (0, 1.5, True, A, C), (0, 1.5, True, B, D)),
        0,
    ),
    # The one leaf right of x0 stands twice once x1 is asked first.
    "moved up": (
        (0, 1.5, True, (1, -0.5, False, A, B), C),
        (1, -0.5, False, (0, 1.5, True, A, C), (0, 1.5, True, B, C)),
        1,
    ),
    # A split that nothing reaches from one side, whatever stands there.
    "dead branch": (
        (0, 1.5, False, A, B),
        (0, 1.5, False, (0, 3.0, True, A, (1, 9.0, True, C, D)), B),
        0,
    ),
    # Missing is sent away first, then numbers are asked.
    "missing apart": (
        (0, 1.5, False, A, B),
        (0, -np.inf, True, B, (0, 1.5, True, A, B)),
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROTATIONS)
def test_other_splits_that_make_the_same_function_are_proven_equal(name: str) -> None:
    one, other, repeating = ROTATIONS[name]
    reference = ArrayStack([structure(one)], ["x0", "x1"])

    proof = prove(reference, ArrayStack([structure(other)], ["x0", "x1"]))

    assert (proof.outcome, proof.repeating) == ("equal", repeating)


def test_other_splits_that_are_off_in_one_corner_are_not() -> None:
    one, other, _ = ROTATIONS["rotated"]
    reference = ArrayStack([structure(one)], ["x0", "x1"])
    wrong = with_threshold(structure(other), 4, np.float32(1.5000001))
    challenger = ArrayStack([wrong], ["x0", "x1"])

    proof = prove(reference, challenger)

    (example,) = proof.counterexamples
    assert (example.feature, example.value) == ("features.x0", 1.5)
    assert_holds(proof, reference, challenger)


def test_trees_too_unlike_to_compare_are_undecided_and_counted() -> None:
    one, other, _ = ROTATIONS["rotated"]
    sides = [ArrayStack([structure(tree)], ["x0", "x1"]) for tree in (one, other)]

    proof = prove(*sides, limit=3)

    assert (proof.outcome, proof.exit_code) == ("undecided", 3)
    assert proof.pairs == 3
    assert "--limit" in proof.doubts[0]


def inclusive(values: Any, thresholds: Any, default_left: Any) -> Any:
    return np.where(np.isnan(values), default_left, values <= thresholds)


def test_two_sides_with_the_same_mistake_in_code_are_undecided(reference: BoosterStack) -> None:
    """They agree wherever they were asked, and neither does what was compared cell by cell."""
    trees, names = reference.tree_structure()[:2], reference.tree_features()
    sides = [ArrayStack(trees, names, name=n, goes_left=inclusive) for n in ("a", "b")]

    proof = prove(*sides)

    assert proof.outcome == "undecided"
    assert [doubt.split(" does not")[0] for doubt in proof.doubts] == [
        "the code of reference a", "the code of challenger b",
    ]  # fmt: skip


def test_a_mistake_of_the_references_code_is_said_to_be_the_references(
    reference: BoosterStack,
) -> None:
    trees, names = reference.tree_structure()[:2], reference.tree_features()
    wrong, right = ArrayStack(trees, names, goes_left=inclusive), ArrayStack(trees, names)

    proof = prove(wrong, right)

    assert "the code of reference arrays" in proof.counterexamples[0].because
    assert proof.explanation is None


def zero_is_missing(values: Any, thresholds: Any, default_left: Any) -> Any:
    return declared(np.where(values == 0, np.float32(np.nan), values), thresholds, default_left)


def infinity_is_missing(values: Any, thresholds: Any, default_left: Any) -> Any:
    return declared(np.where(np.isinf(values), np.nan, values), thresholds, default_left)


@pytest.mark.parametrize(
    ("goes_left", "explanation"),
    [
        (zero_is_missing, "0 is taken for a missing value"),
        (infinity_is_missing, "an infinity is taken for a missing value"),
    ],
)
def test_numbers_that_code_takes_for_missing_are_met(
    goes_left: Any, explanation: str, reference: BoosterStack
) -> None:
    trees, names = reference.tree_structure()[:4], reference.tree_features()
    challenger = ArrayStack(trees, names, goes_left=goes_left)

    proof = prove(ArrayStack(trees, names), challenger)

    assert proof.explanation == explanation
    assert_holds(proof, ArrayStack(trees, names), challenger)


def test_minus_zero_is_met_at_a_threshold_of_zero() -> None:
    """Code that compares the bits of numbers takes -0.0 for the smaller one."""

    def by_bits(values: Any, thresholds: Any, default_left: Any) -> Any:
        below = np.signbit(values) & (values == 0) & (thresholds == 0)
        return declared(values, thresholds, default_left) | below

    tree = structure((0, 0.0, False, A, B))
    challenger = ArrayStack([tree], ["x"], goes_left=by_bits)

    proof = prove(ArrayStack([tree], ["x"]), challenger)

    assert str(proof.counterexamples[0].value) == "-0.0"
    assert proof.explanation is None


@pytest.mark.parametrize("declares", [TREES, TREES - 1])
def test_a_tree_that_the_code_leaves_out_is_a_counterexample(
    declares: int, reference: BoosterStack
) -> None:
    trees, names = reference.tree_structure(), reference.tree_features()
    challenger = ArrayStack(trees[:declares], names, walks=trees[: TREES - 1])

    proof = prove(reference, challenger)

    assert proof.differing_trees == (TREES - 1,)
    (example,) = proof.counterexamples
    assert (example.node, example.challenger_leaf) == (None, None)
    assert_holds(proof, reference, challenger)


def test_no_trees_at_all_are_no_proof() -> None:
    proof = prove(ArrayStack([], ["x"]), ArrayStack([], ["x"]))

    assert proof.outcome == "undecided"
    assert "nothing was compared" in proof.doubts[0]


def test_a_tree_of_one_leaf_is_asked_too() -> None:
    proof = prove(ArrayStack([structure(0)], ["x"]), ArrayStack([structure(1)], ["x"]))

    assert (proof.outcome, proof.points) == ("counterexample", 3)


def test_columns_in_another_order_are_joined_by_name(reference: BoosterStack) -> None:
    names = reference.tree_features()
    order = np.random.default_rng(0).permutation(len(names))
    place = np.append(np.argsort(order), -1).astype(np.int32)
    trees = [
        TreeStructure(
            feature=place[tree.feature], threshold=tree.threshold, left=tree.left,
            right=tree.right, default_left=tree.default_left, leaf=tree.leaf,
        )
        for tree in reference.tree_structure()
    ]  # fmt: skip

    proof = prove(reference, ArrayStack(trees, [f"features.{names[i]}" for i in order]))

    assert proof.outcome == "equal"


def test_features_are_renamed_as_the_plan_says_and_else_refused() -> None:
    tree = [structure((0, 1.0, True, A, B))]
    sides = ArrayStack(tree, ["age"], name="old"), ArrayStack(tree, ["user.age"], name="new")

    assert prove(*sides, renames={"features.user.age": "features.age"}).outcome == "equal"
    with pytest.raises(ConfigError, match=r"'old' read features\.age, which 'new' does not have"):
        prove(*sides)


def test_a_feature_that_no_split_reads_may_be_on_one_side_only() -> None:
    tree = [structure((0, 1.0, True, A, B))]

    assert prove(ArrayStack(tree, ["x"]), ArrayStack(tree, ["x", "unused"])).outcome == "equal"


def first_trees(reference: BoosterStack, count: int) -> ArrayStack:
    return ArrayStack(reference.tree_structure()[:count], reference.tree_features())


@pytest.mark.parametrize("counts", [(1, 3, 6, 12)])
def test_the_work_grows_with_the_number_of_nodes(
    counts: Sequence[int], reference: BoosterStack
) -> None:
    """At most five inputs a split and eight a feature; one pair a node; each asked once."""
    for count in counts:
        sides = first_trees(reference, count), first_trees(reference, count)

        proof = prove(*sides)

        features = len(reference.tree_features())
        assert proof.outcome == "equal"
        assert 3 * proof.splits <= proof.points <= 5 * proof.splits + 8 * features
        assert proof.pairs == 2 * proof.splits + count
        assert sum(sides[0].asked) == sum(sides[1].asked) == proof.points
