"""The bench: one batch, the reference recorded once, and a challenger that can be given any plants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from parity.compare.alignment import Alignment
from parity.explain.causes import find_faults
from parity.explain.probe import Probe, given_from_reference
from parity.planting import Plant, plant
from replay.engine.process import StackProcess
from replay.registry import Wrapper
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array, Trace

PLANTING = "parity.planting:plant"
Planter = Callable[[Sequence[Plant]], Stack]


def planter_of(stack: Stack) -> Planter:
    """How a stack is given plants: in its own process where it has one, opened once."""
    if not isinstance(stack, StackProcess):
        return lambda plants: plant(stack, plants)

    def planted(plants: Sequence[Plant]) -> Stack:
        listed = [one.to_json() for one in plants]
        stack.wrap(*([Wrapper(function=PLANTING, arguments={"plants": listed})] if plants else []))
        return stack

    return planted


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What stays the same over all cases of a drill.

    Attributes:
        batch: The sampled requests.
        alignment: What is compared.
        reference: What the reference recorded.
        given: The reference's values as the challenger takes them.
        able: Reference names of those.
        planter: How the challenger is given plants.
        clean: The challenger without plants, on the reference's inputs.
    """

    batch: RequestBatch
    alignment: Alignment
    reference: Trace
    given: Mapping[str, Array]
    able: frozenset[str]
    planter: Planter
    clean: Trace

    @property
    def capture(self) -> list[str]:
        """What is recorded of the challenger."""
        return captured(self.alignment)

    @cached_property
    def already(self) -> frozenset[str]:
        """Reference names of what differs with nothing planted."""
        return frozenset(named(self.probe(self.clean)))

    def probe(self, local: Trace, free: Trace | None = None) -> Probe:
        """The probe of a run on the reference's inputs."""
        return Probe(
            batch=self.batch,
            alignment=self.alignment,
            reference=self.reference,
            free_run=local if free is None else free,
            given_run=local,
            given=self.able,
        )

    def look(self, challenger: Stack) -> Trace:
        """What a planted challenger gives on the reference's inputs.

        Raises:
            ToolkitError: It fails with what was planted.
        """
        return challenger.score(self.batch, capture=self.capture, given=self.given)


def open_bench(
    reference: Stack, challenger: Stack, batch: RequestBatch, alignment: Alignment
) -> Bench:
    """Record what every case needs: the reference once, and the challenger with nothing planted."""
    wanted = [pair.name for pair in (*alignment.pairs, *alignment.outputs.values())]
    recorded = reference.score(batch, capture=alignment.reference.sorted(set(wanted)))
    given, able = given_from_reference([p.name for p in alignment.pairs], alignment, recorded)
    planter = planter_of(challenger)
    clean = planter(()).score(batch, capture=captured(alignment), given=given)
    return Bench(
        batch=batch,
        alignment=alignment,
        reference=recorded,
        given=given,
        able=able,
        planter=planter,
        clean=clean,
    )


def captured(alignment: Alignment) -> list[str]:
    """Challenger names of what is compared, and of the outputs."""
    pairs = (*alignment.pairs, *alignment.outputs.values())
    return alignment.challenger.sorted({pair.challenger.name for pair in pairs})


def named(probe: Probe) -> dict[str, tuple[str, ...]]:
    """What is named as a cause: its first checkpoint, to all that share its segment."""
    return {
        fault.checkpoint: tuple(pair.name for pair in fault.pairs) for fault in find_faults(probe)
    }
