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


def auc_by_request(
    p: NDArray[np.float64],
    label: NDArray[np.int8],
    request: NDArray[np.int64],
    num_requests: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[request]: its own AUC, ties counting half, and its weight in the grouped AUC.

    Grouped AUC (GAUC) is their weighted mean: it asks only whether candidates that competed with
    each other stand in the right order. A request weighs as many rows as it has; one without both
    a clicked and an unclicked row has no order to get right: 0, and no weight.

    Source: Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction", section 6.2.
    """
    order = np.lexsort((p, request))
    ordered, of = p[order], request[order]
    is_start = np.ones(len(p), dtype=bool)
    is_start[1:] = (ordered[1:] != ordered[:-1]) | (of[1:] != of[:-1])
    tie = np.cumsum(is_start) - 1
    first = np.flatnonzero(is_start)
    size = np.diff(np.append(first, len(p)))
    # The mean place of tied rows among all; within a request places differ by a constant only.
    place = (first + (size - 1) / 2)[tie]
    begins = np.searchsorted(of, np.arange(num_requests))
    within = place - begins[of]
    clicked = (label[order] == 1).astype(np.float64)
    rows = np.bincount(of, minlength=num_requests).astype(np.float64)
    clicks = np.bincount(of, weights=clicked, minlength=num_requests).astype(np.float64)
    won = np.bincount(of, weights=within * clicked, minlength=num_requests).astype(np.float64)
    won = won - clicks * (clicks - 1) / 2  # clicked rows below each other are no pairs
    pairs = clicks * (rows - clicks)
    has_both = pairs > 0
    share: NDArray[np.float64] = np.where(has_both, won / np.where(has_both, pairs, 1.0), 0.0)
    return share, np.where(has_both, rows, 0.0)
