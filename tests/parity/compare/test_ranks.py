from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parity.compare.alignment import align
from parity.compare.ranks import Ranked, bids_of, inherited_slack, moved_ranks, ranked_by
from parity.plan import Plan
from tests.toys import rank_by, toy_batch, toys

ONE = np.array([0, 4])


def ranks(*values: float) -> np.ndarray:
    """Ranks of one request by descending value, ties by place."""
    return np.argsort(np.argsort([-v for v in values], kind="stable"), kind="stable")


def ranked(ours, theirs, allowed: float) -> Ranked:
    return Ranked(
        reference=np.array(ours, float),
        challenger=None if theirs is None else np.array(theirs, float),
        allowed=np.full(len(ours), allowed),
    )


def moves(ours, theirs, allowed: float):
    return moved_ranks(ranks(*ours), ranks(*theirs), ONE, ranked(ours, theirs, allowed))


def test_nothing_moved_is_neither() -> None:
    found = moves((4, 3, 2, 1), (4, 3, 2, 1), 0.1)

    assert not found.flips.any()
    assert not found.near_ties.any()


def test_two_values_within_twice_the_bound_may_change_places() -> None:
    found = moves((4, 3.0, 2.9, 1), (4, 2.95, 2.96, 1), 0.06)

    assert found.near_ties.tolist() == [False, True, True, False]
    assert not found.flips.any()


def test_two_values_further_apart_may_not() -> None:
    found = moves((4, 3.0, 2.8, 1), (4, 2.85, 2.86, 1), 0.06)

    assert found.flips.tolist() == [False, True, True, False]


def test_one_far_inversion_makes_a_flip_of_a_candidate_with_near_ones() -> None:
    # The third falls behind the fourth (near) and the first falls to the last place (far).
    found = moves((9, 3.00, 2.99, 2.98), (0, 3.00, 2.97, 2.98), 0.02)

    assert found.flips.tolist() == [True, True, False, True]
    assert found.near_ties.tolist() == [False, False, False, False]


def test_an_order_that_the_challengers_own_values_do_not_explain_is_a_flip() -> None:
    values = (4, 3.0, 2.99, 1)
    swapped = np.array([0, 2, 1, 3])

    found = moved_ranks(ranks(*values), swapped, ONE, ranked(values, values, 0.5))

    assert found.flips.tolist() == [False, True, True, False]


def test_equal_values_on_both_sides_leave_no_room_for_another_order() -> None:
    values = (4, 3, 3, 1)

    found = moved_ranks(np.arange(4), np.array([0, 2, 1, 3]), ONE, ranked(values, values, 0.5))

    assert found.flips.tolist() == [False, True, True, False]


def test_a_served_rank_is_judged_by_the_references_values_alone() -> None:
    values = (4, 3.0, 2.99, 1)

    found = moved_ranks(np.arange(4), np.array([0, 2, 1, 3]), ONE, ranked(values, None, 0.5))

    assert found.near_ties.tolist() == [False, True, True, False]


def test_without_values_every_move_is_a_flip() -> None:
    found = moved_ranks(np.arange(4), np.array([1, 0, 2, 3]), ONE, None)

    assert found.flips.tolist() == [True, True, False, False]


def test_a_value_that_is_no_number_is_no_near_tie() -> None:
    ours, theirs = (4, 3, 2, 1), (4, np.nan, 2, 1)

    found = moved_ranks(np.arange(4), np.array([0, 3, 1, 2]), ONE, ranked(ours, theirs, 0.5))

    assert found.flips.tolist() == [False, True, True, True]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.data())
def test_moves_of_values_within_the_bound_are_always_near_ties(values, data) -> None:
    ours = np.array(values, float)
    noise = data.draw(st.lists(st.floats(-0.5, 0.5), min_size=len(ours), max_size=len(ours)))
    theirs = ours + np.array(noise)
    offsets = np.array([0, len(ours)])

    found = moved_ranks(ranks(*ours), ranks(*theirs), offsets, ranked(ours, theirs, 0.5 + 1e-9))

    assert not found.flips.any()
    assert np.array_equal(found.near_ties, ranks(*ours) != ranks(*theirs))


def test_requests_are_judged_one_by_one() -> None:
    offsets = np.array([0, 2, 4])
    by = ranked((2, 1, 1.01, 1.0), (2, 1, 1.0, 1.01), 0.02)

    found = moved_ranks(np.array([0, 1, 0, 1]), np.array([0, 1, 1, 0]), offsets, by)

    assert found.near_ties.tolist() == [False, False, True, True]


def test_ecpm_may_move_by_the_bid_times_what_pctr_may() -> None:
    batch = toy_batch()
    reference, challenger = toys()
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    ours = reference.score(batch, capture=["pctr", "ecpm_micros"])

    slack = inherited_slack("ecpm_micros", alignment, batch, ours, ours)

    bound = alignment["pctr"].tolerance.allowed(ours["pctr"], ours["pctr"])
    assert np.array_equal(slack, 1000.0 * bids_of(batch) * bound)
    assert inherited_slack("pctr", alignment, batch, ours, ours) is None


def test_what_ranks_is_ecpm_where_there_is_money_and_pctr_elsewhere() -> None:
    batch = toy_batch()
    for money, name in ((True, "ecpm_micros"), (False, "pctr")):
        reference, challenger = toys(money=money)
        alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
        trace = reference.score(batch, capture=["pctr", name, "rank"])

        by = ranked_by(alignment, batch, trace, trace)

        assert np.array_equal(by.reference, trace[name].astype(np.float64))
        assert np.array_equal(rank_by(by.reference, batch.keys), trace["rank"])
