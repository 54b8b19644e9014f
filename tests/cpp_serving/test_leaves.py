"""Leaves equal XGBoost's own, on every split point and its neighbours, and with features missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xgboost
from numpy.typing import NDArray

from cpp_serving.stack import CppStack, open_stack
from legacy.export import export
from replay.capabilities import ExposesTrees
from replay.errors import StackError
from tests.artifacts import write_artifact


class Both:
    """The scorer, and XGBoost on the booster it was exported from."""

    def __init__(self, folder: Path) -> None:
        legacy = write_artifact(folder / "legacy", num_trees=40, depth=6, seed=5)
        export(legacy, folder / "scorer.bin")
        self.stack: CppStack = open_stack(folder / "scorer.bin")
        self.booster = xgboost.Booster(model_file=legacy / "booster.json")
        model = json.loads((legacy / "booster.json").read_bytes())
        trees = model["learner"]["gradient_booster"]["model"]["trees"]
        self.leaf_nodes = [np.flatnonzero(np.array(t["left_children"]) < 0) for t in trees]

    def ordinals(self, features: NDArray[np.float32]) -> NDArray[np.int32]:
        """XGBoost's node ids, as places among the leaves of their tree by ascending node id."""
        matrix = xgboost.DMatrix(
            features, feature_names=list(self.stack.tree_features()), nthread=1
        )
        nodes = self.booster.predict(matrix, pred_leaf=True).astype(np.int64)
        columns = [np.searchsorted(ids, nodes[:, t]) for t, ids in enumerate(self.leaf_nodes)]
        return np.stack(columns, axis=1).astype(np.int32)

    def assert_equal(self, features: NDArray[np.float32]) -> None:
        np.testing.assert_array_equal(self.stack.leaves(features), self.ordinals(features))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("leaves"))


def random_rows(both: Both, rows: int, seed: int) -> NDArray[np.float32]:
    """Values drawn around each feature's split points, a tenth of them missing."""
    rng = np.random.default_rng(seed)
    columns = []
    for points in both.stack.split_points():
        around = points if len(points) else np.zeros(1, dtype=np.float32)
        spread = float(np.ptp(around)) + 1.0
        columns.append(rng.choice(around, rows) + rng.normal(0, 0.2 * spread, rows))
    values = np.stack(columns, axis=1).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


def test_on_random_rows(both: Both) -> None:
    both.assert_equal(random_rows(both, 4000, seed=1))


@pytest.mark.parametrize("side", ["at", "below", "above"])
def test_at_every_threshold_and_one_ulp_either_side(both: Both, side: str) -> None:
    rows = []
    base = random_rows(both, 64, seed=2)
    toward = {"below": np.float32(-np.inf), "above": np.float32(np.inf)}
    for feature, points in enumerate(both.stack.split_points()):
        for place, point in enumerate(points):
            row = base[place % len(base)].copy()
            row[feature] = point if side == "at" else np.nextafter(point, toward[side])
            rows.append(row)
    assert len(rows) > 300

    both.assert_equal(np.stack(rows))


def test_with_each_feature_missing_in_turn_and_all_at_once(both: Both) -> None:
    for feature in range(len(both.stack.tree_features())):
        rows = random_rows(both, 100, seed=3 + feature)
        rows[:, feature] = np.nan
        both.assert_equal(rows)
    both.assert_equal(np.full((1, len(both.stack.tree_features())), np.nan, dtype=np.float32))


def test_split_points_are_the_boosters_own(both: Both) -> None:
    """As XGBoost's own dump of the trees lists them."""
    frame = [json.loads(tree) for tree in both.booster.get_dump(dump_format="json")]
    found: dict[str, set[float]] = {name: set() for name in both.stack.tree_features()}

    def visit(node: dict[str, object]) -> None:
        if "split" in node:
            found[str(node["split"])].add(float(np.float32(node["split_condition"])))
            for child in node["children"]:
                visit(child)

    for tree in frame:
        visit(tree)

    assert isinstance(both.stack, ExposesTrees)
    for name, points in zip(both.stack.tree_features(), both.stack.split_points(), strict=True):
        assert points.dtype == np.float32
        assert points.tolist() == sorted(found[name])


def test_a_matrix_of_another_shape_or_dtype_is_refused(both: Both) -> None:
    width = len(both.stack.tree_features())
    for wrong in (
        np.zeros((2, width), dtype=np.float64),
        np.zeros((2, width + 1), dtype=np.float32),
        np.zeros(width, dtype=np.float32),
    ):
        with pytest.raises(StackError, match=rf"float32\[row, {width}\]"):
            both.stack.leaves(wrong)
        with pytest.raises(TypeError):
            both.stack.scorer.leaves(wrong)
    with pytest.raises(TypeError):
        both.stack.scorer.leaves(np.zeros((width, 2), dtype=np.float32).T)
