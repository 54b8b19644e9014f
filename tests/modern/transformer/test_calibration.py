from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modern.transformer.calibration import Calibration, fit_calibration, pctr_from_logits

IDENTITY = Calibration(slope=1.0, intercept=0.0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def drawn(
    num_rows: int, *, slope: float, intercept: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits and clicks that follow the given calibration."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2.0, 1.5, num_rows).astype(np.float32)
    return logits, rng.random(num_rows) < sigmoid(slope * logits + intercept)


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, 0.3), (1.0, 0.0), (1.3, 0.4)])
def test_many_clicks_decide_slope_and_intercept(slope: float, intercept: float) -> None:
    found = fit_calibration(*drawn(200_000, slope=slope, intercept=intercept))

    assert found.slope == pytest.approx(slope, abs=0.03)
    assert found.intercept == pytest.approx(intercept, abs=0.06)


def test_a_few_clicks_leave_the_slope_near_one() -> None:
    """Without the prior these 30 rows, perfectly separated, would ask for an infinite slope."""
    logits = np.linspace(-1, 1, 30, dtype=np.float32)

    found = fit_calibration(logits, logits > 0)

    assert 1.0 < found.slope < 2.0


def test_a_few_clicks_hardly_move_the_level() -> None:
    """Twice the expected clicks, but 25 of them only: the predictions do not double."""
    logits = np.full(5000, np.log(0.0025 / 0.9975), dtype=np.float32)
    click = np.arange(5000) < 25

    pctr = pctr_from_logits(logits, fit_calibration(logits, click))

    assert 1.05 < pctr[0] / 0.0025 < 1.25


def test_with_many_clicks_predicted_equal_observed_ones() -> None:
    logits, click = drawn(200_000, slope=0.7, intercept=1.0)

    pctr = pctr_from_logits(logits, fit_calibration(logits, click))

    assert pctr.sum(dtype=np.float64) == pytest.approx(click.sum(), rel=0.01)


def test_the_ranking_is_never_reversed() -> None:
    logits, click = drawn(50_000, slope=-2.0, intercept=0.0)

    found = fit_calibration(logits, click)

    assert found.slope > 0
    pctr = pctr_from_logits(logits, found)
    assert pctr.sum(dtype=np.float64) == pytest.approx(click.sum(), rel=0.03)


@pytest.mark.parametrize("label", [False, True])
def test_rows_of_one_label_leave_the_logits_as_they_are(label: bool) -> None:  # noqa: FBT001  # a parameter of the test
    logits = np.array([-1.0, 0.5], dtype=np.float32)

    assert fit_calibration(logits, np.array([label, label])) == IDENTITY


def test_no_rows_leave_the_logits_as_they_are() -> None:
    assert fit_calibration(np.empty(0, np.float32), np.empty(0, np.bool_)) == IDENTITY


def test_equal_logits_get_the_click_rate() -> None:
    click = np.arange(1_000_000) < 20_000

    found = fit_calibration(np.full(1_000_000, -3.0, np.float32), click)

    pctr = pctr_from_logits(np.float32([-3.0]), found)
    assert pctr[0] == pytest.approx(0.02, rel=0.01)


def test_the_formula_is_computed_in_float64_and_rounded_once() -> None:
    logits = np.random.default_rng(0).normal(0, 3, 1000).astype(np.float32)

    found = pctr_from_logits(logits, Calibration(slope=1.3, intercept=-0.2))

    expected = sigmoid(1.3 * logits.astype(np.float64) - 0.2).astype(np.float32)
    np.testing.assert_array_max_ulp(found, expected, maxulp=1)
    assert (found == expected).mean() > 0.999


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=20))
@settings(max_examples=50, deadline=None)
def test_probabilities_rise_with_the_logit_and_stay_probabilities(values: list[float]) -> None:
    logits = np.sort(np.array(values, dtype=np.float32))

    pctr = pctr_from_logits(logits, Calibration(slope=0.7, intercept=0.1))

    assert ((pctr >= 0) & (pctr <= 1)).all()
    assert (np.diff(pctr) >= 0).all()
