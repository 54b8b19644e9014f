"""Sums of floats as integers, so that adding them up in any order gives the same bits."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from parity.tolerance import Floats

# Every finite float64 is a whole number of 2^-1074, the smallest one.
UNIT_EXPONENT = -1074


def exact_sum(values: Floats) -> int:
    """The sum of finite float64 values, in units of 2^-1074, without any rounding."""
    fraction, exponent = np.frexp(values[values != 0.0])
    # 53 bits of fraction as an integer; in two halves, whose sums stay exact in float64.
    whole = np.ldexp(fraction, 53).astype(np.int64)
    places, group = np.unique(exponent.astype(np.int64) - 53, return_inverse=True)
    high = np.bincount(group, weights=(whole >> 27).astype(np.float64))
    low = np.bincount(group, weights=(whole & ((1 << 27) - 1)).astype(np.float64))
    total = 0
    for place, upper, lower in zip(places.tolist(), high.tolist(), low.tolist(), strict=True):
        total += _shifted((int(upper) << 27) + int(lower), place - UNIT_EXPONENT)
    return total


def mean(total: int, count: int) -> float | None:
    """The mean of `count` values whose exact sum is `total`, rounded once; None of nothing."""
    if count == 0:
        return None
    return float(Fraction(total, count << -UNIT_EXPONENT))


def _shifted(whole: int, by: int) -> int:
    # The fraction of a subnormal ends in zeros, so shifting down loses nothing.
    return whole << by if by >= 0 else whole >> -by
