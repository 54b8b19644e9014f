from __future__ import annotations

import math

import pytest

from parity.judge.report import Closed
from parity.render import phrases
from tests.parity.a_report import a_cause, a_report


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.5, "50 %"),
        (0.973, "97.3 %"),
        (0.99999, "> 99.9 %"),
        (0.00001, "< 0.1 %"),
        (-0.25, "-25 %"),
        (-0.00001, "> -0.1 %"),
        (None, "unknown"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float | None, text: str) -> None:
    assert phrases.percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (0.0, "0"),
        (1234567, "1,234,567"),
        (1.23456e-7, "1.235e-07"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_figures_are_shown_to_four_digits(value: float | None, text: str) -> None:
    assert phrases.number(value) == text


def test_recorded_values_keep_every_digit() -> None:
    assert phrases.recorded(2**60 + 1) == str(2**60 + 1)
    assert phrases.recorded(0.1 + 0.2) == "0.30000000000000004"
    assert phrases.recorded(None) == "missing"


def test_for_whom_a_cause_matters() -> None:
    assert phrases.affected(a_cause(), a_report()) == "every request"
    some = a_cause(requests_affected=3)
    assert phrases.affected(some, a_report()) == "3 of 100 requests (3 %)"
    sampled = a_cause(requests_affected=None, rows_affected=None)
    assert phrases.affected(sampled, a_report()) == "unknown beyond the 64 probed requests"
    assert "sampled" in phrases.allowed(sampled)
    everyone = a_cause(requests_affected=None, rows_affected=None, slice="every request")
    assert phrases.affected(everyone, a_report()) == "every one of the 64 probed requests"
    sliced = a_cause(requests_affected=3, slice="only user.country = NO")
    assert phrases.affected(sliced, a_report()) == "3 of 100 requests (3 %); only user.country = NO"


def test_a_repair_that_widens_the_gap_is_shown_with_its_sign() -> None:
    assert phrases.costs(a_cause(share_of_gap=-0.25)) == "-25 % of the gap"


def test_a_cause_costs_in_every_unit() -> None:
    costs = (
        Closed(unit="logit", before=0.2, closed=0.1946),
        Closed(unit="pctr", before=0.01, closed=-0.001),
        Closed(unit="rank_flips", before=415, closed=412),
    )
    cause = a_cause(costs=costs, linear_share=0.98, material=True)

    text = "97.3 % of the gap in logit, -10 % in pctr, 412 of 415 rank flips"
    assert phrases.costs(cause) == f"{text}; by one backward pass 98 % of the logit's"
    assert phrases.costs(a_cause(costs=costs, material=False)) == f"{text}; different, not material"
    assert phrases.costs(a_cause(share_of_gap=None)) == "not computed"
