from __future__ import annotations

import numpy as np
import pytest

from parity.compare.alignment import align
from parity.explain.diagnose import Evidence, diagnose, evidence_of
from parity.explain.probe import probe
from parity.plan import Plan
from parity.planting import parse_plant, plant
from parity.tolerance import Exact
from replay.errors import StackError
from tests.toys import ToyStack, toy_batch

BATCH = toy_batch(64, candidates=8)


def probed(text: str):
    reference, challenger = (
        ToyStack("reference"),
        plant(ToyStack("challenger"), [parse_plant(text)]),
    )
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    return probe(reference, challenger, BATCH, alignment)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("scale=86400:features.age_days", "scale"),
        ("constant_default:features.price", "constant_default"),
        ("hour_shift:features.hour", "hour_shift"),
        ("rounding=float16:features.affinity", "precision_float16"),
        ("permute_candidates:features.affinity", "lag"),
        ("swap_columns:features.price", "swapped_columns"),
        ("off_by_one:features.price_bucket", "off_by_one"),
        ("scale=1.01:logit", "scale"),
    ],
)
def test_a_bug_planted_in_a_stack_is_named_from_the_probe(text: str, kind: str) -> None:
    cause = text.partition(":")[2]

    found = diagnose(evidence_of(cause, probed(text)))

    assert found is not None
    assert found.kind == kind


def test_evidence_holds_the_local_difference_not_the_inherited_one() -> None:
    """The logit differs in total only: given its inputs there is nothing to explain."""
    found = evidence_of("logit", probed("scale=86400:features.age_days"))

    assert np.array_equal(found.reference, found.challenger)


def test_what_was_logged_stands_beside_the_values() -> None:
    found = evidence_of("features.price", probed("scale:features.price"))

    rows = BATCH.num_candidates
    assert len(found.requests) == rows
    assert {"history_length", "candidate.bid_micros", "user.age_days"} <= set(found.context)
    assert set(found.times) == {"logged_at"}
    assert all(len(values) == rows for values in (*found.context.values(), *found.times.values()))
    assert "features.age_days" in found.others  # a request's value, for each candidate
    assert "features.price" not in found.others


def test_a_requests_evidence_holds_no_candidates_columns() -> None:
    found = evidence_of("features.hour", probed("hour_shift:features.hour"))

    assert len(found.requests) == BATCH.num_requests
    assert "features.price" not in found.others
    assert not any(name.startswith("candidate.") for name in found.context)


def test_parents_are_what_it_is_computed_from() -> None:
    found = evidence_of("logit", probed("scale:logit"))

    assert found.parents
    assert set(found.parents) <= set(found.others)


def test_arrays_of_other_lengths_are_refused() -> None:
    with pytest.raises(StackError, match=r"features.x|other lengths"):
        Evidence(
            name="features.x",
            reference=np.zeros(3),
            challenger=np.zeros(4),
            tolerance=Exact(why="discrete"),
            requests=np.arange(3),
        )
