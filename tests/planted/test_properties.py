"""Laws of finding causes, over random sets of bugs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.compare.alignment import align
from parity.explain.causes import find_causes, unexplained
from parity.explain.probe import probe
from parity.explain.repair import repair
from parity.plan import Plan
from parity.tolerance import Absolute, PlannedTolerance
from tests.toys import ToyStack, bugs_of, toy_batch, toys

BATCH = toy_batch(10)
PLACES = tuple(ToyStack().checkpoints)
REAL = tuple(
    name
    for name, one in ToyStack().checkpoints.items()
    if one.dtype.startswith("float") and not one.exact
)
SOME = st.lists(st.sampled_from(PLACES), max_size=5, unique=True).map(
    lambda names: tuple(sorted(names, key=PLACES.index))
)
FACTORS = st.sampled_from([1.01, 0.5, -1.0, 3.0])
LAWS = settings(max_examples=25, deadline=None)


def probed(reference, challenger, *, batch=BATCH, plan=None):
    alignment = align(reference.checkpoints, challenger.checkpoints, plan or Plan())
    return probe(reference, challenger, batch, alignment)


def names(found) -> list[str]:
    return [cause.checkpoint for cause in find_causes(found)]


@LAWS
@given(SOME, FACTORS, st.permutations(range(10)))
def test_the_order_of_requests_never_changes_the_causes(places, factor, order) -> None:
    stacks = toys(bugs_of(*places, factor=factor))

    straight = probed(*stacks)
    moved = probed(*stacks, batch=BATCH.take(order))

    assert names(straight) == names(moved) == list(places)


@LAWS
@given(SOME, FACTORS, st.integers(1, 9))
def test_the_size_of_batches_never_changes_the_causes(places, factor, size) -> None:
    stacks = toys(bugs_of(*places, factor=factor))

    parts = [probed(*stacks, batch=BATCH.slice(at, at + size)) for at in range(0, 10, size)]

    seen = {name for part in parts for name in names(part)}
    assert seen == set(names(probed(*stacks))) == set(places)
    assert all(unexplained(part) == () for part in parts)


@LAWS
@given(SOME, FACTORS, st.sampled_from(REAL), st.floats(1e-6, 10.0))
def test_a_wider_tolerance_never_adds_a_cause(places, factor, place, wider) -> None:
    stacks = toys(bugs_of(*places, factor=factor))
    found = probed(*stacks)
    alignment = found.alignment
    loose = replace(
        alignment,
        pairs=tuple(
            replace(pair, tolerance=Absolute(bound=1e-4 + wider, why="wider than declared"))
            if pair.name == place
            else pair
            for pair in alignment.pairs
        ),
    )

    # Every declared bound of the toys is below 1e-4, but for eCPM's ulps of large values.
    if place != "ecpm_micros":
        assert set(names(replace(found, alignment=loose))) <= set(names(found))


@LAWS
@given(SOME, FACTORS)
def test_repairing_every_cause_closes_the_gap(places, factor) -> None:
    reference, challenger = toys(bugs_of(*places, factor=factor))
    found = probed(reference, challenger)

    result = repair(challenger, found)

    assert challenger.passes <= len(places) + 2
    if result.remainder is not None:
        assert result.remainder == pytest.approx(0.0, abs=1e-9)
        assert sum(result.shares) == pytest.approx(1.0)
    assert result.rank_flips[-1] == 0 or "rank" not in found.given


@LAWS
@given(SOME, st.sampled_from(REAL))
def test_a_plan_that_allows_anything_at_a_place_names_no_cause_there(places, place) -> None:
    anything = PlannedTolerance(kind="absolute", value=1e30, why="a test of the plan")
    plan = Plan(tolerances={place: anything})

    found = probed(*toys(bugs_of(*places)), plan=plan)

    assert names(found) == [name for name in places if name != place]
