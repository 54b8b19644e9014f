"""How good predicted probabilities are on labelled candidates: entropy, order, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Figures of one predictor on one set of labelled candidates.

    Attributes:
        rows: Labelled candidates.
        clicks: Clicked ones.
        ne: Normalised entropy: log loss over the entropy of the set's own click rate; 1 is
            what always predicting that rate gives. None without both a click and a non-click.
        auc: Chance that a clicked candidate stands above an unclicked one, ties counting
            half. None without both.
        calibration: Predicted over observed clicks; None without clicks.

    Source: He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook",
    section 3 (normalised entropy and calibration).
    """

    rows: int
    clicks: int
    ne: float | None
    auc: float | None
    calibration: float | None


def quality_of(pctr: NDArray[np.floating], click: NDArray[np.bool_]) -> Quality:
    """The quality of predicted probabilities, in float64.

    Args:
        pctr: [row], within [0, 1].
        click: [row].
    """
    rows, clicks = len(click), int(click.sum())
    if clicks in {0, rows}:
        calibration = float(pctr.sum(dtype=np.float64) / clicks) if clicks else None
        return Quality(rows=rows, clicks=clicks, ne=None, auc=None, calibration=calibration)
    rate = clicks / rows
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
    return Quality(
        rows=rows,
        clicks=clicks,
        ne=float(log_losses(pctr, click).mean() / entropy),
        auc=_auc(pctr, click),
        calibration=float(pctr.sum(dtype=np.float64) / clicks),
    )


def log_losses(pctr: NDArray[np.floating], click: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[row] -log of the probability given to what happened, in nats.

    Probabilities are kept one float32 step away from 0 and 1: a float32 1.0 stands for
    anything above 1 - 2^-25, and one row must not make the mean infinite.
    """
    step = float(np.finfo(np.float32).eps) / 2
    wide = np.clip(pctr.astype(np.float64), step, 1 - step)
    losses: NDArray[np.float64] = -np.where(click, np.log(wide), np.log1p(-wide))
    return losses


def _auc(pctr: NDArray[np.floating], click: NDArray[np.bool_]) -> float:
    """By the rank-sum statistic, tied predictions sharing their mean rank."""
    _, inverse, counts = np.unique(pctr, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts - 1) / 2
    clicks = int(click.sum())
    above = mean_rank[inverse][click].sum() - clicks * (clicks + 1) / 2
    return float(above / (clicks * (len(click) - clicks)))
