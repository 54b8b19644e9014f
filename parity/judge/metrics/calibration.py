"""Calibration: clicks predicted over clicks observed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def calibration(p_sum: NDArray[np.float64], clicks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Predicted over observed clicks, from sums: 1 is right; NaN without a click."""
    return p_sum / np.where(clicks > 0, clicks, np.nan)


def calibration_error(
    p_sum: NDArray[np.float64], clicks: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far calibration is from 1, either way: what a margin can be set on."""
    return np.abs(calibration(p_sum, clicks) - 1)
