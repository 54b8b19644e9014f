"""Every kernel that this processor can run gives XGBoost's leaves, and all give one score."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cpp_serving._core import Scorer
from legacy.export import export
from replay.errors import StackError
from tests.artifacts import write_artifact

EDGES = np.array(
    [np.nan, -np.nan, 0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 3.4028235e38, -3.4028235e38],
    dtype=np.float32,
)
NUMBERS = 9
REAL_ONLY = [
    {"name": f"f{i}", "kind": "number", "source": "candidate.price"} for i in range(NUMBERS)
]


class Model:
    """One model as XGBoost holds it, and as each kernel does."""

    def __init__(self, folder: Path, *, num_trees: int, depth: int, seed: int) -> None:
        legacy = write_artifact(
            folder / "legacy", features=REAL_ONLY, num_trees=num_trees, depth=depth, seed=seed
        )
        self.path = folder / "scorer.bin"
        export(legacy, self.path)
        self.booster = xgboost.Booster(model_file=legacy / "booster.json")
        self.booster.set_param({"nthread": 1})
        trees = json.loads((legacy / "booster.json").read_bytes())
        self.leaf_nodes = [
            np.flatnonzero(np.array(tree["left_children"]) < 0)
            for tree in trees["learner"]["gradient_booster"]["model"]["trees"]
        ]
        self.scorers = [Scorer(self.path, kernel=name) for name in Scorer.kernels()]
        self.points = self.scorers[0].split_points()

    def ordinals(self, rows: NDArray[np.float32]) -> NDArray[np.int32]:
        """XGBoost's leaves; its iterator takes infinities, which a DMatrix of an array refuses."""
        nodes = self.booster.predict(_matrix(rows), pred_leaf=True, validate_features=False)
        nodes = nodes.reshape(len(rows), -1).astype(np.int64)
        columns = [np.searchsorted(ids, nodes[:, t]) for t, ids in enumerate(self.leaf_nodes)]
        return np.stack(columns, axis=1).astype(np.int32)

    def rows(self, count: int, seed: int) -> NDArray[np.float32]:
        """Thresholds, their neighbours, edges and values between, feature by feature."""
        rng = np.random.default_rng(seed)
        values = np.empty((count, NUMBERS), dtype=np.float32)
        for feature, points in enumerate(self.points):
            around = points if len(points) else np.zeros(1, dtype=np.float32)
            drawn = rng.choice(around, count)
            toward = rng.choice(np.array([-np.inf, np.inf], dtype=np.float32), count)
            between = rng.normal(float(np.mean(around)), float(np.ptp(around)) + 1, count)
            kinds = [drawn, np.nextafter(drawn, toward), rng.choice(EDGES, count), between]
            values[:, feature] = np.choose(rng.integers(0, 4, count), kinds).astype(np.float32)
        return values


def _matrix(rows: NDArray[np.float32]) -> xgboost.DMatrix:
    # Infinite values: the largest numbers take the same way at every finite threshold.
    largest = np.finfo(np.float32).max
    return xgboost.DMatrix(np.where(np.isinf(rows), np.copysign(largest, rows), rows), nthread=1)


@pytest.fixture(scope="module", params=[(1, 1), (7, 3), (30, 6), (20, 8), (3, 12)], ids=str)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    num_trees, depth = request.param
    return Model(tmp_path_factory.mktemp("model"), num_trees=num_trees, depth=depth, seed=depth)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(count=st.integers(1, 300), seed=st.integers(0, 2**31))
def test_leaves_are_xgboosts_and_scores_are_one(model: Model, count: int, seed: int) -> None:
    rows = model.rows(count, seed)
    leaves = model.ordinals(rows)
    pctr = model.scorers[0].score(rows)

    for scorer in model.scorers:
        np.testing.assert_array_equal(scorer.leaves(rows), leaves, err_msg=scorer.kernel)
        assert scorer.score(rows).tobytes() == pctr.tobytes(), scorer.kernel
        singles = np.concatenate([scorer.score(rows[i : i + 1]) for i in range(min(count, 40))])
        assert singles.tobytes() == pctr[:40].tobytes(), scorer.kernel


