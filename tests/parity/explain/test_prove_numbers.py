from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.explain.prove_numbers import (
    ANYTHING,
    INFINITY,
    MINUS_ZERO,
    MISSING,
    Range,
    places_of,
    values_of,
)

floats = st.floats(width=32, allow_nan=False)
places = st.integers(-INFINITY, INFINITY)


def place_of(value: float) -> int:
    return int(places_of(np.asarray([value], np.float32))[0])


@given(floats, floats)
def test_places_are_ordered_as_the_numbers_are(one: float, other: float) -> None:
    assert (place_of(one) < place_of(other)) == (one < other)
    assert (place_of(one) == place_of(other)) == (one == other)


@given(places)
def test_a_place_is_its_numbers_and_a_step_is_an_ulp(place: int) -> None:
    values = values_of(np.asarray([place, place + 1]))

    assert place_of(values[0]) == place
    if place < INFINITY:
        with np.errstate(over="ignore"):  # the largest number's neighbour is infinity
            assert np.nextafter(values[0], np.float32(np.inf)) == values[1]


def test_missing_and_minus_zero_have_values_and_no_places_of_their_own() -> None:
    missing, zero = values_of(np.asarray([MISSING, MINUS_ZERO]))

    assert np.isnan(missing)
    assert (zero, np.signbit(zero)) == (0, True)
    assert place_of(-0.0) == 0


@given(places, places, places, st.sampled_from([True, False]))
def test_a_split_parts_a_range_and_loses_nothing(
    one: int,
    other: int,
    place: int,
    default_left: bool,  # noqa: FBT001 - drawn
) -> None:
    within = Range(min(one, other), max(one, other), True)

    left, right = within.split(place, default_left=default_left)

    assert (left.missing, right.missing) == (default_left, not default_left)
    for number in (one, other, place - 1, place):
        assert left.holds(number) == (within.holds(number) and number < place)
        assert right.holds(number) == (within.holds(number) and number >= place)


@given(places, places)
def test_a_number_inside_lies_inside_and_off_the_ends_where_there_is_room(
    one: int, other: int
) -> None:
    within = Range(min(one, other), max(one, other), False)

    inside = within.inside()

    assert within.holds(inside)
    # Two numbers of one size are far apart only when many lie between them.
    if within.high - within.low > 4 and within.low > -INFINITY and within.high < INFINITY:
        assert inside not in (within.low, within.high)


@pytest.mark.parametrize(
    ("within", "value"),
    [
        (ANYTHING, 0.0),
        (Range(place_of(2.0), INFINITY, True), 4.0),
        (Range(-INFINITY, place_of(-0.5), True), -1.5),
        (Range(0, place_of(3.0), False), 1.5),
        (Range(place_of(3e38), INFINITY, False), np.inf),
        (Range(1, 0, True), np.nan),
    ],
)
def test_a_number_inside_reads_well(within: Range, value: float) -> None:
    np.testing.assert_array_equal(values_of(np.asarray([within.inside()])), np.float32([value]))
