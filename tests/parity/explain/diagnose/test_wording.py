from __future__ import annotations

import math

import pytest

from parity.explain.diagnose.wording import nice, number, percent, price, unit_words


@pytest.mark.parametrize(
    ("factor", "unit", "words"),
    [
        (86400.0, "1", "seconds instead of days"),
        (1 / 86400.0, "1", "days instead of seconds"),
        (60.0, "1", "seconds instead of minutes"),
        (60.0, "hour", "minutes instead of hours"),
        (1000.0, "seconds", "milliseconds instead of seconds"),
        (math.log(10.0), "1", "the natural logarithm instead of the logarithm to base 10"),
        (1.37, "1", ""),
    ],
)
def test_a_factor_is_told_as_units(factor: float, unit: str, words: str) -> None:
    assert unit_words(factor, unit) == words


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert percent(1.0) == "100 %"
    assert percent(0.9999) == "99.9 %"
    assert percent(0.414) == "41 %"


def test_numbers_read_short() -> None:
    assert [number(v) for v in (3.0, 0.1, math.nan, 1e20)] == ["3", "0.1", "missing", "1e+20"]


def test_a_number_that_a_person_would_write_is_cheap() -> None:
    assert price(0.0) < price(8.0) < price(1.25) < price(0.8372611)


def test_a_fitted_value_is_given_as_the_decimal_that_it_stands_for() -> None:
    assert nice(1.0100000002, within=1e-6) == 1.01
    assert nice(0.837261, within=1e-6) is None
