from __future__ import annotations

import numpy as np

from parity.explain.slice_conditions import MIN_REQUESTS, conditions
from tests.builders import a_candidate, a_request, a_step, batch_of


def by_phrase(batch, axis):
    return {one.phrase: one for one in conditions(batch, axis)}


def six(**of_each):
    """Six requests; a list gives each its own value."""
    return batch_of(
        *(
            a_request(f"r-{n}", **{name: values[n] for name, values in of_each.items()})
            for n in range(6)
        )
    )


def test_large_ids_are_told_apart_exactly() -> None:
    """A float64 would make them one."""
    batch = six(user=[{"impressions": 2**53 + n % 2} for n in range(6)])

    found = by_phrase(batch, "request")

    one = found[f"whose user.impressions is {2**53}"]
    assert one.mask.tolist() == [True, False] * 3


def test_nan_is_missing_like_null() -> None:
    ages = [1.0, 2.0, 3.0, None, float("nan"), None]

    found = by_phrase(six(user=[{"age_days": age} for age in ages]), "request")

    assert found["whose user.age_days is missing"].mask.tolist() == [False] * 3 + [True] * 3


def test_a_missing_value_lies_on_neither_side_of_a_cut() -> None:
    prices = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, None]
    batch = batch_of(
        *(
            a_request(f"r-{n}", candidates=[a_candidate(k, price=p) for k, p in enumerate(prices)])
            for n in range(3)
        )
    )

    found = by_phrase(batch, "candidate")

    below, above = (
        found["whose price is below 3"].mask,
        found["whose price is at least 3"].mask,
    )
    assert below.tolist() == [True, True, False, False, False, False, False] * 3
    assert above.tolist() == [False, False, True, True, True, True, False] * 3


def test_history_is_counted() -> None:
    batch = six(history=[[a_step()] * n for n in (0, 0, 0, 2, 2, 3)])

    found = by_phrase(batch, "request")

    assert found["without history"].mask.tolist() == [True] * 3 + [False] * 3
    assert found["with history"].level == "request"


def test_a_condition_too_rare_to_confirm_is_not_tried() -> None:
    batch = six(context=[{"slot": n // 5} for n in range(6)])

    assert not any("slot" in one.phrase for one in conditions(batch, "request"))
    request_of = np.arange(6)
    for one in conditions(batch, "request"):
        assert len(np.unique(request_of[one.mask])) >= MIN_REQUESTS


def test_of_conditions_with_the_same_rows_the_plainest_stands() -> None:
    """No history is also no user age here, and the same two segments."""
    batch = six(
        history=[[a_step()] * (n % 2) for n in range(6)],
        user=[{"age_days": 3.0 if n % 2 else None, "segment": "ab"[n % 2]} for n in range(6)],
    )

    found = conditions(batch, "request")

    assert [one.phrase for one in found] == ["without history", "with history"]


def test_ids_have_values_and_no_sizes() -> None:
    batch = batch_of(*(a_request(f"r-{n}", num_candidates=4) for n in range(6)))

    phrases = by_phrase(batch, "candidate")

    assert "whose ad_id is 3" in phrases
    assert not any("ad_id is at least" in phrase for phrase in phrases)


def test_a_request_s_condition_stands_on_each_of_its_candidates() -> None:
    batch = batch_of(
        *(a_request(f"r-{n}", num_candidates=2, context={"slot": n % 2}) for n in range(6))
    )

    one = by_phrase(batch, "candidate")["whose context.slot is 0"]

    assert one.mask.tolist() == [True, True, False, False] * 3
