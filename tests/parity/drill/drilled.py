"""A bench over two toys, and judges on it."""

from __future__ import annotations

from parity.compare.alignment import align
from parity.drill.bench import Bench, open_bench
from parity.drill.cases import Case, Chosen, choose_cases
from parity.drill.fields import read_fields
from parity.drill.floor import floor_of
from parity.drill.score import Judge
from parity.plan import Plan
from parity.planting import parse_plant
from replay.stack import Stack
from tests.toys import ToyStack, toy_batch


def a_bench(
    challenger: Stack | None = None, *, plan: Plan | None = None, requests: int = 40
) -> Bench:
    reference = ToyStack("reference")
    other = ToyStack("challenger") if challenger is None else challenger
    alignment = align(reference.checkpoints, other.checkpoints, plan or Plan())
    return open_bench(reference, other, toy_batch(requests), alignment)


def a_judge(bench: Bench) -> Judge:
    return Judge(bench=bench, floor=floor_of(bench, []))


def chosen(bench: Bench, stack: ToyStack | None = None, **options: int) -> Chosen:
    return choose_cases(
        bench.alignment,
        faults=() if stack is None else stack.faults(),
        batch=bench.batch,
        fields=read_fields(bench),
        local=bench.clean.values,
        avoid=bench.already,
        **options,
    )


def a_case(text: str, *, expected: str | None = "", told: tuple[str, ...] = ()) -> Case:
    """`KIND:CHECKPOINT`, expected where it is planted."""
    plant = parse_plant(text)
    return Case(
        name=plant.kind,
        means="value",
        where="value",
        stage="feature",
        plant=plant,
        expected=plant.checkpoint if expected == "" else expected,
        told=told,
    )
