"""Area under the ROC curve: how often a clicked candidate is given more than an unclicked one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankedRows:
    """Rows sorted once by their probability, so that many resamples can be counted fast.

    Attributes:
        order: [row], ascending by probability.
        starts: [distinct probability], where its rows start in that order.
        clicked: [row] in that order, 1.0 or 0.0.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    clicked: NDArray[np.float64]


def ranked_rows(p: NDArray[np.float64], label: NDArray[np.int8]) -> RankedRows:
    """Sort rows by probability and find its ties."""
    order = np.argsort(p, kind="stable")
    ordered = p[order]
    is_start = np.ones(len(p), dtype=bool)
    is_start[1:] = ordered[1:] != ordered[:-1]
    return RankedRows(
        order=order,
        starts=np.flatnonzero(is_start),
        clicked=(label[order] == 1).astype(np.float64),
    )


def auc(rows: RankedRows, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of (clicked, unclicked) pairs in the right order, ties counting half.

    Args:
        rows: The sorted rows.
        weights: [resample, row], how often each row counts, in the rows' original order.

    Returns:
        [resample]; NaN where all rows were clicked, or none.
    """
    if len(rows.order) == 0:
        return np.full(len(weights), np.nan)
    ordered = weights[:, rows.order]
    clicked = np.add.reduceat(ordered * rows.clicked, rows.starts, axis=1)
    unclicked = np.add.reduceat(ordered, rows.starts, axis=1) - clicked
    below = np.cumsum(unclicked, axis=1) - unclicked
    won = np.sum(clicked * (below + 0.5 * unclicked), axis=1)
    pairs = clicked.sum(axis=1) * unclicked.sum(axis=1)
    share: NDArray[np.float64] = won / np.where(pairs > 0, pairs, np.nan)
    return share