def test_scores_are_those_of_the_leaves_weights(model: Model) -> None:
    rows = model.rows(500, seed=1)
    scorer = model.scorers[0]
    columns = scorer.leaves(rows) + scorer.leaf_offsets[:-1].astype(np.int64)
    leaf_sum = scorer.leaf_weights[columns].sum(axis=1, dtype=np.float64).astype(np.float32)
    logit = (scorer.bias + leaf_sum.astype(np.float64)).astype(np.float32).astype(np.float64)
    expected = 1 / (1 + np.exp(-(scorer.slope * logit + scorer.intercept)))

    np.testing.assert_allclose(scorer.score(rows), expected, rtol=2e-7)


def test_threads_change_no_bit(model: Model) -> None:
    rows = model.rows(3000, seed=4)
    shared = Scorer(model.path, threads=2)

    assert (shared.threads, model.scorers[-1].threads) == (2, 1)
    assert shared.score(rows).tobytes() == model.scorers[-1].score(rows).tobytes()
    assert shared.leaves(rows).tobytes() == model.scorers[-1].leaves(rows).tobytes()
    with pytest.raises(StackError, match="0 threads"):
        Scorer(model.path, threads=0)


def test_score_into_fills_what_it_is_given(model: Model) -> None:
    rows = model.rows(100, seed=2)
    out = np.full(100, -1, dtype=np.float32)

    for scorer in model.scorers:
        scorer.score_into(rows, out)
        assert out.tobytes() == scorer.score(rows).tobytes()
        scorer.score_into(rows[:0], out[:0])
    assert scorer.score(rows[:0]).shape == (0,)


def test_a_matrix_is_never_converted(model: Model) -> None:
    scorer = model.scorers[-1]
    rows = model.rows(4, seed=3)
    out = np.zeros(4, dtype=np.float32)
    frozen = np.zeros(4, dtype=np.float32)
    frozen.flags.writeable = False
    misaligned = np.zeros(4 * NUMBERS * 4 + 1, dtype=np.uint8)[1:].view(np.float32)
    for wrong in (
        rows.astype(np.float64),
        np.zeros(rows.shape, dtype=np.int32),
        rows.astype(">f4"),
        rows[:, :-1],
        np.asfortranarray(rows),
        rows[::2],
        rows[0],
        misaligned.reshape(4, NUMBERS),
    ):
        with pytest.raises(TypeError, match=rf"float32 array \[row, {NUMBERS}\]"):
            scorer.score(wrong)
        with pytest.raises(TypeError, match=rf"float32 array \[row, {NUMBERS}\]"):
            scorer.score_into(wrong, out)
    for wrong in (out[:3], out.astype(np.float64), frozen, out.reshape(4, 1), [0.0] * 4):
        with pytest.raises(TypeError, match=r"writeable float32 array \[4\]"):
            scorer.score_into(rows, wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="__arrow_c_array__"):
        scorer.score(rows.tolist())  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes"):
        scorer.score_into(rows)  # type: ignore[call-arg]


def test_a_model_with_discrete_features_has_no_score_of_a_matrix(tmp_path: Path) -> None:
    export(write_artifact(tmp_path / "legacy"), tmp_path / "scorer.bin")
    scorer = Scorer(tmp_path / "scorer.bin")
    width = len(scorer.split_points())

    with pytest.raises(StackError, match="discrete features"):
        scorer.score(np.zeros((1, width), dtype=np.float32))


def test_the_kernel_is_chosen_by_name_or_by_the_environment(model: Model) -> None:
    assert Scorer.kernels()[0] == "scalar"
    assert Scorer(model.path, kernel="scalar").kernel == "scalar"
    with pytest.raises(StackError, match=r"'sse9'.*can run here(.|\n)*scalar"):
        Scorer(model.path, kernel="sse9")
    program = "import sys; from cpp_serving._core import Scorer; print(Scorer(sys.argv[1]).kernel)"
    for variable, expected in (("scalar", "scalar"), ("", Scorer.kernels()[-1])):
        shown = subprocess.run(
            [sys.executable, "-c", program, str(model.path)],
            env={**os.environ, "CPP_SERVING_KERNEL": variable},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == expected
