from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity.judge.metrics.ranking import auc, auc_by_request, ranked_rows


def pairwise_auc(
    p: NDArray[np.float64], label: NDArray[np.int8], weight: NDArray[np.float64]
) -> float:
    """The definition, pair by pair: won pairs, ties half, over all pairs."""
    won = pairs = 0.0
    for i in np.flatnonzero(label == 1):
        for j in np.flatnonzero(label == 0):
            pairs += weight[i] * weight[j]
            won += weight[i] * weight[j] * (float(p[i] > p[j]) + 0.5 * float(p[i] == p[j]))
    return won / pairs if pairs else float("nan")


ROWS = st.lists(
    # Few distinct probabilities, so that ties are the rule.
    st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.booleans(), st.integers(0, 3)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(ROWS)
def test_it_equals_counting_pair_by_pair(rows: list[tuple[float, bool, int]]) -> None:
    p = np.array([row[0] for row in rows])
    label = np.array([row[1] for row in rows], dtype=np.int8)
    weight = np.array([row[2] for row in rows], dtype=np.float64)

    found = auc(ranked_rows(p, label), np.stack([weight, np.ones(len(p))]))

    expected = [pairwise_auc(p, label, weight), pairwise_auc(p, label, np.ones(len(p)))]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_no_rows_have_no_auc() -> None:
    found = auc(ranked_rows(np.zeros(0), np.zeros(0, dtype=np.int8)), np.zeros((2, 0)))

    assert np.isnan(found).all()


def test_equal_probabilities_know_nothing() -> None:
    label = np.array([1, 0, 0, 1], dtype=np.int8)

    assert auc(ranked_rows(np.full(4, 0.3), label), np.ones((1, 4)))[0] == 0.5


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=40
    )
)
def test_grouped_auc_counts_the_pairs_of_each_request(rows) -> None:
    request, label, score = (np.array(column) for column in zip(*rows, strict=True))
    p = score / 5

    share, weight = auc_by_request(p, label.astype(np.int8), request, 5)

    for one in range(5):
        clicked = p[(request == one) & (label == 1)]
        unclicked = p[(request == one) & (label == 0)]
        if len(clicked) == 0 or len(unclicked) == 0:
            assert (share[one], weight[one]) == (0, 0)
            continue
        pairs = np.sign(clicked[:, None] - unclicked[None, :])
        assert share[one] == pytest.approx(np.mean((pairs + 1) / 2))
        assert weight[one] == len(clicked) + len(unclicked)
