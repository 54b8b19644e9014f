"""Platt calibration: two numbers that turn a logit into a probability one can bid with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# With a prior of this width on the slope a few dozen clicks leave it near 1, where the
# training put it; thousands of clicks decide it alone (their standard error is below 0.05).
SLOPE_DEVIATION = 0.25
# The weights were fitted to the click rate of many more rows, so 25 clicks, whose rate is known to
# 20 %, should not move the level of all predictions by as much.
LEVEL_DEVIATION = 0.1
# A slope at or below zero would reverse the ranking on the evidence of a small sample.
SMALLEST_SLOPE = 0.05
NEWTON_STEPS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """pctr = 1 / (1 + exp(-(slope * logit + intercept))).

    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """

    slope: float
    intercept: float


def pctr_from_logits(logits: NDArray[np.float32], calibration: Calibration) -> NDArray[np.float32]:
    """Calibrated probabilities, computed in float64 and rounded once."""
    margin = calibration.slope * logits.astype(np.float64) + calibration.intercept
    return _sigmoid(margin).astype(np.float32)


def fit_calibration(logits: NDArray[np.float32], click: NDArray[np.bool_]) -> Calibration:
    """The most likely slope and intercept, held near the identity by normal priors.

    Args:
        logits: [row] of rows whose labels the weights have not seen.
        click: [row]; without a click or without a non-click nothing can be fitted,
            and the logits stay as they are.
    """
    if click.all() or not click.any():
        return Calibration(slope=1.0, intercept=0.0)
    x = logits.astype(np.float64)
    slope, intercept = _newton(x, click, slope=1.0, free_slope=True)
    if slope < SMALLEST_SLOPE:
        slope, intercept = _newton(x, click, slope=SMALLEST_SLOPE, free_slope=False)
    return Calibration(slope=slope, intercept=intercept)


def _newton(
    x: NDArray[np.float64], click: NDArray[np.bool_], *, slope: float, free_slope: bool
) -> tuple[float, float]:
    """Minimise the convex penalised log loss; steps are halved until they improve it."""
    # theta is the slope, and what the mean logit becomes. Around its mean x is uncorrelated with
    # the constant, so the system stays well conditioned.
    centre = float(x.mean())
    design = np.stack([x - centre, np.ones_like(x)], axis=1)
    theta = np.array([slope, slope * centre])
    free = np.array([free_slope, True])
    target = np.array([1.0, centre])
    precision = np.array([SLOPE_DEVIATION, LEVEL_DEVIATION]) ** -2
    value = _objective(design, click, theta, target)
    for _ in range(NEWTON_STEPS):
        pctr = _sigmoid(design @ theta)
        gradient = design.T @ (pctr - click) + precision * (theta - target)
        hessian = (design * (pctr * (1 - pctr))[:, None]).T @ design + np.diag(precision)
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        share = 1.0
        while (candidate := _objective(design, click, theta - share * step, target)) > value:
            share /= 2
            if share < 2**-30:
                return float(theta[0]), float(theta[1] - theta[0] * centre)
        theta, gained, value = theta - share * step, value - candidate, candidate
        if gained <= 1e-12 * abs(value):
            break
    return float(theta[0]), float(theta[1] - theta[0] * centre)


def _objective(
    design: NDArray[np.float64],
    click: NDArray[np.bool_],
    theta: NDArray[np.float64],
    target: NDArray[np.float64],
) -> float:
    margin = design @ theta
    loss = np.logaddexp(0.0, margin).sum() - margin[click].sum()
    deviations = (theta - target) / np.array([SLOPE_DEVIATION, LEVEL_DEVIATION])
    return float(loss + (deviations**2).sum() / 2)


def _sigmoid(margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-margin)) without overflow."""
    small = np.exp(-np.abs(margin))
    sigmoid: NDArray[np.float64] = np.where(margin >= 0, 1.0, small) / (1.0 + small)
    return sigmoid
