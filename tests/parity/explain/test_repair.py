from __future__ import annotations

import numpy as np
import pytest

from parity.compare.alignment import align
from parity.explain.causes import find_causes
from parity.explain.costs import with_costs
from parity.explain.probe import probe
from parity.explain.repair import repair
from parity.plan import Material, Plan
from tests.toys import ToyStack, bugs_of, toy_batch, toys

BATCH = toy_batch(10)


def repaired(reference, challenger):
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    found = probe(reference, challenger, BATCH, alignment)
    return find_causes(found), repair(challenger, found)


@pytest.mark.parametrize(
    "places", [(), ("left",), ("features.hour", "features.category", "right", "logit", "rank")]
)
def test_n_causes_cost_at_most_n_plus_two_passes(places) -> None:
    reference, challenger = toys(bugs_of(*places))

    causes, _ = repaired(reference, challenger)

    assert len(causes) == len(places)
    assert challenger.passes <= len(places) + 2
    assert reference.passes == 1


def test_shares_and_remainder_add_up_to_the_gap() -> None:
    causes, found = repaired(*toys(bugs_of("features.price", "features.category", "left")))

    assert found.measured == "logit"
    assert sum(found.shares) + found.remainder == pytest.approx(1.0)
    assert found.remainder == pytest.approx(0.0, abs=1e-6)
    shared = with_costs(causes, found, None, Material())
    assert [cause.share_of_gap for cause in shared] == list(found.shares)


def test_the_cause_that_matters_has_the_larger_share() -> None:
    _, found = repaired(*toys(bugs_of("features.hour") | bugs_of("right", factor=3.0)))

    hour, right = found.shares
    assert right > 0.9
    assert abs(hour) < 0.1


def test_a_fault_after_the_logit_is_measured_at_pctr() -> None:
    _, found = repaired(*toys(bugs_of("pctr", factor=0.5)))

    assert found.measured == "pctr"
    assert found.shares == (1.0,)


def test_a_repaired_output_is_taken_as_it_went_on() -> None:
    _, found = repaired(*toys(bugs_of("logit", factor=2.0)))

    assert (found.shares, found.remainder) == ((1.0,), 0.0)


def test_two_faults_that_cancel_are_repaired_without_a_gap() -> None:
    twice = {
        "left": lambda v: v + np.float32(1),
        "right": lambda v: v + np.float32(1),
    }
    causes, found = repaired(*toys(twice))

    assert [cause.checkpoint for cause in causes] == ["left", "right"]
    # Float32 sums leave a last bit of gap: shares of it are signed, and add up.
    if found.measured is not None:
        assert sum(found.shares) + found.remainder == pytest.approx(1.0)
        assert found.shares[0] < 0 < found.shares[1]


def test_no_gap_has_no_shares() -> None:
    _, found = repaired(*toys(bugs_of("rank")))

    assert (found.measured, found.shares, found.remainder) == (None, (None,), None)
    assert found.rank_flips == (BATCH.num_candidates, 0)


def test_rank_flips_are_counted_before_and_after_each_repair() -> None:
    _, found = repaired(*toys(bugs_of("left", factor=5.0) | bugs_of("rank")))

    assert len(found.rank_flips) == 3
    assert found.rank_flips[0] > 0
    assert found.rank_flips[1] == BATCH.num_candidates
    assert found.rank_flips[2] == 0


def test_what_can_not_be_given_is_not_repaired_and_stays_in_the_remainder() -> None:
    reference = ToyStack("reference")
    challenger = ToyStack("challenger", bugs=bugs_of("left", factor=2.0), unsettable=["left"])

    _, found = repaired(reference, challenger)

    assert (found.shares, found.remainder) == ((None,), 1.0)
    assert challenger.passes == 2


def test_values_that_are_no_numbers_do_not_spoil_the_shares() -> None:
    first = {"features.category": lambda v: v + 1}
    broken = {"logit": lambda v: np.where(np.arange(len(v)) == 0, np.nan, v)}

    causes, found = repaired(*toys(first | broken))

    assert [cause.checkpoint for cause in causes] == ["features.category", "logit"]
    assert np.isfinite(found.shares[0]) and np.isfinite(found.remainder)
