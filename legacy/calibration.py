"""Platt's calibration: two numbers between the regression's logit and a probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from legacy.artifact import Calibration

# Standard deviations of what is believed before the labels have spoken: the slope is near 1,
# and the mean log-odds near the regression's. Some 30 clicks, as the Open Bandit days leave
# for calibration, know a rate to 18 % and a slope hardly at all; thousands overrule both.
_SLOPE_SPREAD = 0.25
_SHIFT_SPREAD = 0.1
_STEPS = 50  # Newton's method on two numbers converges in under ten


def fit_calibration(logits: NDArray[np.float32], clicks: NDArray[np.float32]) -> Calibration:
    """Fit slope and intercept by penalised likelihood, in float64.

    Source: Platt 1999, "Probabilistic Outputs for Support Vector Machines", with normal
    priors in place of his smoothed targets.
    """
    values, labels = logits.astype(np.float64), clicks.astype(np.float64)
    centre = values.mean()
    inputs = np.stack([values - centre, np.ones(len(values))], axis=1)
    believed = np.array([1.0, centre])
    strength = np.array([_SLOPE_SPREAD, _SHIFT_SPREAD]) ** -2.0
    weights = believed
    for _ in range(_STEPS):
        probability = probabilities(inputs @ weights)
        gradient = inputs.T @ (probability - labels) + strength * (weights - believed)
        curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs
        step = np.linalg.solve(curvature + np.diag(strength), gradient)
        # Far from the optimum a full step overshoots: probabilities near 0 have no curvature.
        weights = weights - step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-30))
        if np.abs(step).max() < 1e-12:
            break
    slope, level = (float(weight) for weight in weights)
    return Calibration(slope=slope, intercept=level - slope * float(centre))


def pctr_from_logits(logits: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float32]:
    """The calibrated probability, computed in float64 and rounded once."""
    return probabilities(
        calibration.slope * logits.astype(np.float64) + calibration.intercept
    ).astype(np.float32)


def probabilities(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)); 0 where exp overflows."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds)), dtype=np.float64)
