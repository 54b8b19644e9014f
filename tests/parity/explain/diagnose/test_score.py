from __future__ import annotations

import math

import numpy as np
import pytest

from parity.explain.diagnose.evidence import Evidence
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sampling import sample_of
from parity.explain.diagnose.score import flags, scorer_of
from parity.tolerance import Exact

EXACT = Exact(why="discrete")


def a_sample(reference, challenger):
    found = sample_of(
        Evidence(
            name="features.x",
            reference=np.asarray(reference),
            challenger=np.asarray(challenger),
            tolerance=EXACT,
            requests=np.arange(len(reference)),
        )
    )
    assert found is not None
    return found


def plus(offset: int, **more) -> Hypothesis:
    return Hypothesis(kind="offset", says="", curve=lambda v: v + offset, **more)


def test_marks_cost_their_count_and_their_places() -> None:
    assert flags(8, 0) == pytest.approx(math.log2(9))
    assert flags(8, 1) == pytest.approx(math.log2(9) + 3.0)
    assert flags(8, 3) == pytest.approx(flags(8, 5))
    assert flags(1000, 500) < 1000 + math.log2(1001)


def test_an_exception_costs_what_its_value_has_in_its_own_column() -> None:
    """Half of the column is one value: it costs a bit, where a rare one costs seven."""
    challenger = np.arange(128)
    challenger[:64] = 500
    sample = a_sample(np.arange(128) + 1000, challenger)

    assert sample.marginal[0] == pytest.approx(1.0)
    assert sample.marginal[-1] == pytest.approx(7.0)


def test_of_two_values_the_other_one_is_no_news() -> None:
    reference = np.tile([0, 1], 64)
    sample = a_sample(reference, 1 - reference)

    assert sample.surprise == pytest.approx(np.zeros(128))


def test_a_constant_column_pays_for_no_story() -> None:
    """Its own distribution tells it for nothing, so no function of the reference is needed."""
    reference = np.arange(200)
    challenger = np.full(200, 7)
    challenger[7] = 8

    assert scorer_of(a_sample(reference, challenger)).score(plus(1), 0.0) is None


def test_a_true_story_saves_bits_and_a_false_one_does_not() -> None:
    reference = np.random.default_rng(0).integers(0, 1000, 200)
    scorer = scorer_of(a_sample(reference, reference + 3))

    assert scorer.score(plus(4), 8.0) is None
    found = scorer.score(plus(3), 8.0)
    assert found is not None
    assert (found.support, found.everywhere) == (1.0, True)


def test_what_a_hypothesis_costs_is_taken_from_what_it_saves() -> None:
    reference = np.random.default_rng(0).integers(0, 1000, 200)
    scorer = scorer_of(a_sample(reference, reference + 3))

    cheap, dear = scorer.score(plus(3), 8.0), scorer.score(plus(3, bits=32.0), 8.0)

    assert cheap is not None
    assert dear is not None
    assert cheap.bits - dear.bits == pytest.approx(32.0)


def test_agreeing_values_that_a_story_would_change_count_against_it() -> None:
    """One row in three moved by 3: said of all rows the story is false, of some it is true."""
    rng = np.random.default_rng(1)
    reference = rng.integers(0, 1000, 600)
    challenger = reference + 3 * (rng.random(600) < 0.33)
    scorer = scorer_of(a_sample(reference, challenger))

    assert scorer.score(plus(3, reach="all"), 8.0) is None
    found = scorer.score(plus(3), 8.0)
    assert found is not None
    assert not found.everywhere


def test_less_than_three_differing_values_in_ten_are_no_explanation() -> None:
    rng = np.random.default_rng(2)
    reference = rng.integers(0, 10**6, 1000)
    challenger = np.where(rng.random(1000) < 0.2, reference + 3, rng.integers(0, 10**6, 1000))

    assert scorer_of(a_sample(reference, challenger)).score(plus(3), 8.0) is None


def test_free_parameters_have_to_meet_more_values_than_they_are() -> None:
    """Through two points a line can always be drawn."""
    reference = np.tile([0, 1], 100)
    bent = Hypothesis(kind="affine", says="", curve=lambda v: 2 * v + 3, needs=4)

    assert scorer_of(a_sample(reference, 2 * reference + 3)).score(bent, 0.0) is None
