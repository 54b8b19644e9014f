"""How good predictions are on labelled candidates: entropy, ranking, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def figures(pctr: NDArray[Any], clicks: NDArray[Any]) -> dict[str, float | int | None]:
    """`ne`, `auc`, `calibration`, `rows` and `clicks`; None where the labels do not decide.

    `ne` is the log loss over that of the labels' own rate (below 1 is better than knowing
    the rate of the day); `calibration` is predicted over observed clicks.
    """
    predicted = np.asarray(pctr, dtype=np.float64)
    labels = np.asarray(clicks, dtype=np.float64)
    rows, observed = len(labels), int(labels.sum())
    decided = 0 < observed < rows
    return {
        "ne": normalised_entropy(predicted, labels) if decided else None,
        "auc": auc(predicted, labels) if decided else None,
        "calibration": float(predicted.sum() / observed) if observed else None,
        "rows": rows,
        "clicks": observed,
    }


def normalised_entropy(predicted: Floats, labels: Floats) -> float:
    """Log loss over the entropy of the labels' mean.

    Source: He et al. 2014, section 2.
    """
    rate = np.full(len(labels), labels.mean())
    return float(_log_loss(predicted, labels) / _log_loss(rate, labels))


def auc(predicted: Floats, labels: Floats) -> float:
    """Probability that a click is predicted above a non-click; ties count half."""
    _, place, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    positives = labels.sum()
    negatives = len(labels) - positives
    wins = mean_rank[place][labels == 1].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def _log_loss(predicted: Floats, labels: Floats) -> float:
    # A float32 probability may be 0 or 1; a click there is an infinite surprise, bounded here.
    bounded = np.clip(predicted, 1e-12, 1 - 1e-12)
    return float(-np.mean(labels * np.log(bounded) + (1 - labels) * np.log1p(-bounded)))
