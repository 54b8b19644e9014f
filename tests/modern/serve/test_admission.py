from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modern.serve.admission import Admission, BatchCost, Limits


def an_admission(*, row_s: float = 0.001, base_s: float = 0.0, **limits: float) -> Admission:
    # Unless a test says otherwise a batch holds what a request asks, and nobody joins.
    settings = Limits(max_batch_rows=100, max_batch_s=1e-9, headroom=1.0)
    for name, value in limits.items():
        object.__setattr__(settings, name, value)
    return Admission(settings, BatchCost(base_s=base_s, row_s=row_s))


def test_a_batch_is_as_large_as_its_time_allows() -> None:
    assert an_admission(row_s=0.001, base_s=0.01, max_batch_s=0.05).batch_rows == 40
    assert an_admission(row_s=0.0, max_batch_s=0.05).batch_rows == 100
    assert an_admission(row_s=1.0, max_batch_s=0.05).batch_rows == 1


def test_a_base_is_discovered_though_every_batch_had_one_size_so_far() -> None:
    """Else small batches, believed dear by the row, would stay small for ever."""
    admission = an_admission(max_batch_s=0.05, max_batch_rows=1000)
    rows = 8

    for _ in range(12):
        admission.cost.observe(rows, 0.06 + 1e-5 * rows)
        rows = min(admission.batch_rows, 800)

    assert rows == 800
    assert admission.cost.base_s == pytest.approx(0.06, rel=0.2)


def test_a_request_that_would_be_scored_too_late_is_shed_and_one_that_would_not_is_taken() -> None:
    admission = an_admission(row_s=0.001)

    taken = [admission.decide(rows=40, size=1, deadline=0.1, now=0.0) for _ in range(3)]

    assert taken[:2] == [None, None]
    assert taken[2] is not None and taken[2].reason == "late"
    assert taken[2].retry_after_s == pytest.approx(0.08)
    assert admission.queued_rows == 80 and admission.requests == 2


def test_what_is_being_scored_counts_by_what_is_left_of_it() -> None:
    admission = an_admission(row_s=0.001)
    assert admission.decide(rows=90, size=1, deadline=0.1, now=0.0) is None
    admission.begin(90, 0.0)

    assert admission.wait_s(0.03) == pytest.approx(0.06)
    assert admission.wait_s(5.0) == 0.0  # slower than was thought: anyone's guess, never negative


def test_late_answers_make_room_until_they_are_rare() -> None:
    admission = an_admission(headroom=0.6)
    for _ in range(20):
        admission.requests += 1
        admission.leave(size=0, late=True)
    low = admission.headroom
    for _ in range(5000):
        admission.requests += 1
        admission.leave(size=0, late=False)

    assert low < 0.1
    assert admission.headroom == 0.6


def test_a_stall_does_not_shed_everything_for_ever() -> None:
    """It was seen: one batch took seconds on a busy machine, and nobody was answered again."""
    admission = an_admission(row_s=0.0001, max_batch_s=0.05)
    now = 0.0
    admission.cost.observe(10, 30.0)
    taken = []

    for _ in range(200):
        deadline = now + 0.1
        shed = admission.decide(rows=10, size=1, deadline=deadline, now=now)
        second = admission.decide(rows=10, size=1, deadline=deadline, now=now)
        taken.append(sum(one is None for one in (shed, second)))
        if admission.worth_trying(rows=10, deadline=deadline, now=now):
            admission.begin(10 * taken[-1], now)
            admission.end(now + 0.001 * taken[-1])
        for _ in range(taken[-1]):
            admission.leave(size=1)
        now += 0.01

    assert taken[0] == 1, "one is tried where none waits, and the next is shed"
    assert taken[-1] == 2, "and what it cost is believed again"


def test_no_more_requests_and_bytes_than_there_is_room_for() -> None:
    admission = an_admission(row_s=0.0, max_requests=2, max_bytes=100)

    assert admission.decide(rows=1, size=60, deadline=1, now=0) is None
    big = admission.decide(rows=1, size=60, deadline=1, now=0)
    assert admission.decide(rows=1, size=10, deadline=1, now=0) is None
    third = admission.decide(rows=1, size=1, deadline=1, now=0)

    assert big is not None and big.reason == "full"
    assert third is not None and third.reason == "full"
    admission.leave(size=60)
    assert admission.decide(rows=1, size=1, deadline=1, now=0) is None


@given(
    base=st.floats(0, 0.01),
    row=st.floats(1e-7, 1e-3),
    sizes=st.lists(st.integers(1, 20_000), min_size=30, max_size=60),
)
def test_the_cost_of_batches_is_learned(base: float, row: float, sizes: list[int]) -> None:
    """Base and row are found where the batches differ enough to tell them apart."""
    cost = BatchCost()

    for size in sizes:
        cost.observe(size, base + row * size)

    assert cost.base_s >= 0 and cost.row_s >= 0
    if cost.tells_apart:
        for size in sizes:
            told = cost.seconds(size, max_batch_rows=10**9)
            assert told == pytest.approx(base + row * size, rel=0.01, abs=1e-7)


def test_a_slower_machine_is_noticed_within_some_batches() -> None:
    cost = BatchCost()
    for size in range(100, 4000, 100):
        cost.observe(size, 0.002 + 1e-5 * size)
    fast = cost.seconds(1000, max_batch_rows=10**6)

    for size in range(100, 4000, 100):
        cost.observe(size, 0.004 + 3e-5 * size)

    assert fast == pytest.approx(0.012, rel=0.05)
    assert cost.seconds(1000, max_batch_rows=10**6) > 2 * fast
