from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from parity.compare.alignment import align
from parity.explain import slices
from parity.explain.causes import find_causes
from parity.explain.probe import probe
from parity.explain.slice_conditions import Condition
from parity.explain.slices import LEVEL, find_slice, with_slices
from parity.plan import Plan
from tests.builders import random_batch
from tests.toys import shuffled, toy_batch, toys

BATCH = toy_batch(40)
REQUEST = BATCH.keys.request_of("candidate")
PRICE = BATCH.column("candidate.price").to_numpy(zero_copy_only=False)
SLOT = BATCH.column("context.slot").to_numpy()
NO_HISTORY = np.diff(BATCH.keys.step_offsets) == 0
HOUR = (BATCH.column("logged_at").cast(pa.int64()).to_numpy() // 3_600_000_000) % 24


@pytest.mark.parametrize(
    ("differs", "axis", "condition"),
    [
        (np.isnan(PRICE), "candidate", "whose price is missing"),
        (~np.isnan(PRICE), "candidate", "whose price is given"),
        (NO_HISTORY, "request", "without history"),
        (NO_HISTORY[REQUEST], "candidate", "without history"),
        (SLOT == 2, "request", "whose context.slot is 2"),
        (SLOT != 2, "request", "whose context.slot is not 2"),
        (HOUR >= 15, "request", "logged from 15:00 UTC on"),
    ],
)
def test_a_planted_condition_is_found_and_nothing_more(differs, axis, condition) -> None:
    found = find_slice(differs, axis, BATCH)

    assert found is not None
    assert len(found.conditions) == 1
    assert found.conditions[0].startswith(condition)
    assert (found.rate_inside, found.rate_outside) == (1.0, 0.0)
    assert found.rows_inside == np.count_nonzero(differs)
    assert found.p_value is not None and found.p_value <= LEVEL
    assert found.tried > 100


def test_a_range_is_found_up_to_a_cut() -> None:
    found = find_slice(PRICE >= 80, "candidate", BATCH)

    assert found is not None and found.rate_outside is not None
    assert found.conditions[0].startswith("whose price is at least ")
    assert abs(float(found.conditions[0].split()[-1]) - 80) < 10  # a twentieth of 1 to 200
    assert found.rate_inside > 0.9 and found.rate_outside < 0.1


def test_the_text_says_who_how_often_and_that_it_is_a_sample() -> None:
    request = find_slice(NO_HISTORY, "request", BATCH)
    candidate = find_slice(np.isnan(PRICE), "candidate", BATCH)

    assert request is not None and candidate is not None
    assert request.text == (
        "only requests without history: 100 % differ there, 0 % elsewhere (40 requests sampled)"
    )
    assert candidate.text.startswith("only candidates whose price is missing: 100 % differ there")


def test_two_conditions_are_given_where_both_are_needed() -> None:
    batch = toy_batch(100, seed=3)
    slot = batch.column("context.slot").to_numpy()[batch.keys.request_of("candidate")]
    price = batch.column("candidate.price").to_numpy(zero_copy_only=False)

    found = find_slice((slot == 2) & np.isnan(price), "candidate", batch)

    assert found is not None
    assert set(found.conditions) == {"whose price is missing", "whose context.slot is 2"}
    assert "candidates whose price is missing, in requests whose context.slot is 2" in found.text


def test_a_noisy_slice_is_told_with_its_rates() -> None:
    batch = toy_batch(100, seed=3)
    none = np.diff(batch.keys.step_offsets) == 0
    rng = np.random.default_rng(5)
    rates = np.where(none, 0.9, 0.05)[batch.keys.request_of("candidate")]

    found = find_slice(rates > rng.random(len(rates)), "candidate", batch)

    assert found is not None and found.rate_outside is not None
    assert found.conditions == ("without history",)
    assert found.rate_inside > 0.8
    assert 0 < found.rate_outside < 0.1
    assert not found.text.startswith("only")


@pytest.mark.parametrize("axis", ["request", "candidate", "step"])
def test_a_cause_on_every_row_is_on_every_request(axis) -> None:
    found = find_slice(np.ones(BATCH.keys.num_rows(axis), dtype=np.bool_), axis, BATCH)

    assert found is not None
    assert (found.text, found.conditions, found.rate_inside) == ("every request", (), 1.0)


def test_steps_are_told_by_their_own_fields() -> None:
    batch = random_batch(80, seed=4)
    action = np.array(batch.column("history.action").to_pylist())

    found = find_slice(action == "view", "step", batch)

    assert found is not None
    assert found.text.startswith("only history steps whose action is 'view'")


def test_nothing_differs_nothing_holds() -> None:
    assert find_slice(np.zeros(len(REQUEST), dtype=np.bool_), "candidate", BATCH) is None


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_requests_are_no_evidence(count: int) -> None:
    batch = toy_batch(count, seed=1)
    missing = batch.column("candidate.price").is_null().to_numpy(zero_copy_only=False)

    assert find_slice(missing, "candidate", batch) is None


def test_the_order_of_the_requests_changes_nothing() -> None:
    rng = np.random.default_rng(8)
    by_row = np.where(np.isnan(PRICE), 0.8, 0.1) > rng.random(len(PRICE))
    found = find_slice(by_row, "candidate", BATCH)
    assert found is not None

    for seed in range(5):
        order = np.random.default_rng(seed).permutation(BATCH.num_requests)
        rows = np.concatenate([np.flatnonzero(place == REQUEST) for place in order])

        assert find_slice(by_row[rows], "candidate", shuffled(BATCH, order.tolist())) == found


def a_condition(phrase: str, mask) -> Condition:
    return Condition(level="request", phrase=phrase, mask=mask)


def test_the_more_is_tried_the_less_is_believed() -> None:
    """Ten requests of twenty, told apart perfectly: one in 184,756 by chance."""
    batch = toy_batch(20)
    differs = np.arange(20) < 10
    true = a_condition("true", differs)
    rng = np.random.default_rng(0)
    others = [a_condition(f"{n}", rng.permutation(differs)) for n in range(1000)]

    alone = find_slice(differs, "request", batch, known=[true])
    among = find_slice(differs, "request", batch, known=[true, *others])

    assert alone is not None and alone.conditions == ("true",)
    assert alone.tried == 1
    assert among is None


def test_what_one_half_alone_shows_is_not_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = toy_batch(100)
    searched = np.arange(100) < 50
    monkeypatch.setattr(slices, "_searched_half", lambda *_: searched)
    holds = np.arange(100) % 3 == 0
    known = [a_condition("one", holds)]

    assert find_slice(holds & searched, "request", batch, known=known) is None
    assert find_slice(holds, "request", batch, known=known) is not None


def test_a_second_condition_that_is_not_confirmed_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of eight requests five differ, all five meet the second condition: it may be chance."""
    batch = toy_batch(100)
    monkeypatch.setattr(slices, "_searched_half", lambda *_: np.arange(100) % 2 == 0)
    first = np.arange(100) < 8
    differs = np.arange(100) < 5
    second = differs | (np.arange(100) >= 40)
    known = [a_condition("first", first), a_condition("second", second)]

    found = find_slice(differs, "request", batch, known=known)

    assert found is not None
    assert found.conditions == ("first",)


def test_each_cause_is_told_with_its_slice() -> None:
    """Prices that become -1 where they are missing, and a layer that is wrong everywhere."""

    def filled(values):
        return np.where(np.isnan(values), -1, values)

    reference, challenger = toys({"features.price": filled, "left": lambda v: v + 1})
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    found = probe(reference, challenger, BATCH, alignment)

    price, left = with_slices(find_causes(found), found)

    assert price.slice is not None
    assert price.slice.startswith("only candidates whose price is missing: 100 % differ there")
    assert left.slice == "every request"


def _by_row(rng, batch):
    return rng.random(batch.keys.num_candidates) < rng.uniform(0.05, 0.9)


def _by_request(rng, batch):
    hit = rng.random(batch.num_requests) < rng.uniform(0.1, 0.8)
    return hit[batch.keys.request_of("candidate")]


def _by_category_of_a_request(rng, batch):
    """Rows of a request that share a category go together: no independent witnesses."""
    hit = rng.random((batch.num_requests, 8)) < rng.uniform(0.1, 0.9)
    category = batch.column("candidate.category").to_numpy()
    return hit[batch.keys.request_of("candidate"), category]


@pytest.mark.parametrize("draw", [_by_row, _by_request, _by_category_of_a_request])
def test_chance_is_no_slice(draw) -> None:
    """200 samples that differ at random: at most the level's share may be told a slice."""
    batch = toy_batch(30, seed=11)

    told = 0
    for seed in range(200):
        found = find_slice(draw(np.random.default_rng(seed), batch), "candidate", batch, seed=seed)
        told += found is not None and bool(found.conditions)

    assert told <= LEVEL * 200


def test_any_log_can_be_searched() -> None:
    """Edge values of every type: infinities, huge integers, times before 1970, odd text."""
    batch = random_batch(60, seed=2)
    rng = np.random.default_rng(0)
    missing = np.array([value is None for value in batch.column("user.member").to_pylist()])

    found = find_slice(missing | (rng.random(60) < 0.02), "request", batch)

    assert found is not None
    assert found.conditions == ("whose user.member is missing",)
