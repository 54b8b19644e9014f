from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.compare.alignment import align
from parity.compare.request_hash import request_hashes
from parity.compare.sample import choose_sample
from parity.compare.screen import (
    beginnings,
    capture_challenger,
    capture_reference,
    limits_of,
    screen,
)
from parity.compare.summary import (
    checkpoint_figures,
    coverage_of,
    fidelity_of,
    gap_of,
    request_counts,
)
from parity.plan import Plan
from parity.shard_result import merge_results
from replay.engine.failures import Failure
from replay.errors import StackError
from replay.logs.schema import Rejection
from replay.trace import BatchKeys
from tests.toys import ToyStack, bugs_of, nudged, toy_batch, toys

PLAN = Plan()


def screened(batch, reference, challenger, *, plan=PLAN, shard="s", valid=None, **more):
    alignment = align(reference.checkpoints, challenger.checkpoints, plan)
    return screen(
        shard=shard,
        valid=valid or batch,
        batch=batch,
        reference=reference.score(batch, capture=capture_reference(alignment)),
        challenger=challenger.score(batch, capture=capture_challenger(alignment)),
        alignment=alignment,
        plan=plan,
        **{"read": batch.num_requests, **more},
    )


def alignment_of(reference, challenger, plan=PLAN):
    return align(reference.checkpoints, challenger.checkpoints, plan)


def test_equal_stacks_differ_nowhere_and_every_request_is_a_control() -> None:
    batch = toy_batch(12)

    result = screened(batch, *toys())

    assert result.requests_differing == 0
    assert result.diverging == {}
    assert len(result.agreeing) == 12
    assert (result.compared, result.candidates) == (12, batch.num_candidates)
    assert not any(counts.differing for counts in result.checkpoints.values())
    assert result.gap.rank_flips == result.gap.logit_sum == 0
    assert result.gap.logit_rows == batch.num_candidates


def test_features_discrete_checkpoints_and_outputs_are_screened_and_real_layers_are_not() -> None:
    result = screened(toy_batch(2), *toys())

    assert not {"left", "right", "inner.mix"} & set(result.checkpoints)
    assert {"features.price", "encoded.bucket", "logit", "rank"} <= set(result.checkpoints)


def test_a_bug_is_counted_where_it_stands_and_where_it_is_inherited() -> None:
    batch = toy_batch(12)
    reference, challenger = toys(bugs_of("features.category"))

    result = screened(batch, reference, challenger)

    counts = result.checkpoints["features.category"]
    assert counts.differing == counts.rows == batch.num_candidates
    assert (counts.requests_differing, counts.max_difference) == (12, 1.0)
    assert result.checkpoints["logit"].differing > 0
    assert set(result.diverging) == {"features.category"}
    figures = {
        f.checkpoint: f for f in checkpoint_figures(result, alignment_of(reference, challenger))
    }
    assert figures["features.category"].p99_difference == 1.0
    example = figures["features.category"].examples[0]
    assert example.challenger == example.reference + 1
    assert example.ad_id is not None


def test_divergence_begins_where_no_aligned_ancestor_differs() -> None:
    reference, challenger = toys()
    alignment = alignment_of(reference, challenger)
    yes, no = np.array([True, True]), np.array([True, False])

    found = beginnings(
        {"features.category": no, "encoded.category": yes, "logit": yes, "features.hour": no},
        alignment,
    )

    assert {name: mask.tolist() for name, mask in found.items()} == {
        "features.category": [True, False],
        "encoded.category": [False, True],
        "features.hour": [True, False],
    }


def test_one_ulp_of_a_real_feature_is_no_difference() -> None:
    bugs = {"features.price": nudged, "features.affinity": nudged}

    result = screened(toy_batch(12), *toys(bugs))

    assert result.requests_differing == 0
    assert result.checkpoints["features.price"].max_difference > 0.0


def test_a_move_within_the_bounds_of_ecpm_is_a_near_tie_and_no_difference() -> None:
    batch = toy_batch(6)
    wiggle = {"ecpm_micros": lambda v: np.where(np.arange(len(v)) % 2, v * (1 + 5e-7), v)}
    reference, challenger = toys(wiggle)

    result = screened(batch, reference, challenger)

    assert result.checkpoints["ecpm_micros"].differing == 0
    assert result.checkpoints["rank"].differing == result.gap.rank_flips == 0


