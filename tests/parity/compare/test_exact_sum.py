from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parity.compare.exact_sum import exact_sum, mean

FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40)


@given(FINITE)
def test_the_sum_is_that_of_the_fractions(values) -> None:
    assert Fraction(exact_sum(np.array(values)), 1 << 1074) == sum(map(Fraction, values))


@given(FINITE, FINITE)
def test_parts_add_up_in_any_order(left, right) -> None:
    together = exact_sum(np.array(left + right))

    assert exact_sum(np.array(right)) + exact_sum(np.array(left)) == together


@given(st.lists(st.floats(0, 1e200), min_size=1, max_size=40))
def test_the_mean_is_rounded_once(values) -> None:
    exact = sum(map(Fraction, values)) / len(values)

    assert mean(exact_sum(np.array(values)), len(values)) == float(exact)
    assert math.isclose(float(exact), math.fsum(values) / len(values))


def test_nothing_has_no_mean() -> None:
    assert mean(0, 0) is None
