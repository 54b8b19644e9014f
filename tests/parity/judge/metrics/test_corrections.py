from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from parity.judge.metrics.corrections import corrected

PS = st.lists(st.floats(0, 1), min_size=1, max_size=12).map(np.array)


@given(PS)
def test_benjamini_and_hochberg_are_as_scipy_has_them(p) -> None:
    assert np.allclose(corrected(p, "benjamini_hochberg"), false_discovery_control(p))


@given(PS)
def test_holm_rejects_step_by_step(p) -> None:
    """The definition: the i-th smallest is tested at alpha / (m - i), until one is not rejected."""
    alpha = 0.05
    rejected = np.zeros(len(p), dtype=bool)
    for step, place in enumerate(np.argsort(p, kind="stable")):
        if p[place] > alpha / (len(p) - step):
            break
        rejected[place] = True

    found = corrected(p, "holm")

    on_the_edge = np.isclose(found, alpha)
    assert ((found <= alpha) == rejected)[~on_the_edge].all()


@pytest.mark.parametrize(("method", "limit"), [("holm", 0.05), ("benjamini_hochberg", 0.05)])
def test_where_nothing_is_there_little_is_found(method, limit) -> None:
    """Of 2,000 families of 40 true nulls, a finding in at most 5 %, give or take chance."""
    p = np.random.default_rng(0).random((2000, 40))

    found = np.mean([(corrected(one, method) <= limit).any() for one in p])
    uncorrected = np.mean((p <= limit).any(axis=1))

    assert found < limit + 3 * np.sqrt(limit / 2000)
    assert uncorrected > 0.8
