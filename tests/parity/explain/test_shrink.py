from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.explain.shrink import Variant, batch_of, ddmin, optional_fields, shrink, whole
from tests.builders import a_candidate, a_request, a_step
from tests.builders import batch_of as requests

FORTY = st.sets(st.integers(0, 39))


def needs(wanted: set[int], calls: list[int] | None = None):
    """A trial that holds where everything wanted is there."""

    def trial(forms: Sequence[tuple[int, ...]]) -> list[int | None]:
        if calls is not None:
            calls.append(len(forms))
        return [0 if wanted <= set(form) else None for form in forms]

    return trial


@given(FORTY)
def test_what_is_needed_is_what_is_left(wanted: set[int]) -> None:
    assert set(ddmin(range(40), needs(wanted))) == wanted


@given(st.sets(st.integers(0, 7), min_size=1), st.randoms(use_true_random=False))
def test_of_any_condition_no_item_that_is_left_can_be_left_out(always: set[int], random) -> None:
    """Also where a smaller form fails and one smaller still holds."""
    holding = {frozenset(range(8))} | {
        frozenset(form for form in range(8) if random.random() < 0.5) | always for _ in range(20)
    }

    def trial(forms):
        return [0 if frozenset(form) in holding else None for form in forms]

    left = frozenset(ddmin(range(8), trial))

    assert left in holding
    assert not any(left - {item} in holding for item in left)


def test_one_of_many_is_found_in_one_call() -> None:
    calls: list[int] = []

    assert ddmin(range(500), needs({321}, calls), least=1) == (321,)
    assert calls == [500]


def test_two_far_apart_of_many_take_few_calls() -> None:
    calls: list[int] = []

    assert ddmin(range(500), needs({3, 444}, calls)) == (3, 444)
    assert len(calls) <= 25
    assert calls[0] == 501


def test_what_can_go_together_goes_together() -> None:
    calls: list[int] = []
    wanted = set(range(0, 40, 2))

    assert set(ddmin(range(40), needs(wanted, calls))) == wanted
    assert len(calls) <= 20  # one by one it would be more than twenty rounds of two


def test_the_form_that_costs_least_is_taken() -> None:
    def trial(forms):
        return [{(1,): 2, (2,): 1}.get(tuple(form)) for form in forms]

    assert ddmin((1, 2, 3), trial) == (2,)


def test_what_has_to_stay_stays() -> None:
    assert len(ddmin(range(5), needs(set()), least=1)) == 1
    assert ddmin(range(5), needs(set())) == ()


def test_a_judge_that_refuses_everything_leaves_everything() -> None:
    assert ddmin(range(9), lambda forms: [None] * len(forms)) == tuple(range(9))


@pytest.fixture
def request_():
    return requests(
        a_request(
            "r-9",
            history=[a_step(1), a_step(2), a_step(3)],
            candidates=[a_candidate(ad, price=float(ad)) for ad in (5, 6, 7, 8)],
        )
    )


def test_the_whole_form_is_the_request_itself(request_) -> None:
    assert batch_of(request_, [whole(request_)], renamed=False).records.equals(request_.records)


def test_forms_have_their_own_ids_rows_and_nulls(request_) -> None:
    fields = optional_fields(request_)
    forms = [
        Variant(candidates=(3, 1), steps=(), fields=fields),
        Variant(candidates=(0,), steps=(2,), fields=("candidate.price",)),
    ]

    batch = batch_of(request_, forms)

    assert batch.keys.request_ids.to_pylist() == ["r-9~0", "r-9~1"]
    assert batch.keys.ad_ids.to_pylist() == [8, 6, 5]
    assert batch.column("candidate.price").to_pylist() == [8.0, 6.0, 5.0]
    assert batch.column("candidate.title").to_pylist() == ["Red running shoes"] * 2 + [None]
    assert batch.column("context.device").to_pylist() == ["phone", None]
    assert batch.keys.step_offsets.tolist() == [0, 0, 1]
    assert batch.column("history.ad_id").to_pylist() == [3]
    assert batch.column("history.category").to_pylist() == [None]


def test_what_a_row_must_have_is_never_made_null(request_) -> None:
    bare = batch_of(request_, [Variant(candidates=(0,), steps=(0,), fields=())])

    for path in ("candidate.ad_id", "candidate.bid_micros", "history.ad_id", "history.action",
                 "history.at", "logged_at"):  # fmt: skip
        assert path not in optional_fields(request_)
        assert bare.column(path).null_count == 0
    assert bare.column("user.segment").null_count == 1


def test_a_field_without_a_value_is_not_offered() -> None:
    one = requests(a_request(context={"device": None}))

    assert "context.device" not in optional_fields(one)
    assert "context.slot" in optional_fields(one)


def test_shrinking_goes_over_candidates_steps_and_fields(request_) -> None:
    """It holds while two ads, one step and one field are there: nothing else is left."""

    def judge(forms: Sequence[Variant]) -> list[int | None]:
        return [
            0 if {1, 2} <= set(f.candidates) and 2 in f.steps and "user.segment" in f.fields
            else None
            for f in forms
        ]  # fmt: skip

    assert shrink(request_, judge) == Variant(
        candidates=(1, 2), steps=(2,), fields=("user.segment",)
    )


def test_what_becomes_possible_by_a_later_step_is_done() -> None:
    """A second candidate can only go once a field is null."""
    one = requests(a_request(num_candidates=2))

    def judge(forms: Sequence[Variant]) -> list[int | None]:
        return [
            0 if len(f.candidates) == 2 or "candidate.price" not in f.fields else None
            for f in forms
        ]

    assert len(shrink(one, judge).candidates) == 1


def test_a_smaller_form_is_not_taken_at_a_higher_cost(request_) -> None:
    """Two fields are needed; without a third it would show something else too."""
    needed = {"candidate.price", "user.segment"}

    def judge(forms: Sequence[Variant]) -> list[int | None]:
        return [
            (0 if "candidate.title" in form.fields else 1) if needed <= set(form.fields) else None
            for form in forms
        ]

    small = shrink(request_, judge)

    assert set(small.fields) == needed | {"candidate.title"}
    assert (len(small.candidates), len(small.steps)) == (1, 0)
