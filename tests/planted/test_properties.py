"""Laws of finding causes, over random sets of bugs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.calibrate import alignment_to_measure, calibrate
from parity.calibrate.precision import PRECISIONS
from parity.compare.alignment import align
from parity.explain.causes import find_causes, unexplained
from parity.explain.probe import probe
from parity.explain.repair import repair
from parity.noise import ChannelNoise
from parity.plan import Plan
from parity.tolerance import Absolute, PlannedTolerance
from replay.request import batch_from_records
from tests.builders import shuffled_schema
from tests.toys import ToyStack, bugs_of, toy_batch, toys

BATCH = toy_batch(10)
PLACES = tuple(ToyStack().checkpoints)
REAL = tuple(
    name
    for name, one in ToyStack().checkpoints.items()
    if one.dtype.startswith("float") and not one.exact
)
LAYERS = ("inner.mix", "left", "right", "logit")
SOME = st.lists(st.sampled_from(PLACES), max_size=5, unique=True).map(
    lambda names: tuple(sorted(names, key=PLACES.index))
)
FACTORS = st.sampled_from([1.01, 0.5, -1.0, 3.0])
# As `parity calibrate` measures them: noise of channels, and envelopes of what arrives in bf16.
MEASURED = {
    name: calibrate(
        ToyStack("a"),
        ToyStack("b"),
        toy_batch(16, seed=3),
        alignment_to_measure(ToyStack("a").checkpoints, ToyStack("b").checkpoints, Plan()),
        precision=PRECISIONS[name],
    ).tolerances
    for name in ("fp32", "bf16")
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
    records = BATCH.records
    schema = shuffled_schema(records.schema, chance)
    shuffled = pa.Table.from_pylist(records.to_pylist(), schema=schema)

    moved = probed(*stacks, batch=batch_from_records(shuffled))

    assert names(moved) == list(places)


@pytest.mark.parametrize("precision", MEASURED)
@LAWS
@given(SOME, FACTORS, st.sampled_from([1.0, 1.5, 40.0]), st.permutations(range(10)))
def test_measured_tolerances_keep_the_laws(precision, places, factor, wider, order) -> None:
    """Rows in any order name the same causes; wider ones never add one."""
    stacks = toys(bugs_of(*places, factor=factor))
    tight, wide = (_measured(precision, wider=by) for by in (1.0, wider))

    found = names(probed(*stacks, plan=tight))

    assert found == names(probed(*stacks, batch=BATCH.take(order), plan=tight))
    assert set(names(probed(*stacks, plan=wide))) <= set(found)
    assert found == list(places) if precision == "fp32" else set(found) <= set(places)


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


@pytest.mark.parametrize(("precision", "bits"), [("fp32", 23), ("bf16", 7)])
@LAWS
@given(SOME, FACTORS)
def test_repairing_every_cause_leaves_what_honest_rounding_makes(
    precision, bits, places, factor
) -> None:
    """Every layer of the challenger is rounded once more, which is no cause and has a part in the gap."""
    reference, _ = toys({})
    bugs = bugs_of(*places, factor=factor)
    rounded = {name: partial(_rounded, bits=bits, bug=bugs.get(name)) for name in LAYERS}
    challenger = ToyStack("challenger", bugs={**bugs, **rounded})
    plan = _measured(precision)
    found = probed(reference, challenger, plan=plan)

    named, result = names(found), repair(challenger, found)

    assert set(named) <= set(places)
    assert named == list(places) or precision == "bf16"
    if "logit" in result.gaps:
        envelope = MEASURED["bf16"]["logit"]
        honest = envelope.rms if precision == "bf16" else 2.0**-16 * envelope.rms
        missed = set(places) - set(named)
        assert missed or result.gaps["logit"][-1] <= honest


@LAWS
@given(SOME, st.sampled_from(REAL))
def test_a_plan_that_allows_anything_at_a_place_names_no_cause_there(places, place) -> None:
    anything = PlannedTolerance(kind="absolute", value=1e30, why="a test of the plan")
    plan = Plan(tolerances={place: anything})

    found = probed(*toys(bugs_of(*places)), plan=plan)

    assert names(found) == [name for name in places if name != place]


def _measured(precision, *, wider=1.0) -> Plan:
    """A plan of what was measured, every bound of it times `wider`."""

    def widened(one):
        if isinstance(one, ChannelNoise):
            total = None if one.total is None else one.total * wider
            return replace(one, margin=one.margin * wider, total=total)
        bounds = ("rms", "p99", "most", "shift")
        return replace(one, **{name: getattr(one, name) * wider for name in bounds})

    found = {name: widened(one) for name, one in MEASURED[precision].items()}
    return Plan(tolerances=found, outputs="bounded" if precision == "fp32" else "envelope")


def _rounded(values, *, bits, bug):
    """To so many bits after the first, after what a bug makes of them."""
    fraction, exponent = np.frexp(values if bug is None else bug(values))
    return np.ldexp(np.round(np.ldexp(fraction, bits + 1)), exponent - bits - 1)
