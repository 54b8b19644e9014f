from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity.compare.alignment import align
from parity.compare.screen import capture_challenger, capture_reference, screen
from parity.explain.causes import amplified, find_causes, unexplained
from parity.explain.probe import probe
from parity.noise import Envelope
from parity.plan import Plan
from parity.tolerance import PlannedTolerance
from tests.toys import ToyStack, bugs_of, nudged, toy_batch, toys

BATCH = toy_batch(10)


def judged(reference, challenger, plan=None):
    plan = plan or Plan()
    alignment = align(reference.checkpoints, challenger.checkpoints, plan)
    result = screen(
        shard="s",
        valid=BATCH,
        batch=BATCH,
        reference=reference.score(BATCH, capture=capture_reference(alignment)),
        challenger=challenger.score(BATCH, capture=capture_challenger(alignment)),
        alignment=alignment,
        plan=plan,
        read=BATCH.num_requests,
    )
    return probe(reference, challenger, BATCH, alignment), result


def causes_of(*stacks, plan=None):
    found, result = judged(*stacks, plan)
    return find_causes(found, result)


def test_a_cause_says_how_far_it_reaches() -> None:
    (cause,) = causes_of(*toys(bugs_of("features.category")))

    assert (cause.checkpoint, cause.stage) == ("features.category", "feature")
    assert cause.local.rows == cause.local.differing == BATCH.num_candidates
    assert cause.local.max_difference == cause.local.rms_difference == 1.0
    assert cause.rows_affected == BATCH.num_candidates
    assert cause.requests_affected == BATCH.num_requests
    assert cause.segment == ()
    assert "encoded.category" in cause.inherited and "logit" in cause.inherited
    assert not {"features.price", "left", "encoded.bucket"} & set(cause.inherited)
    assert cause.examples[0].challenger == cause.examples[0].reference + 1


def test_a_layer_was_seen_by_the_sample_only() -> None:
    (cause,) = causes_of(*toys(bugs_of("left")))

    assert cause.rows_affected is None
    assert cause.requests_affected is None


def test_inherited_differences_belong_to_the_cause_of_their_request() -> None:
    # Two bugs in requests of their own: what follows the first is not said of the second.
    def in_request(number: int, axis: str):
        mask = BATCH.keys.request_of(axis) == number
        return lambda values: np.where(mask, values + 1, values)

    first, second = causes_of(
        *toys(
            {
                "features.category": in_request(0, "candidate"),
                "features.price_bucket": in_request(5, "candidate"),
            }
        )
    )

    assert (first.checkpoint, second.checkpoint) == ("features.price_bucket", "features.category")
    assert "encoded.bucket" in first.inherited
    assert "encoded.category" not in first.inherited
    assert "encoded.category" in second.inherited


def test_a_fault_behind_an_unaligned_node_is_named_with_its_segment() -> None:
    reference = ToyStack("reference", inner="inner.mix")
    challenger = ToyStack("challenger", inner="block.0", bugs=bugs_of("block.0", factor=1.1))

    (cause,) = causes_of(reference, challenger)

    assert cause.checkpoint == "left"
    assert cause.segment == ("block.0",)


def test_faulty_checkpoints_that_share_an_unaligned_ancestor_are_one_cause() -> None:
    # Without the encodings aligned, both "right" and "logit" may inherit from a left-out one.
    plan = Plan(left_out={"features.affinity": "unknown unit"})
    reference, challenger = toys(bugs_of("features.affinity", factor=1.5))

    (cause,) = causes_of(reference, challenger, plan=plan)

    assert cause.checkpoint == "left"
    assert cause.segment == ("features.affinity",)
    assert "right" in cause.inherited


def test_after_a_fault_that_can_not_be_given_later_ones_are_not_told_apart() -> None:
    reference = ToyStack("reference")
    challenger = ToyStack("challenger", bugs=bugs_of("left", factor=1.1), unsettable=["left"])

    (cause,) = causes_of(reference, challenger)

    assert cause.checkpoint == "left"
    assert "logit" in cause.inherited


