from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import hypergeom

from parity.explain.slice_tests import more_hits, p_value


def test_between_requests_it_is_fisher_s_exact_test() -> None:
    """All five requests of a condition differ, none of seven others: one in C(12, 5)."""
    condition = np.arange(12) < 5

    assert p_value(condition, condition, np.arange(12)) == pytest.approx(1 / comb(12, 5))


def test_more_rows_of_the_same_requests_are_no_more_evidence() -> None:
    condition = np.arange(12) < 5
    once = p_value(condition, condition, np.arange(12))

    many = p_value(np.repeat(condition, 9), np.repeat(condition, 9), np.repeat(np.arange(12), 9))

    assert many == pytest.approx(once)


def test_within_requests_each_has_its_own_chance() -> None:
    """The one differing row of four is the one that meets the condition, in six requests."""
    condition = np.tile([True, False, False, False], 6)

    p = p_value(condition, condition, np.repeat(np.arange(6), 4))

    assert p == pytest.approx(0.25**6)


def test_where_both_speak_the_smaller_counts_twice() -> None:
    """Two further requests without condition and difference let the requests speak as well."""
    condition = np.r_[np.tile([True, False, False, False], 6), np.zeros(8, dtype=bool)]

    p = p_value(condition, condition, np.repeat(np.arange(8), 4))

    assert p == pytest.approx(2 * 0.25**6)


def test_fewer_differences_inside_are_no_evidence() -> None:
    condition = np.arange(12) < 6

    assert p_value(condition, ~condition, np.arange(12)) == pytest.approx(1.0)


@pytest.mark.parametrize("differs", [np.zeros(8, dtype=bool), np.ones(8, dtype=bool)])
def test_without_contrast_there_is_no_evidence(differs) -> None:
    assert p_value(np.arange(8) < 4, differs, np.arange(8)) == 1.0


def test_the_level_is_kept_over_every_way_rows_can_fall() -> None:
    """All 15^3 ways in which two of six rows differ in three requests, equally likely."""
    request_of = np.repeat(np.arange(3), 6)
    condition = np.tile([True, True, True, False, False, False], 3)
    condition[0] = False
    ways = list(combinations(range(6), 2))
    found = []
    for first in ways:
        for second in ways:
            for third in ways:
                differs = np.zeros(18, dtype=bool)
                for start, way in ((0, first), (6, second), (12, third)):
                    differs[[start + row for row in way]] = True
                found.append(p_value(condition, differs, request_of))
    ps = np.array(found)

    for level in (0.01, 0.05, 0.1, 0.3, 0.7):
        assert (ps <= level + 1e-12).mean() <= level + 1e-12


@pytest.mark.parametrize("size", [1, 7, 40, 700])
def test_the_hypergeometric_tail_is_scipy_s(size: int) -> None:
    rng = np.random.default_rng(size)
    for good, drawn in [(0, size), (size, size), *rng.integers(0, size + 1, (60, 2)).tolist()]:
        for hits in {-1, 0, good * drawn // size, min(good, drawn) - 1, min(good, drawn)}:
            expected = hypergeom.sf(hits, size, good, drawn)

            assert more_hits(hits, size, good, drawn) == pytest.approx(expected, rel=1e-9)


def test_the_order_of_rows_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    condition, differs = rng.random(60) < 0.4, rng.random(60) < 0.3
    request_of = rng.integers(0, 12, 60)
    order = rng.permutation(60)

    before = p_value(condition, differs, request_of)

    assert p_value(condition[order], differs[order], request_of[order]) == before