def test_examples_and_samples_are_the_first_by_request_hash() -> None:
    batch = toy_batch(40)
    plan = Plan(examples=3, per_place=4, probed=5)

    result = screened(batch, *toys(bugs_of("features.hour")), plan=plan)

    hashes = request_hashes(batch.keys.request_ids)
    first = np.argsort(hashes)
    ids = [batch.keys.request_ids[int(row)].as_py() for row in first]
    kept = result.checkpoints["features.hour"].examples
    assert [one.example.request_id for one in kept] == ids[:3]
    assert [one.row for one in result.diverging["features.hour"]] == first[:4].tolist()


def test_shards_merge_into_the_whole_whatever_their_size_and_order() -> None:
    batch = toy_batch(20)
    reference, challenger = toys(bugs_of("features.age_days", "features.category"))
    whole = screened(batch, reference, challenger)

    for size in (1, 3, 20):
        parts = [
            screened(batch.slice(at, at + size), reference, challenger, shard=f"s{at}")
            for at in range(0, 20, size)
        ]
        merged = merge_results(reversed(parts), limits_of(PLAN))

        assert _essence(merged) == _essence(whole)


def _essence(result):
    return (
        {
            name: replace(counts, examples=tuple(k.example for k in counts.examples))
            for name, counts in result.checkpoints.items()
        },
        {name: [s.request_id for s in found] for name, found in result.diverging.items()},
        [s.request_id for s in result.agreeing],
        result.gap,
        (result.read, result.compared, result.candidates, result.requests_differing),
    )


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(8)))
def test_the_order_of_requests_does_not_matter(order) -> None:
    batch = toy_batch(8)
    reference, challenger = toys(bugs_of("features.price", "encoded.bucket"))

    moved = screened(batch.take(order), reference, challenger)

    assert _essence(moved) == _essence(screened(batch, reference, challenger))


def test_every_row_read_is_accounted_for() -> None:
    valid = toy_batch(6)
    rejection = Rejection(request_id="x", reason="no_candidates", where="s row 7", detail="empty")
    failure = Failure(request_id="r-2", side="challenger", kind="crashed", detail="signal 11")
    batch = valid.take([0, 1, 4, 5])

    result = screened(
        batch,
        *toys(bugs_of("features.hour")),
        valid=valid,
        read=8,
        not_sampled=1,
        rejections=[rejection, rejection],
        failures=[failure],
    )

    assert result.reconciles
    counts = request_counts(result)
    assert (counts.read, counts.compared, counts.not_sampled) == (7, 4, 1)
    assert counts.rejected == {"no_candidates": 2, "challenger crashed": 1}
    assert {one.detail for one in counts.examples} == {"empty", "signal 11"}
    rows = {one.request_id: one.row for one in result.diverging["features.hour"]}
    assert rows == {"r-0": 0, "r-1": 1, "r-4": 4, "r-5": 5}


def test_totals_that_do_not_reconcile_are_seen() -> None:
    assert not screened(toy_batch(3), *toys(), read=4).reconciles


@pytest.mark.parametrize("fault", ["dropped", "moved", "candidates"])
def test_a_trace_of_other_rows_is_refused_by_request(fault: str) -> None:
    batch = toy_batch(4)
    reference, challenger = toys()
    alignment = alignment_of(reference, challenger)
    ours = reference.score(batch, capture=capture_reference(alignment))
    if fault == "candidates":
        keys = batch.keys
        theirs = replace(
            ours,
            keys=BatchKeys(
                request_ids=keys.request_ids,
                ad_ids=pa.array(keys.ad_ids.to_numpy()[::-1]),
                candidate_offsets=keys.candidate_offsets,
                step_offsets=keys.step_offsets,
            ),
        )
        says = "were dropped, doubled or moved"
    else:
        rows = [0, 1, 3] if fault == "dropped" else [0, 1, 3, 2]
        theirs = challenger.score(batch.take(rows), capture=capture_challenger(alignment))
        says = "first at fault: 'r-2'"

    with pytest.raises(StackError, match=says):
        screen(
            shard="s", valid=batch, batch=batch, reference=ours, challenger=theirs,
            alignment=alignment, plan=PLAN, read=4,
        )  # fmt: skip


