"""One pair in one row: where it differs, how, and with which two values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.compare.alignment import Pair
from parity.compare.difference import first_differing
from parity.explain.probe import Probe

Number = float | int | None
# How a row differs: in value, missing on one side only, or not finite.
VALUE, MISSING_REFERENCE, MISSING_CHALLENGER, NOT_FINITE = range(4)


def first_place(pair: Pair, seen: Probe) -> tuple[int, int]:
    """The first row that differs, and the first of its inner values that does."""
    row = int(np.argmax(seen.local[pair.name].differs))
    ours, theirs = seen.local_values(pair)
    return row, first_differing(np.ravel(ours[row]), np.ravel(theirs[row]), pair)


def row_values(pair: Pair, found: Probe, row: int, inner: int) -> tuple[Number, Number]:
    """The pair's local values at a place; None is NaN."""
    ours, theirs = found.local_values(pair)
    return _plain(np.ravel(ours[row])[inner]), _plain(np.ravel(theirs[row])[inner])


def same_number(one: float | None, other: float | None) -> bool:
    """Equal, a missing value being equal to a missing one."""
    return one == other


def kinds_of(pair: Pair, seen: Probe) -> NDArray[np.int64]:
    """[row]: how it differs, where it does."""
    ours, theirs = seen.local_values(pair)
    rows = len(ours)
    if ours.dtype.kind != "f" or rows == 0:
        return np.full(rows, VALUE)
    a, b = ours.reshape(rows, -1), theirs.reshape(rows, -1)
    ours_missing, theirs_missing = np.isnan(a), np.isnan(b)
    finite = (np.isfinite(a) & np.isfinite(b)).all(axis=1)
    kinds = np.where(finite, VALUE, NOT_FINITE)
    kinds[(theirs_missing & ~ours_missing).any(axis=1)] = MISSING_CHALLENGER
    kinds[(ours_missing & ~theirs_missing).any(axis=1)] = MISSING_REFERENCE
    return kinds


def _plain(value: np.generic) -> Number:
    number: float | int = value.item()
    return None if number != number else number  # noqa: PLR0124  # NaN, of any float type
