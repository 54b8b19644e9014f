from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.explain.diagnose import Evidence, diagnose
from parity.tolerance import Absolute, Exact, Ulps

EXACT = Exact(why="discrete")
ONE_ULP = Ulps(count=1.0, why="both sides round once")
PER_REQUEST, REQUESTS = 10, 60


def an_evidence(reference, challenger, **more) -> Evidence:
    rows = len(reference)
    return Evidence(
        **{
            "name": "features.x",
            "reference": reference,
            "challenger": np.asarray(challenger).astype(reference.dtype),
            "tolerance": ONE_ULP if reference.dtype.kind == "f" else EXACT,
            "requests": np.arange(rows) // max(rows // REQUESTS, 1),
            **more,
        }
    )


def ages(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.lognormal(2, 1, PER_REQUEST * REQUESTS).astype(np.float32)


def hours(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 24, REQUESTS).astype(np.float32)


def with_gaps(seed: int = 0) -> np.ndarray:
    values = ages(seed)
    values[::3] = np.nan
    return values


@pytest.mark.parametrize(
    ("reference", "change", "text"),
    [
        (
            ages(),
            lambda v: v * 86400,
            "challenger = reference x 86400 on 100 % of rows: seconds instead of days",
        ),
        (
            ages(),
            lambda v: v / 60,
            "challenger = reference / 60 on 100 % of rows: minutes instead of seconds",
        ),
        (
            hours(),
            lambda v: (v + 9) % 24,
            "9 hours later, modulo 24 on 100 % of rows: another time zone",
        ),
        (
            with_gaps(),
            lambda v: np.where(np.isnan(v), -1, v),
            (
                "a missing value becomes -1 on 100 % of differing rows: "
                "a constant default stands for missing"
            ),
        ),
        (
            ages(),
            np.log1p,
            "challenger = log(1 + reference) on 100 % of rows: log1p is taken once more",
        ),
        (
            ages(),
            lambda v: np.minimum(v, 8),
            "values above 8 become 8 on 100 % of differing rows: clipped",
        ),
        (
            ages(),
            lambda v: np.roll(v.reshape(-1, PER_REQUEST), -1, axis=1).reshape(-1),
            (
                "each row takes the value of the next one in its request on 100 % of rows: "
                "rows moved by one place"
            ),
        ),
    ],
)
def test_a_cause_is_told_in_a_persons_words(reference, change, text) -> None:
    found = diagnose(an_evidence(reference, change(reference.astype(np.float64))))

    assert found is not None
    assert found.text == text
    assert found.support == 1.0
    assert found.counter_examples == ()
    assert found.bits > 20.0


def test_a_declared_unit_settles_which_units_a_factor_turns() -> None:
    found = diagnose(an_evidence(ages(), ages() * 1000.0, unit="seconds"))

    assert found is not None
    assert found.text.endswith("milliseconds instead of seconds")


def test_one_channel_is_named_by_its_place() -> None:
    reference = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)
    challenger = reference.astype(np.float64)
    challenger[:, 7] *= 1.01

    found = diagnose(an_evidence(reference, challenger, stage="layer"))

    assert found is not None
    assert found.text.startswith("channel 7: challenger = reference x 1.01 on 100 % of rows")
    assert found.parameters == {"factor": 1.01}


def test_noise_is_unexplained() -> None:
    noise = np.random.default_rng(1).normal(size=PER_REQUEST * REQUESTS)

    assert diagnose(an_evidence(ages(), ages() + noise)) is None


def test_values_that_agree_have_nothing_to_explain() -> None:
    assert diagnose(an_evidence(ages(), ages())) is None


@pytest.mark.parametrize("rows", [0, 1, 2, 3])
def test_too_few_values_are_unexplained_whatever_they_seem_to_say(rows: int) -> None:
    reference = ages()[:rows]

    assert diagnose(an_evidence(reference, reference * 86400)) is None


def test_a_story_that_holds_on_one_half_of_the_requests_only_is_not_told() -> None:
    """Each half alone would fit a factor; the other half refuses it."""
    reference = ages()
    factors = np.random.default_rng(2).uniform(0.5, 2.0, REQUESTS)
    challenger = reference * np.repeat(factors, PER_REQUEST)

    assert diagnose(an_evidence(reference, challenger)) is None


def test_two_mistakes_on_as_many_rows_are_not_told_as_one() -> None:
    reference = ages()
    second = np.random.default_rng(3).random(len(reference)) < 0.5

    assert diagnose(an_evidence(reference, np.where(second, reference * 2, reference * 3))) is None


def test_what_is_not_explained_is_shown() -> None:
    reference = ages()
    challenger = reference * 60.0
    challenger[::25] = 7.0

    found = diagnose(an_evidence(reference, challenger))

    assert found is not None
    assert 0.9 < found.support < 1.0
    assert [one.row for one in found.counter_examples] == [0, 25, 50, 75, 100]
    first = found.counter_examples[0]
    assert first.challenger == 7.0
    assert first.expected == pytest.approx(first.reference * 60.0, rel=1e-6)


def test_a_difference_within_a_wide_tolerance_explains_nothing() -> None:
    """An offset of the size of the tolerance would meet every cell, and removes no difference."""
    rng = np.random.default_rng(4)
    reference = rng.normal(size=600).astype(np.float32)
    challenger = reference + rng.normal(0, 0.02, 600)
    wide = Absolute(bound=0.03, why="a wide floor")

    assert diagnose(an_evidence(reference, challenger, tolerance=wide, stage="layer")) is None


def test_fifty_candidates_that_repeat_their_requests_value_count_once() -> None:
    """Three requests differ: whatever their value, they are too few to learn from."""
    reference = np.repeat(hours(), PER_REQUEST)
    challenger = reference.astype(np.float64)
    changed = np.repeat(np.arange(REQUESTS) < 3, PER_REQUEST)
    challenger[changed] = (challenger[changed] + 9) % 24

    assert diagnose(an_evidence(reference, challenger)) is None


def test_large_ids_never_pass_through_a_float() -> None:
    reference = np.random.default_rng(5).integers(2**60, 2**61, 600)

    found = diagnose(an_evidence(reference, reference + 3))

    assert found is not None
    assert (found.kind, found.parameters) == ("id_offset", {"offset": 3})


def test_the_rows_that_the_comparison_excuses_are_no_evidence() -> None:
    """A near tie in rank differs in value and not in judgement."""
    reference = np.tile(np.arange(PER_REQUEST), REQUESTS).astype(np.int32)
    found = an_evidence(reference, reference + 1)

    assert diagnose(found) is not None
    assert diagnose(replace(found, differs=np.zeros(len(reference), dtype=np.bool_))) is None


def test_the_same_evidence_gives_the_same_diagnosis() -> None:
    found = an_evidence(ages(), ages() * 86400.0)

    assert diagnose(found) == diagnose(found)


def test_the_order_of_requests_does_not_change_the_name() -> None:
    reference = ages()
    found = an_evidence(reference, reference * 86400.0)
    order = np.argsort(-found.requests, kind="stable")
    turned = replace(
        found,
        reference=found.reference[order],
        challenger=found.challenger[order],
        requests=found.requests[order],
    )

    assert diagnose(turned).text == diagnose(found).text  # type: ignore[union-attr]