def test_an_allowed_ulp_that_crosses_an_edge_is_amplified_and_no_cause() -> None:
    plan = Plan(
        tolerances={"features.affinity": PlannedTolerance(kind="absolute", value=0.2, why="test")}
    )
    reference, challenger = toys({"features.affinity": lambda v: v + np.float32(0.1)})

    found, result = judged(reference, challenger, plan)

    assert find_causes(found, result) == ()
    assert {"left", "logit"} <= set(amplified(found))
    assert unexplained(found, result) == ()


def test_what_arrives_outside_its_envelope_is_no_near_tie() -> None:
    """Each step is allowed its own; together they shift every logit the same way."""
    loose = PlannedTolerance(kind="absolute", value=0.2, why="test")
    plan = Plan(
        tolerances={
            "left": loose,
            "logit": Envelope(rms=1.0, p99=1.0, most=1.0, shift=1e-3, why="test"),
        }
    )
    reference, challenger = toys({"left": lambda v: v + np.float32(0.1)})

    found, result = judged(reference, challenger, plan)

    assert find_causes(found, result) == ()
    assert "logit" in unexplained(found, result)
    assert "logit" not in amplified(found)


def test_one_ulp_amplifies_nothing_here() -> None:
    found, result = judged(*toys({"features.price": nudged}))

    assert find_causes(found, result) == amplified(found) == unexplained(found, result) == ()


class Moody(ToyStack):
    """Answers otherwise every second time it is asked freely."""

    def score(self, batch, *, capture, given=None):
        trace = super().score(batch, capture=capture, given=given or {})
        if self.passes % 2 or "logit" not in trace.values:
            return trace
        return replace(trace, values={**trace.values, "logit": trace["logit"] + 1})


def test_a_difference_that_nothing_explains_is_listed() -> None:
    reference, challenger = ToyStack("reference"), Moody("challenger")
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    challenger.score(BATCH, capture=[])  # so that the free run is the moody one

    found = probe(reference, challenger, BATCH, alignment)

    assert find_causes(found) == ()
    assert unexplained(found) == ("logit",)
    assert amplified(found) == ()


def test_a_difference_of_the_screen_that_the_probe_does_not_see_is_listed() -> None:
    reference, challenger = toys()
    found, _ = judged(reference, challenger)
    _, result = judged(*toys(bugs_of("encoded.bucket")))

    assert find_causes(found, result) == ()
    assert {"encoded.bucket", "logit"} <= set(unexplained(found, result))


class Parrot(ToyStack):
    """Records what it is given, in place of what it would have produced."""

    def score(self, batch, *, capture, given=None):
        trace = super().score(batch, capture=capture, given=given or {})
        return replace(trace, values={**trace.values, **(given or {})})


def test_a_stack_that_hides_its_faults_behind_what_is_given_leaves_them_unexplained() -> None:
    reference = ToyStack("reference")
    challenger = Parrot("challenger", bugs=bugs_of("features.price", "right"))

    found, result = judged(reference, challenger)

    assert find_causes(found, result) == ()
    assert "features.price" in unexplained(found, result)


def test_one_side_of_a_request_and_another_of_its_candidates_is_a_cause_where_they_part() -> None:
    # The reference has a value for each candidate, the challenger one for the request.
    class PerRequest(ToyStack):
        def _declared(self, *, money):
            return [
                replace(one, axes=("request",)) if one.name == "features.affinity" else one
                for one in super()._declared(money=money)
            ]

        def __init__(self, name):
            super().__init__(name)
            step = self._steps["features.affinity"]
            self._steps["features.affinity"] = lambda b, v: step(b, v)[
                b.keys.candidate_offsets[:-1]
            ]
            for layer in ("left", "right"):
                inner = self._steps[layer]
                self._steps[layer] = lambda b, v, inner=inner: inner(
                    b,
                    {
                        **v,
                        "features.affinity": v["features.affinity"][b.keys.request_of("candidate")],
                    },
                )

    (cause,) = causes_of(ToyStack("reference"), PerRequest("challenger"))

    assert cause.checkpoint == "features.affinity"
    assert {"left", "right", "logit"} <= set(cause.inherited)
