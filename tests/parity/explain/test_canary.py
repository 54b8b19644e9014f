from __future__ import annotations

from dataclasses import replace

from parity.compare.alignment import align
from parity.explain.canary import choose_canary, fly_canary
from parity.explain.probe import probe
from parity.plan import Plan
from parity.tolerance import PlannedTolerance
from tests.toys import ToyStack, bugs_of, toy_batch, toys

BATCH = toy_batch(10)


def probed(reference, challenger, plan=None, batch=BATCH):
    alignment = align(reference.checkpoints, challenger.checkpoints, plan or Plan())
    return probe(reference, challenger, batch, alignment)


def test_the_canary_is_caught_on_equal_stacks() -> None:
    reference, challenger = toys()

    canary = fly_canary(challenger, probed(reference, challenger))

    assert canary.caught is True
    assert "features." in canary.planted


def test_the_canary_is_caught_on_top_of_causes_and_stands_elsewhere() -> None:
    places = ("features.hour", "features.price", "features.affinity", "left", "logit")
    reference, challenger = toys(bugs_of(*places))
    found = probed(reference, challenger)

    canary = fly_canary(challenger, found)

    assert canary.caught is True
    assert canary.planted.partition(":")[2] not in places


def test_the_same_sample_gets_the_same_canary() -> None:
    first, second = probed(*toys()), probed(*toys())

    assert choose_canary(first) == choose_canary(second)


def test_where_no_real_feature_is_left_an_integer_serves() -> None:
    places = ("features.hour", "features.age_days", "features.price", "features.affinity")
    chosen = choose_canary(probed(*toys(bugs_of(*places))))

    assert chosen.kind == "off_by_one"
    assert chosen.checkpoint in {"features.price_bucket", "features.category"}


def test_a_bug_that_a_tolerance_would_swallow_is_not_chosen() -> None:
    anything = PlannedTolerance(kind="absolute", value=1e30, why="test")
    left_out = {"features.price_bucket": "test", "features.category": "test"}
    plan = Plan(
        tolerances=dict.fromkeys(
            ("features.hour", "features.age_days", "features.price", "features.affinity"), anything
        ),
        left_out=left_out,
    )
    reference, challenger = toys()
    found = probed(reference, challenger, plan=plan)

    # Only a missing value in another's place still shows at a feature.
    assert choose_canary(found).kind == "permute_candidates"
    assert fly_canary(challenger, found).caught is True


def test_without_a_sample_there_is_no_canary() -> None:
    reference, challenger = toys()
    canary = fly_canary(challenger, probed(reference, challenger, batch=BATCH.take([])))

    assert (canary.planted, canary.caught) == (None, None)


class Moody(ToyStack):
    """Answers otherwise from its third pass on."""

    def score(self, batch, *, capture, given=None):
        trace = super().score(batch, capture=capture, given=given or {})
        if self.passes < 3 or "logit" not in trace.values:
            return trace
        return replace(trace, values={**trace.values, "logit": trace["logit"] + 1})


def test_a_canary_that_is_not_the_only_new_cause_is_missed() -> None:
    reference, challenger = ToyStack("reference"), Moody("challenger")

    assert fly_canary(challenger, probed(reference, challenger)).caught is False
