"""However a stack is asked it has to answer the same; one that does not raises an alarm."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pytest

from parity.drill.benign import Variation, variations
from parity.drill.benign_runs import run_benign
from parity.drill.question import Question
from replay.checkpoint import STAGES
from replay.request import RequestBatch
from replay.trace import EMPTY, Array, Trace
from tests.parity.drill.drilled import a_bench
from tests.toys import ToyStack, toy_batch

ALL = list(variations(STAGES))


def test_there_are_at_least_sixty_of_them_each_with_a_name_of_its_own() -> None:
    assert len({one.name for one in ALL}) == len(ALL) >= 60


@pytest.mark.parametrize("variation", ALL, ids=lambda one: one.name)
def test_a_stack_answers_bit_for_bit_in_the_rows_of_the_question(variation: Variation) -> None:
    stack, batch = ToyStack(), toy_batch(11)
    bare = stack.score(batch, capture=list(stack.checkpoints))
    given = {"features.price": bare["features.price"] + np.float32(1)}
    expected = stack.score(batch, capture=list(stack.checkpoints), given=given)

    question = Question(batch=batch, capture=list(stack.checkpoints), given=given)
    found = variation.ask(stack, question)

    for name in stack.checkpoints:
        assert np.array_equal(
            found[name], expected[name], equal_nan=expected[name].dtype.kind == "f"
        )


class OfItsBatch(ToyStack):
    """Takes the mean over the whole batch away, as a batch norm in training mode."""

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        trace = super().score(batch, capture=capture, given=given)
        if "left" not in trace.values:
            return trace
        left = trace["left"] - trace["left"].mean(axis=0, keepdims=True)
        return Trace(stack=self.name, keys=trace.keys, values={**trace.values, "left": left})


def test_a_stack_that_depends_on_its_batch_raises_alarms() -> None:
    challenger = OfItsBatch("challenger")
    bench = a_bench(challenger)
    reference = bench.probe(bench.clean)
    assert reference.local["left"].differing
    settled = a_bench(ToyStack("challenger"))

    found = {one.name: one for one in run_benign(settled, challenger, ALL)}

    assert "left" in found["batches of 3"].alarms
    assert found["batches of 3"].is_false_alarm


def test_a_stack_that_does_not_raises_none() -> None:
    bench = a_bench()

    assert not any(one.is_false_alarm for one in run_benign(bench, ToyStack("challenger"), ALL))
