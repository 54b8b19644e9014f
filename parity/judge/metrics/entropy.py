"""Log loss and normalised entropy: how much the predictions tell beyond the click rate.

Source: He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook",
section 2 (normalised entropy: log loss over the entropy of the mean click rate).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# A certain and wrong answer costs -log(1e-12) = 27.6 nats, not infinity: one float32 pctr
# that rounded to 0 or 1 must not decide a day.
SURE = 1e-12


def losses(p: NDArray[np.float64], label: NDArray[np.int8]) -> NDArray[np.float64]:
    """[row] log loss in nats of a probability `p` of a click."""
    clipped = np.clip(p, SURE, 1 - SURE)
    found: NDArray[np.float64] = -np.where(label == 1, np.log(clipped), np.log1p(-clipped))
    return found


def entropy(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in nats of a click rate; NaN where it is 0 or 1, which leaves nothing to tell."""
    inside = (rate > 0) & (rate < 1)
    safe = np.where(inside, rate, 0.5)
    found: NDArray[np.float64] = -(safe * np.log(safe) + (1 - safe) * np.log1p(-safe))
    return np.where(inside, found, np.nan)


def log_loss(loss_sum: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean log loss from sums; NaN where there are no rows."""
    return loss_sum / np.where(rows > 0, rows, np.nan)


def normalised_entropy(
    loss_sum: NDArray[np.float64], clicks: NDArray[np.float64], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log loss over the entropy of the click rate, from sums; NaN where undefined.

    1 is what predicting the mean rate for everyone gives; lower is better.
    """
    some = np.where(rows > 0, rows, np.nan)
    return (loss_sum / some) / entropy(clicks / some)
