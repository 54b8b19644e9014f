"""Bare model files of XGBoost and LightGBM: the library's leaves, margins and predictions."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import xgboost

from benchmarks.exactness import lightgbm_cases, xgboost_cases
from benchmarks.exactness.cases import Case, compare, edge_rows
from cpp_serving import open_model
from cpp_serving._core import Scorer, TreeScorer
from replay.errors import ArtifactError, StackError
from tests.cpp_serving.opened import exported

# 54 models of as many rows: 10^5 in all.
ROWS = 2000


def every_kind() -> list[tuple[str, str, str]]:
    """Each objective once, each way to grow once; the seed follows from the place."""
    cases = []
    for library, module in (("xgboost", xgboost_cases), ("lightgbm", lightgbm_cases)):
        objectives, growths = list(module.OBJECTIVES), list(module.GROWTHS)
        pairs = [(o, growths[i % len(growths)]) for i, o in enumerate(objectives)]
        pairs += [(objectives[7 * i % len(objectives)], g) for i, g in enumerate(growths)]
        cases += [(library, objective, growth) for objective, growth in pairs]
    return cases


def a_case(library: str, objective: str, growth: str, *, seed: int = 1) -> Case:
    module = xgboost_cases if library == "xgboost" else lightgbm_cases
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The libraries' advice on odd parameters.
        return module.trained(objective, growth, seed=seed)


@pytest.mark.parametrize(("library", "objective", "growth"), every_kind())
def test_leaves_are_the_librarys_and_margins_within_float32(
    library: str, objective: str, growth: str
) -> None:
    case = a_case(library, objective, growth)

    assert compare(case, edge_rows(case, ROWS, seed=2)).wrong == ()


@pytest.mark.parametrize("kernel", Scorer.kernels())
@pytest.mark.parametrize(
    ("library", "growth"), [("xgboost", "categorical"), ("lightgbm", "zero is missing")]
)
def test_every_kernel_answers_alike(library: str, growth: str, kernel: str) -> None:
    objective = "multi:softprob" if library == "xgboost" else "multiclass"
    case = a_case(library, objective, growth)
    rows = edge_rows(case, 500, seed=3)
    plain = TreeScorer.from_bytes(case.data, "plain", kernel="scalar")
    scorer = TreeScorer.from_bytes(case.data, kernel, kernel=kernel, threads=2)

    assert scorer.kernel == kernel
    assert scorer.leaves(rows).tobytes() == plain.leaves(rows).tobytes()
    assert scorer.margins(rows).tobytes() == plain.margins(rows).tobytes()
    singles = [scorer.score(rows[i : i + 1]) for i in range(50)]
    assert np.concatenate(singles).tobytes() == plain.score(rows)[:50].tobytes()


@pytest.mark.parametrize(("first", "end"), [(0, 1), (1, 3), (2, 5)])
@pytest.mark.parametrize("growth", ["depthwise", "forest", "dart, forest"])
def test_a_range_of_iterations_is_xgboosts(growth: str, first: int, end: int) -> None:
    case = a_case("xgboost", "multi:softprob", growth, seed=5)
    booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(case.data))
    rows = edge_rows(case, 300, seed=1)
    rows[np.isinf(rows)] = 1.0
    matrix = xgboost.DMatrix(rows, nthread=1)
    scorer = TreeScorer.from_bytes(case.data, "range", iterations=(first, end))

    whole = TreeScorer.from_bytes(case.data, "all")
    each = whole.num_trees // whole.num_iterations
    # XGBoost's own leaves know no first iteration.
    expected = booster.predict(matrix, pred_leaf=True).reshape(len(rows), -1)
    margins = booster.predict(matrix, output_margin=True, iteration_range=(first, end))

    leaves = scorer.leaves(rows)
    np.testing.assert_array_equal(leaves, expected[:, each * first : each * end])
    np.testing.assert_allclose(scorer.margins(rows), margins, atol=case.bound, rtol=0)
    assert scorer.num_trees == leaves.shape[1] < whole.num_trees


def test_a_range_that_is_not_there_is_refused() -> None:
    case = a_case("xgboost", "reg:squarederror", "depthwise")
    count = TreeScorer.from_bytes(case.data, "all").num_iterations

    for first, end in ((count, count + 1), (1, 1), (0, count + 1)):
        with pytest.raises(StackError, match=f"there are {count}"):
            TreeScorer.from_bytes(case.data, "range", iterations=(first, end))


def test_a_value_that_means_missing_is_missing() -> None:
    case = a_case("xgboost", "binary:logistic", "depthwise")
    booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(case.data))
    rows = np.round(edge_rows(case, 400, seed=1))
    rows[np.isinf(rows)] = 0.0
    scorer = TreeScorer.from_bytes(case.data, "missing", missing=0.0)

    matrix = xgboost.DMatrix(rows, missing=0.0, nthread=1)

    expected = booster.predict(matrix, pred_leaf=True)
    np.testing.assert_array_equal(scorer.leaves(rows), expected.reshape(400, -1))
    unlike = TreeScorer.from_bytes(case.data, "plain").leaves(rows)
    assert (unlike != scorer.leaves(rows)).any()


def test_features_that_no_tree_reads_may_be_many() -> None:
    rng = np.random.default_rng(0)
    features = np.zeros((200, 5000), dtype=np.float32)
    features[:, [7, 4321]] = rng.normal(size=(200, 2))
    matrix = xgboost.DMatrix(features, features[:, 7] * features[:, 4321], nthread=1)
    booster = xgboost.train({"max_depth": 4, "nthread": 1}, matrix, num_boost_round=5)
    scorer = TreeScorer.from_bytes(bytes(booster.save_raw("ubj")), "wide")

    expected = booster.predict(matrix, pred_leaf=True)

    np.testing.assert_array_equal(scorer.leaves(features), expected)
    assert [f for f, points in enumerate(scorer.split_points()) if len(points)] == [7, 4321]


def test_a_matrix_is_never_converted() -> None:
    case = a_case("xgboost", "multi:softprob", "depthwise")
    scorer = TreeScorer.from_bytes(case.data, "typed")
    rows = edge_rows(case, 8, seed=1)
    out = np.zeros((8, 4), dtype=np.float32)

    for wrong in (rows.astype(np.float64), rows[:, :-1], np.asfortranarray(rows), rows[0], None):
        for call in (scorer.score, scorer.margins, scorer.leaves):
            with pytest.raises(TypeError, match=r"float32 array \[row, 6\]"):
                call(wrong)  # type: ignore[arg-type]
    for wrong_out in (out[:, :3], out[:, 0], out.astype(np.float64), out.T):
        with pytest.raises(TypeError, match=r"writeable float32 array \[8, 4\]"):
            scorer.score_into(rows, wrong_out)
    scorer.score_into(rows, out)
    assert out.tobytes() == scorer.score(rows).tobytes()


def test_open_model_opens_what_the_file_is(tmp_path: Path) -> None:
    case = a_case("lightgbm", "binary", "leaves")
    (tmp_path / "model.txt").write_bytes(case.data)
    artifact = exported(tmp_path)

    bare = open_model(tmp_path / "model.txt", threads=1)
    scorer = open_model(artifact)

    assert isinstance(bare, TreeScorer)
    assert (bare.library, bare.version, bare.objective) == ("lightgbm", "v4", "binary")
    assert bare.feature_names == [f"Column_{i}" for i in range(6)]
    assert isinstance(scorer, Scorer)
    with pytest.raises(ArtifactError, match="No such file"):
        open_model(tmp_path / "absent.json")
    with pytest.raises(StackError, match="iterations"):
        open_model(artifact, iterations=(0, 1))