def test_a_rare_place_is_sampled_beside_one_that_touches_every_request() -> None:
    batch = toy_batch(60)
    rare = int(np.argmax(request_hashes(batch.keys.request_ids)))
    keys = batch.keys

    def only_there(values):
        return values + (keys.request_of("candidate") == rare)

    bugs = {"features.hour": lambda values: values + 1, "features.category": only_there}
    reference, challenger = toys(bugs)
    plan = Plan(probed=8)

    result = screened(batch, reference, challenger, plan=plan)
    sample = choose_sample(result, alignment_of(reference, challenger, plan), plan.probed)

    assert len(sample) == 8
    assert f"r-{rare}" in {one.request_id for one in sample}
    assert sample == sorted(sample, key=lambda one: (one.shard, one.row))


def test_one_place_leaves_no_part_of_the_sample_unused() -> None:
    reference, challenger = toys({"features.hour": lambda values: values + 1})
    plan = Plan(per_place=4, probed=16)

    result = screened(toy_batch(40), reference, challenger, plan=plan)

    assert len(result.diverging["features.hour"]) == 4
    assert len(choose_sample(result, alignment_of(reference, challenger), 16)) == 16


def test_without_divergence_controls_are_sampled() -> None:
    reference, challenger = toys()
    result = screened(toy_batch(20), reference, challenger, plan=Plan(probed=7))

    assert len(choose_sample(result, alignment_of(reference, challenger), 7)) == 7


def test_a_statistical_plan_counts_no_output_and_keeps_the_evidence() -> None:
    plan = Plan(outputs="statistical")
    batch = toy_batch(10)
    reference, challenger = toys(bugs_of("left", factor=3.0))

    result = screened(batch, reference, challenger, plan=plan)

    assert result.requests_differing == 0
    assert not {"logit", "pctr", "rank"} & set(result.checkpoints)
    evidence = result.all_outcomes()
    assert evidence.num_labelled == 10
    assert not np.array_equal(evidence.p_reference, evidence.p_challenger)
    gap = gap_of(result, alignment_of(reference, challenger, plan))
    assert gap.logit > 0
    assert coverage_of(alignment_of(reference, challenger, plan)).unmatched_reference == ()


def test_an_empty_batch_compares_nothing_and_says_so() -> None:
    batch = toy_batch(3)

    result = screened(
        batch.take([]),
        *toys(),
        valid=batch,
        read=3,
        failures=[
            Failure(request_id=f"r-{n}", side="both", kind="hung", detail="60 s") for n in range(3)
        ],
    )

    assert result.reconciles
    assert result.compared == result.candidates == 0
    assert gap_of(result, alignment_of(*toys())).logit is None
    assert fidelity_of(result).status == "not_logged"


def test_gaps_are_means_over_candidates() -> None:
    batch = toy_batch(10)
    reference, challenger = toys(bugs_of("logit", factor=1.5))

    result = screened(batch, reference, challenger)

    ours = reference.score(batch, capture=["logit"])["logit"].astype(np.float64)
    theirs = challenger.score(batch, capture=["logit"])["logit"].astype(np.float64)
    gap = gap_of(result, alignment_of(reference, challenger))
    assert gap.logit == pytest.approx(np.mean(np.abs(ours - theirs)), rel=1e-15)


def test_a_stack_without_outputs_has_no_gap() -> None:
    plan = Plan(left_out=dict.fromkeys(("logit", "pctr", "ecpm_micros", "rank"), "none"))
    reference, challenger = ToyStack(), ToyStack()

    result = screened(toy_batch(3), reference, challenger, plan=plan)

    gap = gap_of(result, alignment_of(reference, challenger, plan))
    assert (gap.logit, gap.pctr, gap.rank_flips) == (None, None, 0)
    assert result.all_outcomes() is None
