"""Benign variations, run: what each of them names is a false alarm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parity.drill.bench import Bench, captured, named
from parity.drill.benign import Variation
from parity.drill.question import Question
from parity.explain.causes import unexplained
from replay.errors import ToolkitError
from replay.stack import Stack
from replay.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenignOutcome:
    """What came of one variation.

    Attributes:
        name: Of the variation.
        alarms: Reference names that were named, or that differ for no reason; none should.
        local: What was recorded on the reference's inputs; None where the stack failed.
        failed: What the challenger said where it did not answer.
    """

    name: str
    alarms: tuple[str, ...] = ()
    local: Trace | None = None
    failed: str | None = None

    @property
    def is_false_alarm(self) -> bool:
        """Whether it named anything, or failed."""
        return bool(self.alarms) or self.failed is not None


def run_benign(
    bench: Bench, challenger: Stack, variations: Iterable[Variation]
) -> list[BenignOutcome]:
    """Ask the challenger in each of these ways, freely and on the reference's inputs."""
    return [_run(bench, challenger, variation) for variation in variations]


def _run(bench: Bench, challenger: Stack, variation: Variation) -> BenignOutcome:
    capture = captured(bench.alignment)
    try:
        answers = [
            variation.ask(challenger, Question(batch=bench.batch, capture=capture, given=given))
            for given in ({}, bench.given)
        ]
    except ToolkitError as error:
        return BenignOutcome(name=variation.name, failed=str(error).splitlines()[0])
    free, local = (
        Trace(stack=challenger.name, keys=bench.batch.keys, values=values) for values in answers
    )
    probe = bench.probe(local, free)
    found = {*named(probe), *unexplained(probe)} - bench.already
    alarms = tuple(pair.name for pair in bench.alignment.pairs if pair.name in found)
    return BenignOutcome(name=variation.name, alarms=alarms, local=local)
