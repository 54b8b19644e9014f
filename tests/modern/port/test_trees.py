"""Leaves bit-equal to XGBoost's, on every threshold and its neighbours, missing or not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xgboost
from numpy.typing import NDArray

from modern.port.trees import Forest, TreeWalk, forest_from_json
from replay.errors import ArtifactError
from tests.artifacts import write_artifact


@pytest.fixture(scope="module")
def booster_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees") / "legacy"
    return write_artifact(folder, num_trees=20, depth=5) / "booster.json"


@pytest.fixture(scope="module")
def model(booster_path: Path) -> dict[str, Any]:
    return dict(json.loads(booster_path.read_text()))


@pytest.fixture(scope="module")
def forest(model: dict[str, Any]) -> Forest:
    names = model["learner"]["feature_names"]
    return forest_from_json(model, feature_names=names, where="tests")


def xgboost_ordinals(path: Path, rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """XGBoost's own leaves: node ids, counted among their tree's leaves."""
    booster = xgboost.Booster(model_file=path)
    matrix = xgboost.DMatrix(rows, feature_names=booster.feature_names, nthread=1)
    nodes = booster.predict(matrix, pred_leaf=True).astype(np.int64)
    trees = json.loads(path.read_text())["learner"]["gradient_booster"]["model"]["trees"]
    leaves = [np.flatnonzero(np.asarray(tree["left_children"]) == -1) for tree in trees]
    return np.stack([np.searchsorted(leaf, nodes[:, t]) for t, leaf in enumerate(leaves)], axis=1)


def walked(forest: Forest, rows: NDArray[np.float32]) -> NDArray[np.int32]:
    return TreeWalk(forest)(torch.from_numpy(rows)).numpy()


def random_rows(forest: Forest, num_rows: int, *, seed: int, missing: float) -> Any:
    rng = np.random.default_rng(seed)
    points = [p if len(p) else np.zeros(1, np.float32) for p in forest.split_points()]
    rows = np.stack(
        [rng.choice(p, num_rows) + rng.normal(0, p.std() + 0.1, num_rows) for p in points], axis=1
    ).astype(np.float32)
    rows[rng.random(rows.shape) < missing] = np.nan
    return rows


def test_leaves_are_xgboosts_on_random_rows_with_missing_values(
    forest: Forest, booster_path: Path
) -> None:
    # More rows than are walked at once, and not a multiple of them.
    rows = random_rows(forest, 1_500, seed=1, missing=0.2)

    leaves = walked(forest, rows)

    assert leaves.dtype == np.int32
    np.testing.assert_array_equal(leaves, xgboost_ordinals(booster_path, rows))


def test_leaves_are_xgboosts_on_every_threshold_and_one_ulp_either_side(
    forest: Forest, booster_path: Path
) -> None:
    rows = []
    for place, points in enumerate(forest.split_points()):
        assert len(points), "every feature of the tests' artifact has a split"
        for point in points:
            for value in (np.nextafter(point, -np.inf), point, np.nextafter(point, np.inf)):
                base = random_rows(forest, 1, seed=place, missing=0.1)
                base[0, place] = value
                rows.append(base)
    grid = np.concatenate(rows).astype(np.float32)

    np.testing.assert_array_equal(walked(forest, grid), xgboost_ordinals(booster_path, grid))


def test_leaves_are_xgboosts_with_every_feature_missing_in_turn(
    forest: Forest, booster_path: Path
) -> None:
    rows = random_rows(forest, len(forest.feature_names) + 1, seed=3, missing=0.0)
    rows[np.arange(len(rows) - 1), np.arange(len(rows) - 1)] = np.nan
    rows[-1] = np.nan

    np.testing.assert_array_equal(walked(forest, rows), xgboost_ordinals(booster_path, rows))


def test_every_leaf_can_be_reached_and_counts_from_zero(forest: Forest) -> None:
    for start, end, first, last in zip(
        forest.roots,
        [*forest.roots[1:], len(forest.ordinal)],
        forest.leaf_offsets,
        forest.leaf_offsets[1:],
        strict=False,
    ):
        ordinals = forest.ordinal[start:end]
        assert ordinals[ordinals >= 0].tolist() == list(range(last - first))


# Node 0 splits f0 at 1.5 (missing right), node 2 splits f1 at -0.5 (missing left). Nodes 3 and
# 4 were pruned: nothing leads there, and they are no leaves.
PRUNED = {
    "left_children": [1, -1, 5, -1, -1, -1, -1],
    "right_children": [2, -1, 6, -1, -1, -1, -1],
    "split_indices": [0, 0, 1, 2147483647, 2147483647, 0, 0],
    "split_conditions": [1.5, 0.1, -0.5, 0, 0, 0.2, 0.3],
    "default_left": [0, 0, 1, 0, 0, 0, 0],
    "split_type": [0] * 7,
    "categories": [],
}


def a_model(*trees: dict[str, Any], booster: str = "gbtree") -> dict[str, Any]:
    return {
        "learner": {
            "feature_names": ["f0", "f1"],
            "gradient_booster": {"name": booster, "model": {"trees": list(trees)}},
        }
    }


def read(model: dict[str, Any]) -> Forest:
    return forest_from_json(model, feature_names=["f0", "f1"], where="booster.json")


def test_leaves_are_numbered_by_ascending_id_among_those_that_the_root_leads_to() -> None:
    stump = {name: values[1:2] for name, values in PRUNED.items() if name != "categories"}
    nan = np.nan
    rows = np.asarray(
        [[1.4, 0], [1.5, -1], [1.5, -0.5], [nan, nan], [nan, 3], [np.inf, np.inf], [-np.inf, 0]],
        np.float32,
    )

    forest = read(a_model(PRUNED, stump))

    assert forest.leaf_offsets.tolist() == [0, 3, 4]
    assert walked(forest, rows).tolist() == [[0, 0], [1, 0], [2, 0], [1, 0], [2, 0], [2, 0], [0, 0]]
    assert [points.tolist() for points in forest.split_points()] == [[1.5], [-0.5]]


def test_no_rows_have_no_leaves(forest: Forest) -> None:
    rows = np.zeros((0, len(forest.feature_names)), np.float32)

    assert walked(forest, rows).shape == (0, forest.num_trees)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left_children": [0, -1, 5, -1, -1, -1, -1]}, "reached twice"),
        ({"left_children": [2, -1, 5, -1, -1, -1, -1]}, "reached twice"),
        ({"left_children": [1, -1, 7, -1, -1, -1, -1]}, "outside of its 7 nodes"),
        ({"left_children": [1, -1, -2, -1, -1, -1, -1]}, "outside of its 7 nodes"),
        ({"left_children": [-1, -1, 5, -1, -1, -1, -1]}, "no left one"),
        ({"right_children": [2, -1]}, "2 entries for 7 nodes"),
        ({"split_indices": [2, 0, 1, 0, 0, 0, 0]}, "reads feature 2 of 2"),
        ({"split_conditions": [1e39, 0, 0, 0, 0, 0, 0]}, "not finite"),
        ({"split_conditions": ["1", 0, 0, 0, 0, 0, 0]}, "other than numbers"),
        ({"default_left": [2, 0, 1, 0, 0, 0, 0]}, "default_left"),
        ({"split_type": [1, 0, 0, 0, 0, 0, 0]}, "by category"),
        ({"left_children": [1.5, -1, 5, -1, -1, -1, -1]}, "other than int32"),
        ({"left_children": [], "right_children": []}, "no nodes|entries"),
        ({"left_children": None}, "left_children"),
    ],
)
def test_a_damaged_tree_is_refused(change: dict[str, Any], said: str) -> None:
    read(a_model(PRUNED))

    with pytest.raises(ArtifactError, match=said) as caught:
        read(a_model(PRUNED, PRUNED | change))

    assert "tree 1" in caught.value.where


def test_other_boosters_and_other_features_are_refused_by_name() -> None:
    weighted = copy.deepcopy(a_model(PRUNED))
    weighted["learner"]["gradient_booster"]["weight_drop"] = [1.0]
    cases = [
        (a_model(PRUNED, booster="dart"), "'dart'"),
        (weighted, "drops trees"),
        (a_model(), "no trees"),
        ({}, "learner"),
    ]
    for model, said in cases:
        with pytest.raises(ArtifactError, match=said):
            read(model)
    with pytest.raises(ArtifactError, match="f9"):
        forest_from_json(a_model(PRUNED), feature_names=["f9", "f1"], where="booster.json")
