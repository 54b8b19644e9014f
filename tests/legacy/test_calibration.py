import numpy as np
import pytest

from legacy.artifact import Calibration
from legacy.calibration import fit_calibration, pctr_from_logits


def test_pctr_is_computed_in_float64_and_rounded_once() -> None:
    logits = np.float32([-200, -5.25, 0.0, 3.1, 2000, -2000])

    found = pctr_from_logits(logits, Calibration(slope=0.75, intercept=-0.5))

    exact = [1 / (1 + np.exp(-(0.75 * float(x) - 0.5))) for x in logits[:4]]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32([*exact, 1.0, 0.0]))


def test_many_labels_give_slope_and_intercept_back() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 1.5, 40_000).astype(np.float32)
    clicks = rng.random(40_000) < 1 / (1 + np.exp(-(0.6 * logits + 0.4)))

    found = fit_calibration(logits, clicks.astype(np.float32))

    assert found.slope == pytest.approx(0.6, abs=0.05)
    assert found.intercept == pytest.approx(0.4, abs=0.08)


def test_few_labels_leave_the_logits_nearly_as_they_are() -> None:
    logits = np.linspace(-6, -4, 200).astype(np.float32)
    clicks = np.zeros(200, np.float32)
    clicks[3] = 1

    found = fit_calibration(logits, clicks)

    assert found.slope == pytest.approx(1.0, abs=0.1)
    assert found.slope * -5 + found.intercept == pytest.approx(-5.0, abs=0.1)


@pytest.mark.parametrize("level", [-50.0, 30.0])
def test_far_logits_still_settle(level: float) -> None:
    rng = np.random.default_rng(1)
    logits = (level + rng.normal(size=500)).astype(np.float32)
    clicks = (rng.random(500) < 0.5).astype(np.float32)

    found = fit_calibration(logits, clicks)

    assert np.isfinite([found.slope, found.intercept]).all()
