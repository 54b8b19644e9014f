from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom

from parity.judge.early import looks, needed, wealth, wealth_against

RATE = 0.05


@given(st.integers(40, 400), st.data())
def test_under_the_null_the_evidence_is_fair(day: int, data) -> None:
    """Its mean over all samples of a day that is just at the rate is one: no free evidence."""
    null = math.ceil(RATE * day)
    compared = data.draw(st.integers(1, day - null))  # beyond, a clean sample refutes the null
    counts = np.arange(min(null, compared) + 1)
    chances = hypergeom.pmf(counts, day, null, compared)

    mean = sum(
        chance * wealth(compared, int(k), day=day, rate=RATE)
        for k, chance in zip(counts, chances, strict=True)
        if chance > 0
    )

    assert mean == pytest.approx(1.0, rel=1e-6)


@given(st.integers(100, 400), st.integers(0, 30), st.data())
def test_a_day_that_differs_more_gives_less_evidence(day: int, more: int, data) -> None:
    compared = data.draw(st.integers(1, day - 1))
    there = min(day, math.ceil(RATE * day) + more)
    counts = np.arange(min(there, compared) + 1)
    chances = hypergeom.pmf(counts, day, there, compared)

    mean = sum(
        chance * wealth(compared, int(k), day=day, rate=RATE)
        for k, chance in zip(counts, chances, strict=True)
        if chance > 0
    )

    assert mean <= 1.0 + 1e-6


def test_an_endless_day_needs_as_many_requests_as_the_mixture_says() -> None:
    """The closed form with replacement: .4 (1 - p)^-n + ... reaches 100 at 50,420."""
    assert needed(10**9, 1e-4, 0.99) == pytest.approx(50_420, abs=5)


def test_a_finite_day_needs_fewer_and_a_small_one_nearly_all() -> None:
    assert needed(60_000, 1e-4, 0.99) < 35_000
    assert 7900 < needed(8006, 1e-4, 0.99) <= 8006


def _ever_passes(rng: np.random.Generator, day: int, there: int, at: list[int]) -> bool:
    differs = np.zeros(day, dtype=bool)
    differs[:there] = True
    rng.shuffle(differs)
    seen = np.cumsum(differs)
    return any(wealth(n, int(seen[n - 1]), day=day, rate=RATE) >= 20 for n in at)


def test_looking_after_every_request_keeps_the_false_pass_rate() -> None:
    """A day just at the rate passes at level 95 % on at most 5 % of orders, looked at all the time.

    Looking as often at a fixed-sample test (none of the first n differs, p < 0.05) passes more.
    """
    rng = np.random.default_rng(0)
    day, null = 400, math.ceil(RATE * 400)
    every = list(range(10, day, 10))

    passed = sum(_ever_passes(rng, day, null, every) for _ in range(300)) / 300
    peeked = 0
    for _ in range(300):
        differs = rng.permutation(np.arange(day) < null)
        counts = np.cumsum(differs)
        chances = [hypergeom.cdf(counts[n - 1], day, null, n) for n in every]
        peeked += any(chance < 0.05 for chance in chances)

    assert passed <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
    assert peeked / 300 > 0.1


def test_many_differences_are_sure_soon_and_few_are_not_taken_for_many() -> None:
    assert wealth_against(600, 600, day=60_000, rate=1e-4) > 1e6
    assert wealth_against(600, 0, day=60_000, rate=1e-4) < 1
    assert wealth(600, 600, day=60_000, rate=1e-4) == 0


def test_looks_end_with_the_whole_day_and_one_comes_when_a_clean_day_passes() -> None:
    shares = looks(10**6, 1e-4, 0.99)

    assert shares[-1] == 1.0
    assert list(shares) == sorted(set(shares))
    assert any(0 < share * 10**6 - needed(10**6, 1e-4, 0.99) < 1000 for share in shares)
    assert looks(0, 1e-4, 0.99) == (1.0,)
