"""Intervals of a difference between two sides, resampled by request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95  # the usual level; a policy speaks of margins, not of levels
# Candidates of one request share its user and its moment, so requests are the unit of
# chance: resampling candidates would pretend to more evidence than there is.

# Working memory of one chunk of resamples: [resample, row] float64 arrays of about this size.
CHUNK_BYTES = 32 * 2**20
# A resample may leave a metric undefined (no click drawn). Above this share the interval
# would describe the lucky resamples only.
MAX_UNDEFINED = 0.01

Draws = NDArray[np.float64]  # [resample, request], how often each request was drawn
Statistic = Callable[[Draws], NDArray[np.float64]]  # [resample]; NaN where undefined


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The middle of a resampled difference, 95 % of it unless another level is asked for."""

    low: float
    high: float


def draws(
    num_requests: int, *, resamples: int, seed: np.random.SeedSequence, num_rows: int = 0
) -> Iterator[Draws]:
    """Resample requests with replacement, in chunks of bounded memory.

    Args:
        num_requests: How many there are; as many are drawn each time.
        resamples: How many times.
        seed: Where the random numbers start.
        num_rows: Rows that a statistic spreads the draws to, for the size of a chunk.

    Yields:
        [chunk, request], how often each was drawn.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    chunk = max(1, CHUNK_BYTES // (8 * max(num_requests, num_rows, 1)))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.integers(0, num_requests, size=(size, num_requests), dtype=np.int64)
        drawn += np.arange(size, dtype=np.int64)[:, None] * num_requests
        counts = np.bincount(drawn.ravel(), minlength=size * num_requests)
        yield counts.reshape(size, num_requests).astype(np.float64)


def interval(differences: NDArray[np.float64], *, level: float = LEVEL) -> Interval | None:
    """The percentile interval of resampled differences.

    Args:
        differences: [resample]; NaN where the metric was undefined.
        level: How much of them it holds.

    Returns:
        None when there are none, or when too many are undefined.
    """
    defined = differences[np.isfinite(differences)]
    if len(defined) == 0 or len(defined) < (1 - MAX_UNDEFINED) * len(differences):
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high))
