"""Cases: which mistakes of the catalogue this challenger can be given, and where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

from parity.compare.alignment import Alignment
from parity.drill.catalogue import REAL_MISTAKES, VALUE_MISTAKES, ValueMistake, entries
from parity.log_plants import LOG_KINDS, PREFIX
from parity.planting import Plant
from parity.value_plants import VALUE_KINDS
from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph, Stage
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.trace import Array, BatchKeys

T = TypeVar("T")
Means = Literal["real", "log", "value"]
# Of a column with fewer different values several stories are true at once (docs/diagnosis.md).
MANY = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One mistake at one place.

    Attributes:
        name: Of the mistake.
        means: Whether code, configuration or artifact is changed ("real"), the log is misread
            ("log") or values are ("value").
        where: "code", "configuration", "artifact", "log" or "value".
        stage: Where it stands.
        plant: As `--plant` takes it.
        expected: Reference name of the checkpoint where it has to be found; None where every
            feature that reads a misread field is at fault.
        told: Diagnoses that are right; empty where no class exists.
        says: One sentence.
    """

    name: str
    means: Means
    where: str
    stage: Stage
    plant: Plant
    expected: str | None
    told: tuple[str, ...] = ()
    says: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the challenger's own steps gave, by its names, and whose rows these are."""

    local: Mapping[str, Array]
    keys: BatchKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The cases of a drill, and what of the catalogue can not be planted here."""

    cases: tuple[Case, ...]
    not_here: Mapping[str, tuple[str, ...]]


def choose_cases(
    alignment: Alignment,
    *,
    faults: Iterable[Fault],
    batch: RequestBatch,
    fields: Sequence[str],
    local: Mapping[str, Array],
    avoid: Iterable[str] = (),
    places: int = 4,
    seed: int = 0,
) -> Chosen:
    """Every mistake that fits: real ones at up to so many places, the others at one a stage.

    Args:
        alignment: Only what is compared can be found, so only there is something planted.
        faults: What the challenger can put into itself.
        batch: The sampled requests.
        fields: Logged fields that the challenger reads.
        local: Challenger names to the values of its own steps: where a mistake changes none, or
            few, another place is chosen.
        avoid: Reference names of what differs already.
        places: At most so many places a real mistake.
        seed: Of what is drawn.
    """
    rng = np.random.default_rng(seed)
    avoided = set(avoid)
    targets = {p.challenger.name: p.name for p in alignment.pairs if p.name not in avoided}
    cases = [
        *_real(alignment, tuple(faults), targets, rng, places),
        *_misread(batch, fields, rng),
        *_values(alignment, targets, _Seen(local, batch.keys), rng),
    ]
    planted = {(case.means, case.name) for case in cases}
    missing: dict[str, list[str]] = {}
    for entry in entries():
        if (entry.means, entry.name) not in planted:
            missing.setdefault(entry.means, []).append(entry.name)
    return Chosen(
        cases=tuple(cases), not_here={means: tuple(names) for means, names in missing.items()}
    )


def _real(
    alignment: Alignment,
    faults: Sequence[Fault],
    targets: Mapping[str, str],
    rng: np.random.Generator,
    places: int,
) -> Iterator[Case]:
    by_kind: dict[tuple[str, Stage], list[Fault]] = {}
    for fault in faults:
        if fault.checkpoint in targets:
            stage = alignment.challenger[fault.checkpoint].stage
            by_kind.setdefault((fault.kind, stage), []).append(fault)
    for (kind, stage), found in by_kind.items():
        for fault in _drawn(found, rng, places):
            yield Case(
                name=kind,
                means="real",
                where=fault.where,
                stage=stage,
                plant=Plant(kind=kind, checkpoint=fault.checkpoint),
                expected=targets[fault.checkpoint],
                told=REAL_MISTAKES.get(kind, ()),
                says=fault.says,
            )


def _misread(
    batch: RequestBatch, fields: Sequence[str], rng: np.random.Generator
) -> Iterator[Case]:
    for name, kind in LOG_KINDS.items():
        for field in _drawn(fields, rng, len(fields)):
            values = batch.column(field)
            if kind.fits(values.type) and not kind.read(values).equals(values):
                yield Case(
                    name=name,
                    means="log",
                    where="log",
                    stage="log",
                    plant=Plant(kind=name, checkpoint=f"{PREFIX}{field}"),
                    expected=None,
                    says=kind.says,
                )
                break


def _values(
    alignment: Alignment, targets: Mapping[str, str], seen: _Seen, rng: np.random.Generator
) -> Iterator[Case]:
    graph = alignment.challenger
    for mistake in VALUE_MISTAKES:
        kind, _, argument = mistake.plant.partition("=")
        for stage in mistake.stages:
            fitting = [
                name
                for name in targets
                if graph[name].stage == stage
                and graph[name].settable
                and VALUE_KINDS[kind].fits(graph[name], graph)
            ]
            order = _drawn(fitting, rng, len(fitting))
            changed = {name: _num_changed(mistake, graph[name], graph, seen) for name in order}
            # A place where few different values change leaves nothing to explain: it comes last.
            name = max(order, key=lambda n: min(changed[n], MANY), default=None)
            if name is not None and changed[name]:
                yield Case(
                    name=mistake.name,
                    means="value",
                    where="value",
                    stage=stage,
                    plant=Plant(kind=kind, checkpoint=name, argument=argument or None),
                    expected=targets[name],
                    told=mistake.told,
                    says=VALUE_KINDS[kind].says,
                )


def _num_changed(
    mistake: ValueMistake, one: Checkpoint, graph: CheckpointGraph, seen: _Seen
) -> int:
    """How many different values the mistake changes here: a place without zeros has none to lose."""
    kind, _, argument = mistake.plant.partition("=")
    try:
        change = VALUE_KINDS[kind].make(argument or None, one, graph)
    except ConfigError:
        return 0
    if any(read not in seen.local for read in change.reads):
        return 0
    before = seen.local[one.name]
    with np.errstate(all="ignore"):  # what is planted may overflow
        after = change.apply(before, seen.local, seen.keys).astype(before.dtype)
    same = before == after
    if before.dtype.kind == "f":
        same |= np.isnan(before) & np.isnan(after)
    return len(np.unique(before[~same]))


def _drawn(options: Sequence[T], rng: np.random.Generator, count: int) -> list[T]:
    """Some of the options, in their order of drawing."""
    return [options[int(place)] for place in rng.permutation(len(options))[:count]]
