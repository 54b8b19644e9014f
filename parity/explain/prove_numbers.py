"""float32 numbers by their place among all of them: an ulp is one step, and ranges are exact."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Places are the bits of positive numbers, negated for negative ones; both zeros are place 0.
INFINITY = 0x7F800000
# No number's place: the bits of a NaN, and of the zero that place 0 does not stand for.
MISSING = 0x7FC00000
MINUS_ZERO = -(1 << 31)
_SIGN = 1 << 31


class Range(NamedTuple):
    """The values a feature can have: places low to high, none if low > high; and missing."""

    low: int
    high: int
    missing: bool

    @property
    def is_empty(self) -> bool:
        return self.low > self.high and not self.missing

    def holds(self, place: int) -> bool:
        """Whether the number can be had."""
        return self.low <= place <= self.high

    def nearest(self, place: int) -> int:
        """The number nearest to a place; MISSING where there are no numbers."""
        if self.low > self.high:
            return MISSING
        return min(max(place, self.low), self.high)

    def inside(self) -> int:
        """A number away from both ends where there is room, 0 if it can be; else MISSING."""
        if self.low > self.high:
            return MISSING
        if self.low < 0 < self.high:
            return 0
        low, high = (float(value) for value in values_of(np.asarray(self[:2], np.int64)))
        if self.high == INFINITY:
            middle = low + max(1.0, abs(low))
        elif self.low == -INFINITY:
            middle = high - max(1.0, abs(high))
        else:
            middle = (low + high) / 2
        return self.nearest(int(places_of(_nearest_float32(middle))[0]))

    def split(self, place: int, *, default_left: bool) -> tuple[Range, Range]:
        """What goes left at `x < threshold`, and what goes right."""
        return (
            Range(self.low, min(self.high, place - 1), self.missing and default_left),
            Range(max(self.low, place), self.high, self.missing and not default_left),
        )


ANYTHING = Range(-INFINITY, INFINITY, True)


def places_of(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """The places of numbers that are not NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.int64)
    return np.where(bits < _SIGN, bits, _SIGN - bits)


def values_of(places: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 at these places; NaN at MISSING, -0.0 at MINUS_ZERO."""
    bits = np.where(places >= 0, places, _SIGN - places)
    bits = np.where(places == MINUS_ZERO, _SIGN, bits)
    return bits.astype(np.uint32).view(np.float32)


def _nearest_float32(value: float) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # beyond the largest number there is infinity
        return np.asarray([value], np.float64).astype(np.float32)
