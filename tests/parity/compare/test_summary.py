from __future__ import annotations

import numpy as np

from parity.compare.alignment import align
from parity.compare.counts import CheckpointCounts, FieldCounts, Kept
from parity.compare.difference import histogram
from parity.compare.summary import checkpoint_figures, coverage_of, fidelity_of, tolerance_text
from parity.judge.report import Example
from parity.plan import Plan
from parity.shard_result import Limits, ShardResult
from tests.toys import ToyStack, toys

LIMITS = Limits()


def test_figures_stand_in_causal_order_and_name_every_screened_checkpoint() -> None:
    reference, challenger = toys()
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    counts = CheckpointCounts(
        rows=200, differing=4, max_difference=0.5, histogram=histogram(np.full(4, 0.5))
    )

    figures = checkpoint_figures(
        ShardResult(limits=LIMITS, checkpoints={"logit": counts}), alignment
    )

    assert [one.checkpoint for one in figures] == [pair.name for pair in alignment.screened]
    logit = next(one for one in figures if one.checkpoint == "logit")
    assert (logit.rows, logit.differing, logit.max_difference) == (200, 4, 0.5)
    assert logit.p99_difference == 0.5  # 2 % of the rows have one
    assert next(one for one in figures if one.checkpoint == "rank").rows == 0


def test_tolerances_say_what_is_inherited_by_arithmetic() -> None:
    reference, challenger = toys()
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())

    assert "1000 * bid" in tolerance_text(alignment["ecpm_micros"])
    assert "near tie" in tolerance_text(alignment["rank"])
    assert tolerance_text(alignment["logit"]) == alignment["logit"].tolerance.text()


def test_coverage_lists_what_was_not_compared_and_why() -> None:
    reference, challenger = ToyStack(inner="inner.mix"), ToyStack(inner="block.0")
    alignment = align(
        reference.checkpoints, challenger.checkpoints, Plan(left_out={"rank": "ties differ"})
    )

    coverage = coverage_of(alignment)

    assert coverage.unmatched_reference == ("inner.mix",)
    assert coverage.unmatched_challenger == ("block.0",)
    assert coverage.left_out == {"rank": "ties differ"}
    assert "rank" not in coverage.compared


def test_one_differing_field_is_enough_for_fidelity_to_differ() -> None:
    example = Example(request_id="r-1", ad_id="7", reference=1, challenger=2)
    kept = Kept(request_hash=1, shard="s", row=0, example=example)
    served = {
        "pctr": FieldCounts(rows=9),
        "rank": FieldCounts(rows=9, differing=1, examples=(kept,)),
    }

    fidelity = fidelity_of(ShardResult(limits=LIMITS, served=served))

    assert fidelity.status == "differs"
    assert fidelity.fields == {"pctr": (9, 0), "rank": (9, 1)}
    assert fidelity.examples == {"rank": (example,)}
    same = fidelity_of(ShardResult(limits=LIMITS, served={"pctr": FieldCounts(rows=9)}))
    assert same.status == "reproduced"
