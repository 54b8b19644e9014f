"""Known bugs, put into a stack on purpose: for drills, and for the canary of every replay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.value_plants import VALUE_KINDS, ValueKind
from replay.capabilities import Fault, Plants, Where
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import Stack, StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A kind of bug at a checkpoint; `str` gives its text, `KIND[=ARGUMENT]:CHECKPOINT`."""

    kind: str
    checkpoint: str
    argument: str | None = None

    def __str__(self) -> str:
        kind = self.kind if self.argument is None else f"{self.kind}={self.argument}"
        return f"{kind}:{self.checkpoint}"

    def to_json(self) -> dict[str, str]:
        """As `plant` takes it in a worker."""
        return {"kind": str(self).partition(":")[0], "checkpoint": self.checkpoint}


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailableKind:
    """What `--plant list` shows of a kind.

    Attributes:
        kind: Its name.
        where: What it changes: values, or the stack's code, configuration or artifact.
        says: One sentence.
        checkpoints: Where this stack can have it, in execution order.
    """

    kind: str
    where: Where
    says: str
    checkpoints: tuple[str, ...]


def parse_plant(text: str) -> Plant:
    """The plant that `KIND[=ARGUMENT]:CHECKPOINT` names.

    Raises:
        ConfigError: The text has another form.
    """
    kind, colon, checkpoint = text.partition(":")
    if not (kind and colon and checkpoint):
        raise ConfigError(
            f"{text!r} is not KIND:CHECKPOINT.",
            where="--plant",
            fix="write for example scale:features.age_days or scale=86400:features.age_days; "
            "--plant list says what there is",
        )
    name, equals, argument = kind.partition("=")
    return Plant(kind=name, checkpoint=checkpoint, argument=argument if equals else None)


def known_kinds() -> tuple[str, ...]:
    """The value kinds, which any stack can have."""
    return tuple(VALUE_KINDS)


def available(
    checkpoints: CheckpointGraph, faults: Iterable[Fault] = ()
) -> tuple[AvailableKind, ...]:
    """Which kinds a stack can have, and where: real faults first, then value plants."""
    real: dict[str, list[Fault]] = {}
    for fault in faults:
        real.setdefault(fault.kind, []).append(fault)
    found = [
        AvailableKind(
            kind=kind,
            where=of_kind[0].where,
            says=of_kind[0].says,
            checkpoints=tuple(dict.fromkeys(fault.checkpoint for fault in of_kind)),
        )
        for kind, of_kind in real.items()
    ]
    for name, kind in VALUE_KINDS.items():
        places = tuple(
            one.name for one in checkpoints.values() if one.settable and kind.fits(one, checkpoints)
        )
        if places:
            found.append(
                AvailableKind(kind=name, where="value", says=kind.says, checkpoints=places)
            )
    return tuple(found)


def plant(stack: Stack, plants: Sequence[Plant | Mapping[str, str]]) -> Stack:
    """The stack with bugs in it.

    A kind that the stack offers through `Plants` at that checkpoint is put into a copy of it;
    any other is a value plant, which works through `score` alone: it records what it makes of
    the produced value, and carries on with that unless the value is given.

    Args:
        stack: Any stack.
        plants: Kinds with their checkpoints, also as the JSON of `Plant.to_json`.

    Raises:
        ConfigError: An unknown kind or checkpoint, or a kind that can not be there.
    """
    faults = stack.faults() if isinstance(stack, Plants) else ()
    values: list[tuple[Plant, ValueKind]] = []
    for one in plants:
        wanted = (
            one if isinstance(one, Plant) else parse_plant(f"{one['kind']}:{one['checkpoint']}")
        )
        fault = next(
            (f for f in faults if (f.kind, f.checkpoint) == (wanted.kind, wanted.checkpoint)), None
        )
        if fault is not None and wanted.argument is None:
            assert isinstance(stack, Plants), "its faults were listed above"
            stack = stack.planted(fault)
        else:
            values.append((wanted, _value_kind(wanted, stack.checkpoints, faults)))
    return PlantedStack(stack, values) if values else stack


class PlantedStack:
    """A stack around a stack, that changes values at named checkpoints and nothing else."""

    def __init__(self, stack: Stack, plants: Sequence[tuple[Plant, ValueKind]]) -> None:
        self._stack = stack
        order = stack.checkpoints.order
        self._plants = sorted(plants, key=lambda one: order[one[0].checkpoint])

    @property
    def name(self) -> str:
        return self._stack.name

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self._stack.checkpoints

    def identity(self) -> StackIdentity:
        return self._stack.identity()

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Score in one pass more for every plant that another plant may feed."""
        graph = self.checkpoints
        check_given({name: given[name] for name in given}, graph, batch.keys, stack=self.name)
        carried = dict(given)
        recorded: dict[str, Array] = {}
        for group in self._groups(capture):
            wanted = {
                name
                for one, kind in group
                for name in kind.needs(one.checkpoint, one.argument, graph)
            }
            seen = self._stack.score(batch, capture=graph.sorted(wanted), given=carried)
            for one, kind in group:
                name = one.checkpoint
                produced = recorded.get(name, seen[name])
                changed = kind.change(produced, _context(one, seen, batch, graph))
                recorded[name] = changed.astype(produced.dtype)
            for one, _ in group:
                if one.checkpoint not in given:
                    carried[one.checkpoint] = recorded[one.checkpoint]
        trace = self._stack.score(batch, capture=capture, given=carried)
        values = {**trace.values, **recorded}
        return make_trace(
            stack=self.name, keys=trace.keys, values=values, checkpoints=graph, capture=capture
        )

    def _groups(self, capture: Collection[str]) -> list[list[tuple[Plant, ValueKind]]]:
        """Plants that matter to what is captured, cut where one may feed a later one."""
        graph = self.checkpoints
        needed = set(capture).union(*(graph.ancestors(name) for name in capture))
        groups: list[list[tuple[Plant, ValueKind]]] = []
        fed: set[str] = set()
        for one, kind in self._plants:
            if one.checkpoint not in needed:
                continue
            if not groups or fed & set(kind.needs(one.checkpoint, one.argument, graph)):
                groups.append([])
                fed = set()
            groups[-1].append((one, kind))
            fed |= graph.descendants(one.checkpoint)
        return groups
