from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.compare.precision import PrecisionSums, precision_metrics, precision_sums
from parity.judge.policy import Margin, Policy

POLICY = Policy(
    margins={
        "dp_max": Margin(worse_by=1e-3, why="a test"),
        "pair_flips": Margin(worse_by=0.3, why="a test"),
        "sum_p_error": Margin(worse_by=1e-3, why="a test"),
    }
)


@st.composite
def shards(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    offsets = np.cumsum([0, *sizes])
    total = int(offsets[-1])
    p = [
        np.array(draw(st.lists(st.floats(0, 1), min_size=total, max_size=total)), dtype=np.float32)
        for _ in range(2)
    ]
    ranks = [
        np.concatenate([draw(st.permutations(range(size))) for size in sizes]) for _ in range(2)
    ]
    return tuple(p), tuple(ranks), offsets


@given(shards())
def test_the_sums_are_as_the_definitions_say(shard) -> None:
    p, ranks, offsets = shard

    found = precision_sums(p, ranks, offsets)

    flipped = pairs = 0
    for start, stop in pairwise(offsets):
        for i, j in combinations(range(start, stop), 2):
            pairs += 1
            flipped += (ranks[0][i] < ranks[0][j]) != (ranks[1][i] < ranks[1][j])
    assert (found.pairs, found.flipped) == (pairs, flipped)
    assert found.most == np.abs(p[0].astype(np.float64) - p[1].astype(np.float64)).max()
    assert Fraction(found.p_reference, 2**1074) == sum(map(Fraction, p[0].tolist()))


@given(shards(), shards())
def test_two_shards_merge_to_the_sums_of_both(one, two) -> None:
    apart = precision_sums(*one).merge(precision_sums(*two))

    offsets = np.concatenate([one[2], one[2][-1] + two[2][1:]])
    together = precision_sums(
        tuple(np.concatenate(pair) for pair in zip(one[0], two[0], strict=True)),
        tuple(np.concatenate(pair) for pair in zip(one[1], two[1], strict=True)),
        offsets,
    )
    assert apart == together


def _judged(p, q, ranks=None, offsets=None):
    offsets = np.array([0, len(p)]) if offsets is None else offsets
    found = precision_metrics(precision_sums((p, q), ranks, offsets), POLICY)
    return {metric.name: metric for metric in found}


def test_what_no_ranking_metric_sees_is_judged() -> None:
    """Every probability half a per cent lower: no pair flips, and predicted clicks are wrong."""
    p = np.linspace(0.01, 0.1, 200)
    rank = np.argsort(np.argsort(-p))

    found = _judged(p, 0.995 * p, (rank, rank))

    assert found["pair_flips"].decision == "no_worse"
    assert found["dp_max"].decision == "no_worse"
    assert found["sum_p_error"].difference == pytest.approx(0.005)
    assert found["sum_p_error"].decision == "worse"
    assert found["dp_p99"].decision == "informative"


def test_a_value_that_is_not_finite_is_as_far_as_can_be() -> None:
    p = np.full(10, 0.1)
    q = p.copy()
    q[3] = np.nan

    assert _judged(p, q)["dp_max"].decision == "worse"
    assert _judged(p, q)["dp_max"].difference == 1.0


def test_nothing_to_judge_decides_nothing() -> None:
    found = precision_metrics(PrecisionSums(), POLICY)

    assert {metric.decision for metric in found} == {"undecided", "informative"}


def test_a_whole_day_needs_no_inference() -> None:
    p = np.full(10, 0.1)

    metric = _judged(p, p + 1e-4)["dp_max"]

    assert metric.low == metric.high == metric.difference
