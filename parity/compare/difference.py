"""Two arrays of one checkpoint: which rows differ, of which kind, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.compare.alignment import Pair
from parity.noise import Sampled
from parity.tolerance import Floats, Mask, Tolerance
from replay.errors import StackError
from replay.trace import Array

# Values that are compared at once: ten temporaries of them in float64 stay in the cache.
BLOCK = 2**14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Difference:
    """What one comparison found, by row; a row differs when any of its inner values does.

    Attributes:
        differs: [row] beyond the tolerance, missing on one side only, or not finite.
        distance: [row] largest absolute difference of values that are finite on both sides.
        missing_reference: Rows with a missing value on the reference's side.
        missing_challenger: The same on the challenger's.
        missing_mismatch: Rows with a value that is missing on exactly one side.
        nonfinite: Rows with an infinity, or with a NaN that no side declares as missing.
    """

    differs: Mask
    distance: Floats
    missing_reference: int = 0
    missing_challenger: int = 0
    missing_mismatch: int = 0
    nonfinite: int = 0

    @property
    def rows(self) -> int:
        return len(self.differs)

    @property
    def differing(self) -> int:
        return int(np.count_nonzero(self.differs))

    @property
    def max_distance(self) -> float:
        return float(self.distance.max(initial=0.0))


def compare(
    reference: Array,
    challenger: Array,
    pair: Pair,
    *,
    slack: Floats | None = None,
    sampled: Sampled | None = None,
) -> Difference:
    """Compare two arrays of a pair, row by row.

    Missing rows, then non-finite values, then the tolerance: each is its own kind. A value
    missing on both sides agrees, as does the same infinity; an undeclared NaN agrees with nothing.

    Args:
        reference: [row, *inner].
        challenger: The same shape; the dtype may be wider or narrower.
        pair: Declares what NaN means, and the tolerance.
        slack: [row], allowed on top of the tolerance, for what is inherited by arithmetic.
        sampled: Judges real values in place of the pair's tolerance, all rows together.

    Raises:
        StackError: The shapes differ.
    """
    if reference.shape != challenger.shape:
        raise StackError(
            f"{pair.name!r} is {list(reference.shape)} against {list(challenger.shape)}.",
            where="the two traces of one batch",
            fix="record one row for each row of the batch on both sides",
        )
    rows = len(reference)
    inner = math.prod(reference.shape[1:])
    ours, theirs = reference.reshape(rows, inner), challenger.reshape(rows, inner)
    suspects = _unequal_rows(ours, theirs)
    if ours.dtype.kind != "f":
        return _discrete(ours, theirs, suspects)
    if sampled is not None and len(suspects):
        suspects = np.arange(rows)
    tolerance = pair.tolerance if sampled is None else sampled
    return _real(ours, theirs, suspects, pair, tolerance=tolerance, slack=slack)


def first_differing(ours: Array, theirs: Array, pair: Pair) -> int:
    """Which of one row's values differs first; where none does alone, the one furthest apart.

    Args:
        ours: [inner], the reference's values in the row.
        theirs: The challenger's.
        pair: The pair.
    """
    found = compare(ours, theirs, pair)
    shown = found.differs if found.differing else found.distance
    return int(np.argmax(shown)) if len(shown) else 0


def histogram(distance: Floats) -> dict[int, int]:
    """Counts of positive distances by the high bits of their float64 pattern.

    `bits >> 47` keeps sign, exponent and five bits of the fraction: a bucket is at most 1/32
    of its value wide, so its middle errs by less than 1.6 %. Counts merge exactly, in any order.
    """
    positive = np.ascontiguousarray(distance[distance > 0.0], dtype=np.float64)
    buckets, counts = np.unique(positive.view(np.uint64) >> np.uint64(47), return_counts=True)
    return dict(zip(buckets.tolist(), counts.tolist(), strict=True))


def percentile(buckets: Mapping[int, int], rows: int, share: float) -> float:
    """The distance that `share` of all rows do not exceed; rows outside the buckets have 0."""
    place = int(np.ceil(share * rows)) - (rows - sum(buckets.values()))
    for bucket in sorted(buckets):
        if place <= 0:
            break
        place -= buckets[bucket]
        if place <= 0:
            middle = np.array([(bucket << 47) | (1 << 46)], dtype=np.uint64)
            return float(middle.view(np.float64)[0])
    return 0.0


def _unequal_rows(ours: Array, theirs: Array) -> NDArray[np.int64]:
    """Rows with any value that is not the same number; NaN is not, unless bit for bit."""
    if ours.dtype == theirs.dtype and ours.flags.c_contiguous and theirs.flags.c_contiguous:
        words = f"u{ours.dtype.itemsize}"
        unequal = ours.view(words) != theirs.view(words)
    else:
        unequal = ours != theirs
    if not unequal.any():
        return np.zeros(0, dtype=np.int64)
    return np.flatnonzero(unequal.any(axis=1))


def _discrete(ours: Array, theirs: Array, suspects: NDArray[np.int64]) -> Difference:
    differs = np.zeros(len(ours), dtype=np.bool_)
    distance = np.zeros(len(ours))
    if len(suspects):
        a, b = ours[suspects], theirs[suspects]
        differs[suspects] = (a != b).any(axis=1)
        distance[suspects] = _integer_distance(a, b).max(axis=1, initial=0.0)
    return Difference(differs=differs, distance=distance)


def _integer_distance(a: Array, b: Array) -> Floats:
    """|a - b| taken in 64-bit integers, where it can not overflow, then shown as a float."""
    swap = a < b
    a, b = a.astype(np.uint64), b.astype(np.uint64)
    # Subtraction modulo 2^64 of the smaller from the larger value is their true distance.
    return (np.where(swap, b, a) - np.where(swap, a, b)).astype(np.float64)


def _real(
    ours: Array,
    theirs: Array,
    suspects: NDArray[np.int64],
    pair: Pair,
    *,
    tolerance: Tolerance | Sampled,
    slack: Floats | None,
) -> Difference:
    if not len(suspects) and np.isfinite(ours).all():
        return Difference(differs=np.zeros(len(ours), np.bool_), distance=np.zeros(len(ours)))
    missing_ours, bad_ours = _not_finite(ours, declared=pair.reference.missing == "nan")
    missing_theirs, bad_theirs = _not_finite(theirs, declared=pair.challenger.missing == "nan")
    bad = bad_ours | bad_theirs
    differs = np.zeros(len(ours), dtype=np.bool_)
    distance = np.zeros(len(ours))
    mismatched = 0
    places = np.union1d(suspects, np.flatnonzero(bad.any(axis=1)))
    for some in _blocks(places, ours.shape[1], tolerance):
        a, b = ours[some], theirs[some]
        one_missing = missing_ours[some] ^ missing_theirs[some]
        unlike = bad[some] & ~(a == b)
        finite = np.isfinite(a) & np.isfinite(b)
        a, b = np.where(finite, a, 0), np.where(finite, b, 0)
        extra = 0.0 if slack is None else slack[some, np.newaxis]
        beyond = finite & tolerance.exceeded(a, b, extra)
        differs[some] = (one_missing | unlike | beyond).any(axis=1)
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
        distance[some] = apart.max(axis=1, initial=0.0)
        mismatched += _rows(one_missing)
    return Difference(
        differs=differs,
        distance=distance,
        missing_reference=_rows(missing_ours),
        missing_challenger=_rows(missing_theirs),
        missing_mismatch=mismatched,
        nonfinite=_rows(bad),
    )


def _blocks(
    places: NDArray[np.int64], inner: int, tolerance: Tolerance | Sampled
) -> list[NDArray[np.int64]]:
    """Rows in parts that stay in the cache; all at once where they are judged together."""
    if not len(places):
        return []
    together = isinstance(tolerance, Sampled)
    parts = 1 if together else min(len(places), -(-len(places) * inner // BLOCK))
    return np.array_split(places, parts)


def _not_finite(values: Array, *, declared: bool) -> tuple[Mask, Mask]:
    """Which values are missing, and which are not numbers for any other reason."""
    odd = ~np.isfinite(values)
    missing = np.isnan(values) if declared else np.zeros_like(odd)
    return missing, odd & ~missing


def _rows(mask: Mask) -> int:
    return int(np.count_nonzero(mask.any(axis=1)))
