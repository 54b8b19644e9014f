"""A request's shared features are given once, its candidates as values or as kept codes: same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.exactness.cases import edge_rows
from cpp_serving._core import RequestScorer, Scorer, TreeScorer
from replay.errors import StackError
from tests.cpp_serving.test_tree_scorer import a_case

CASES = {
    "one output": a_case("xgboost", "binary:logistic", "lossguide", seed=3),
    "several outputs": a_case("xgboost", "multi:softprob", "depthwise", seed=3),
    "averaged": a_case("lightgbm", "regression", "forest", seed=3),
    "categories": a_case("xgboost", "binary:logistic", "categorical", seed=3),
    "categories outside": a_case("lightgbm", "binary", "categorical", seed=3),
    "zero is missing": a_case("lightgbm", "multiclass", "zero is missing", seed=3),
}


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(CASES)),
    kernel=st.sampled_from(Scorer.kernels()),
    shared=st.sets(st.integers(0, 5)),
    candidates=st.integers(0, 1500),
    seed=st.integers(0, 1000),
)
def test_a_request_scores_as_its_whole_rows(
    name: str, kernel: str, shared: set[int], candidates: int, seed: int
) -> None:
    case = CASES[name]
    scorer = TreeScorer.from_bytes(case.data, name, kernel=kernel)
    rows = edge_rows(case, candidates + 1, seed=seed)
    places = sorted(shared)
    rows[:, places] = rows[0, places]
    request = RequestScorer(scorer, places)
    common = np.ascontiguousarray(rows[0, places])
    own = np.ascontiguousarray(np.delete(rows, places, axis=1))
    expected = scorer.score(rows).tobytes()

    codes = request.quantise(own)

    assert request.score(common, own).tobytes() == expected
    assert request.score_codes(common, codes).tobytes() == expected
    assert codes.shape == (candidates + 1, request.num_codes)
    # Kept codes may be put together in any order.
    order = np.random.default_rng(seed).permutation(len(codes))
    np.testing.assert_array_equal(
        request.score_codes(common, codes[order]), scorer.score(rows[order])
    )


def test_what_does_not_fit_is_refused() -> None:
    scorer = TreeScorer.from_bytes(CASES["one output"].data, "typed")
    request = RequestScorer(scorer, [1, 4])
    common, own = np.zeros(2, np.float32), np.zeros((3, 4), np.float32)
    codes = request.quantise(own)

    assert (request.num_shared, request.num_own) == (2, 4)
    for shared in ([4, 1], [1, 1], [6]):
        with pytest.raises(StackError, match="ascending"):
            RequestScorer(scorer, shared)
    for wrong in (common[:1], common.astype(np.float64), own):
        with pytest.raises(TypeError, match=r"shared is not .* \[2\]"):
            request.score(wrong, own)
    with pytest.raises(TypeError, match=r"\[row, 4\]"):
        request.score(common, own[:, :3])
    for bad in (codes[:, :-1], codes.astype(np.int32), codes.T):
        with pytest.raises(TypeError, match="uint8 array"):
            request.score_codes(common, bad)


def test_values_taken_as_missing_are_so_in_a_request_too() -> None:
    case = CASES["one output"]
    scorer = TreeScorer.from_bytes(case.data, "zeros", missing=0.0)
    rows = edge_rows(case, 400, seed=1)
    rows[::3] = 0.0
    rows[:, 2] = 0.0

    request = RequestScorer(scorer, [2])

    scores = request.score(
        np.zeros(1, np.float32), np.ascontiguousarray(np.delete(rows, 2, axis=1))
    )
    assert scores.tobytes() == scorer.score(rows).tobytes()
    assert (scores != TreeScorer.from_bytes(case.data, "NaN alone").score(rows)).any()
