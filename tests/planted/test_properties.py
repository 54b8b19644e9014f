"""Laws of finding causes, over random sets of bugs."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.calibrate import alignment_to_measure, calibrate
from parity.compare.alignment import align
from parity.explain.causes import find_causes, unexplained
from parity.explain.probe import probe
from parity.explain.repair import repair
from parity.noise import ChannelNoise
from parity.plan import Plan
from parity.tolerance import Absolute, PlannedTolerance
from replay.request import batch_from_records
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
NOISE = {
    name: one
    for name, one in calibrate(
        ToyStack("a"),
        ToyStack("b"),
        toy_batch(16, seed=3),
        alignment_to_measure(ToyStack("a").checkpoints, ToyStack("b").checkpoints, Plan()),
    ).tolerances.items()
    if isinstance(one, ChannelNoise)
}
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
@given(SOME, FACTORS, st.randoms(use_true_random=False))
def test_the_order_of_columns_never_changes_the_causes(places, factor, chance) -> None:
    stacks = toys(bugs_of(*places, factor=factor))
    columns = list(BATCH.records.schema.names)
    chance.shuffle(columns)

    moved = probed(*stacks, batch=batch_from_records(_shuffled(columns, chance)))

    assert names(moved) == list(places)


@LAWS
@given(SOME, st.sampled_from([1.0, 1.5, 40.0]), st.permutations(range(10)))
def test_noise_measured_over_a_sample_keeps_the_laws(places, wider, order) -> None:
    """Rows in any order name the same causes; a wider margin never adds one."""
    stacks = toys(bugs_of(*places, factor=1.01))
    tight, wide = (
        Plan(tolerances={n: replace(t, margin=by * t.margin) for n, t in NOISE.items()})
        for by in (1.0, wider)
    )

    found = names(probed(*stacks, plan=tight))

    assert found == names(probed(*stacks, batch=BATCH.take(order), plan=tight)) == list(places)
    assert set(names(probed(*stacks, plan=wide))) <= set(found)


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


def _shuffled(columns, chance) -> pa.Table:
    """The batch's records with their columns, and the fields of their structs, in another order."""
    records = BATCH.records

    def turned(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_struct(kind):
            fields = [kind.field(place) for place in range(kind.num_fields)]
            chance.shuffle(fields)
            return pa.struct([pa.field(one.name, turned(one.type)) for one in fields])
        return pa.list_(turned(kind.value_type)) if pa.types.is_list(kind) else kind

    schema = pa.schema([pa.field(n, turned(records.schema.field(n).type)) for n in columns])
    return pa.Table.from_pylist(pa.Table.from_batches([records]).to_pylist(), schema=schema)
