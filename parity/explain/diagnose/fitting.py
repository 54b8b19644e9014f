"""Fits that a few wrong cells do not move: they look for what most cells agree on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.tolerance import Floats
from replay.trace import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """A value that many cells agree on, and how many."""

    value: float
    count: int


def commonest(values: Array) -> Agreed | None:
    """The most frequent value; the smallest of those that are equally frequent."""
    if not len(values):
        return None
    found, counts = np.unique(values, return_counts=True)
    at = int(np.argmax(counts))
    return Agreed(value=found[at].item(), count=int(counts[at]))


def densest(values: Floats, width: Floats | float) -> Agreed | None:
    """Where most values lie within `width` of each other: the median of those."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    ordered = np.sort(values)
    reach = ordered + width
    counts = np.searchsorted(ordered, reach, side="right") - np.arange(len(ordered))
    at = int(np.argmax(counts))
    inside = ordered[at : at + int(counts[at])]
    return Agreed(value=float(np.median(inside)), count=len(inside))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """y = slope * x + intercept, for `count` of the points."""

    slope: float
    intercept: float
    count: int


def line(x: Floats, y: Floats, *, within: float = 1e-5, tries: int = 48) -> Line | None:
    """The line through most of the points: random pairs propose, least squares refine.

    Args:
        x: Finite.
        y: Finite.
        within: Relative to the spread of y, how far off a point may lie.
        tries: Pairs drawn; with half of the points wrong, 48 pairs all miss once in a million.
    """
    if len(x) < 4:
        return None
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, len(x), (2, tries))
    first, second = first[x[first] != x[second]], second[x[first] != x[second]]
    if not len(first):
        return None
    slopes = (y[second] - y[first]) / (x[second] - x[first])
    starts = y[first] - slopes * x[first]
    room = within * float(np.percentile(np.abs(y - np.median(y)), 90)) or within
    few = rng.permutation(len(x))[:256]
    off = np.abs(y[few] - (slopes[:, np.newaxis] * x[few] + starts[:, np.newaxis]))
    at = int(np.argmax((off <= room).sum(axis=1)))
    inside = np.abs(y - (slopes[at] * x + starts[at])) <= room
    if int(inside.sum()) < 4 or np.ptp(x[inside]) == 0.0:
        return None
    centre = x[inside].mean()
    moved = x[inside] - centre
    slope = float(moved @ (y[inside] - y[inside].mean()) / (moved @ moved))
    return Line(
        slope=slope,
        intercept=float(y[inside].mean() - slope * centre),
        count=int(inside.sum()),
    )
