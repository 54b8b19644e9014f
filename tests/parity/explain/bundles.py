"""Bundles of toys for tests: a probe of two stacks in this process, and what it writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from parity.compare.alignment import align
from parity.explain.causes import find_faults
from parity.explain.probe import Probe, probe
from parity.explain.reproduce_trials import Sides
from parity.explain.reproduce_write import Written, write_bundles
from parity.plan import Plan
from replay.registry import StackSpec, Wrapper, open_stack
from replay.request import RequestBatch
from replay.stack import Stack
from tests.toys import toy_batch

ROOT = Path(__file__).parents[3]
TOY = StackSpec(name="ours", opener="tests.toys:open_stack")
BATCH = toy_batch(20, candidates=12)


def toy(*, name: str = "theirs", **scale: float) -> StackSpec:
    """A toy with a factor at places; `__` stands for a dot."""
    places = {place.replace("__", "."): factor for place, factor in scale.items()}
    return replace(TOY, name=name, options={"scale": places})


def planted(spec: StackSpec, *plants: str) -> StackSpec:
    wanted = [dict(zip(("kind", "checkpoint"), one.split(":"), strict=True)) for one in plants]
    wrapper = Wrapper(function="parity.planting:plant", arguments={"plants": wanted})
    return replace(spec, name="planted", wrappers=(wrapper,))


def written(
    folder: Path,
    challenger: StackSpec,
    *,
    reference: StackSpec = TOY,
    batch: RequestBatch = BATCH,
    plan: Plan | None = None,
    **more: Any,
) -> tuple[Written, ...]:
    """The bundles of a probe, with both stacks in this process."""
    plan = plan or Plan()
    sides = Sides(
        reference=open_stack(reference),
        challenger=open_stack(challenger),
        reference_spec=reference,
        challenger_spec=challenger,
    )
    alignment = align(sides.reference.checkpoints, sides.challenger.checkpoints, plan)
    found = probe(sides.reference, sides.challenger, batch, alignment)
    return write_bundles(folder, found, sides, plan, **more)


def the_bundle(found: tuple[Written, ...]) -> Path:
    (one,) = found
    assert one.path is not None, one.note
    return one.path


def named(reference: StackSpec, challenger: StackSpec, request: RequestBatch) -> list[str]:
    """What the probe names on a bundle's request."""
    ours, theirs = open_stack(reference), open_stack(challenger)
    alignment = align(ours.checkpoints, theirs.checkpoints, Plan())
    return [fault.checkpoint for fault in find_faults(probe(ours, theirs, request, alignment))]


def in_process(reference: Stack, challenger: Stack, batch: RequestBatch) -> tuple[Probe, Sides]:
    """A probe of two stacks of this process."""
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    sides = Sides(
        reference=reference, challenger=challenger, reference_spec=TOY, challenger_spec=TOY
    )
    return probe(reference, challenger, batch, alignment), sides
