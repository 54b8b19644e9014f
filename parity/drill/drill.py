"""One drill: open both stacks once, plant the catalogue, vary what must not matter, count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from parity.compare.alignment import align
from parity.config import Config
from parity.drill.bench import Bench, open_bench
from parity.drill.benign import Variation, own_variations, variations
from parity.drill.benign_runs import BenignOutcome, run_benign
from parity.drill.cases import Chosen, choose_cases
from parity.drill.combined import draw_combinations
from parity.drill.fields import read_fields
from parity.drill.floor import floor_of
from parity.drill.question import plainly
from parity.drill.score import Judge, Outcome
from parity.findings import thresholds_of
from replay.engine.capability_calls import describing
from replay.engine.process import StackProcess
from replay.errors import LogError
from replay.logs.parquet import open_day, read_shard
from replay.request import RequestBatch, concat_batches
from replay.stack import Stack

# The probe's sample of a replay is as large; benign variations are asked of a part of it.
REQUESTS = 128
BENIGN_REQUESTS = 48
# Twice and four times as many of the machine's threads as the challenger was opened with.
THREADS = (2, 4)

Said = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillOptions:
    """What a drill was asked for.

    Attributes:
        config: Where stacks, plans and logs are configured.
        date: The day that requests are taken from.
        reference, challenger: Names or openers.
        logs: Folder of logged days.
        requests: How many are sampled, evenly over the day.
        places: At most so many places a real mistake.
        pairs, triples: How many mistakes are planted two and three at a time.
        seed: Of what is drawn.
    """

    config: Config
    date: date
    reference: str
    challenger: str
    logs: Path
    requests: int = REQUESTS
    places: int = 4
    pairs: int = 40
    triples: int = 30
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drilled:
    """What a drill found.

    Attributes:
        options: What was asked for.
        requests: How many were sampled.
        candidates: How many candidates they have.
        already: Reference names of what differs with nothing planted; nothing is planted there.
        not_compared: Checkpoints of the challenger at which nothing can be found.
        singles: Each mistake alone.
        combined: Two and three at a time.
        benign: What must not matter.
        not_here: By means, the catalogue's mistakes that this challenger can not be given.
        cpu_s: CPU seconds of both stacks' processes.
    """

    options: DrillOptions
    requests: int
    candidates: int
    already: tuple[str, ...]
    not_compared: tuple[str, ...]
    singles: tuple[Outcome, ...]
    combined: tuple[Outcome, ...]
    benign: tuple[BenignOutcome, ...]
    not_here: Mapping[str, tuple[str, ...]]
    cpu_s: float


def run_drill(options: DrillOptions, *, say: Said = lambda _: None) -> Drilled:
    """Drill a pair of stacks.

    Raises:
        ToolkitError: No such day or stack, or a stack that fails with nothing planted.
    """
    batch = sampled(options)
    with _opened(options) as (reference, challenger):
        plan = options.config.plan(options.reference, options.challenger)
        alignment = align(reference.checkpoints, challenger.checkpoints, plan)
        say(f"recording {batch.num_requests} requests")
        bench = open_bench(reference, challenger, batch, alignment)
        say("benign variations")
        benign, floor_runs = _benign(options, reference, challenger, bench)
        judge = Judge(
            bench=bench,
            floor=floor_of(floor_runs, [one.local for one in benign if one.local is not None]),
            thresholds=thresholds_of(reference),
            described=None if plan.outputs == "statistical" else describing(reference),
        )
        chosen = choose_cases(
            alignment,
            faults=challenger.faults(),
            batch=batch,
            fields=read_fields(bench),
            local=bench.clean.values,
            avoid=bench.already,
            places=options.places,
            seed=options.seed,
        )
        singles = tuple(_singles(judge, challenger, chosen, say))
        combined = tuple(_combined(judge, challenger, singles, options, say))
        used = sum(side.usage().cpu_s for side in (reference, challenger))
    return Drilled(
        options=options,
        requests=batch.num_requests,
        candidates=batch.num_candidates,
        already=tuple(p.name for p in alignment.pairs if p.name in bench.already),
        not_compared=tuple(n for n in alignment.challenger if n not in alignment.by_challenger),
        singles=singles,
        combined=combined,
        benign=tuple(benign),
        not_here=chosen.not_here,
        cpu_s=used,
    )


def sampled(options: DrillOptions) -> RequestBatch:
    """Requests evenly spread over the day, as one batch.

    Raises:
        LogError: The day holds no valid request.
    """
    day = open_day(options.logs, options.date)
    whole = concat_batches(read_shard(shard).batch for shard in day.shards)
    if not whole.num_requests:
        raise LogError(
            "the day holds no valid request.", where=str(options.logs), fix="name another day"
        )
    count = min(options.requests, whole.num_requests)
    return whole.take(np.linspace(0, whole.num_requests - 1, count).astype(np.int64))


@contextmanager
def _opened(options: DrillOptions) -> Iterator[tuple[StackProcess, StackProcess]]:
    with ExitStack() as opened:
        yield (
            opened.enter_context(StackProcess(options.config.spec(options.reference))),
            opened.enter_context(StackProcess(options.config.spec(options.challenger))),
        )


def _benign(
    options: DrillOptions, reference: Stack, challenger: StackProcess, bench: Bench
) -> tuple[list[BenignOutcome], Bench]:
    """On a part of the batch: what the challenger answers however it is asked."""
    few = bench.batch.slice(0, min(BENIGN_REQUESTS, bench.batch.num_requests))
    small = open_bench(reference, challenger, few, bench.alignment)
    stages = tuple(dict.fromkeys(one.stage for one in bench.alignment.challenger.values()))
    chosen = (*variations(stages, seed=options.seed), *own_variations(challenger))
    found = run_benign(small, challenger, chosen)
    found += _other_processes(small, challenger)
    return found, small


def _other_processes(bench: Bench, challenger: StackProcess) -> Iterator[BenignOutcome]:
    """A process of its own, started anew and with other numbers of threads."""
    for threads in (challenger.threads, *THREADS):
        name = f"another process, {threads} thread{'' if threads == 1 else 's'}"
        with StackProcess(challenger.spec, threads=threads) as other:
            yield from run_benign(bench, other, [Variation(name=name, ask=plainly)])


def _singles(
    judge: Judge, challenger: StackProcess, chosen: Chosen, say: Said
) -> Iterator[Outcome]:
    for number, case in enumerate(chosen.cases, start=1):
        say(f"{number} of {len(chosen.cases)}: {case.plant}")
        yield _revived(judge.look([case]), challenger)


def _combined(
    judge: Judge,
    challenger: StackProcess,
    singles: tuple[Outcome, ...],
    options: DrillOptions,
    say: Said,
) -> Iterator[Outcome]:
    for size, count in ((2, options.pairs), (3, options.triples)):
        for cases in draw_combinations(singles, size=size, count=count, seed=options.seed):
            say(f"together: {', '.join(str(case.plant) for case in cases)}")
            yield _revived(judge.look(cases, explain=False), challenger)


def _revived(outcome: Outcome, challenger: StackProcess) -> Outcome:
    """A challenger that a mistake ended is opened again."""
    if not challenger.is_alive:
        challenger.restart()
    return outcome
