"""Known bugs, put into a stack on purpose: for drills, and for the canary of every replay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from parity.log_plants import LOG_KINDS, PREFIX, Misreading, MisreadStack
from parity.value_kinds.kind import Change
from parity.value_plants import VALUE_KINDS, change_for
from replay.capabilities import Fault, Plants, Where
from replay.checkpoint import CheckpointGraph
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
    one at `log.<field>` hands it a log in which that field is misread; any other is a value plant,
    which works through `score` alone: it records what it makes of the produced value, and carries
    on with that unless the value is given.

    Args:
        stack: Any stack.
        plants: Kinds with their checkpoints, also as the JSON of `Plant.to_json`.

    Raises:
        ConfigError: An unknown kind or checkpoint, or a kind that can not be there.
    """
    faults = stack.faults() if isinstance(stack, Plants) else ()
    values: list[tuple[Plant, Change]] = []
    misreadings: list[Misreading] = []
    for one in plants:
        wanted = (
            one if isinstance(one, Plant) else parse_plant(f"{one['kind']}:{one['checkpoint']}")
        )
        place = (wanted.kind, wanted.checkpoint)
        fault = next((f for f in faults if (f.kind, f.checkpoint) == place), None)
        if fault is not None and wanted.argument is None:
            assert isinstance(stack, Plants), "its faults were listed above"
            stack = stack.planted(fault)
        elif wanted.checkpoint.startswith(PREFIX) and wanted.checkpoint not in stack.checkpoints:
            misreadings.append(_misreading(wanted))
        else:
            values.append((wanted, _change(wanted, stack.checkpoints, faults)))
    if misreadings:
        stack = MisreadStack(stack, misreadings)
    return PlantedStack(stack, values) if values else stack


class PlantedStack:
    """A stack around a stack, that changes values at named checkpoints and nothing else."""

    def __init__(self, stack: Stack, plants: Sequence[tuple[Plant, Change]]) -> None:
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
        """Score in one pass more, and one for every plant that an earlier plant may feed."""
        graph = self.checkpoints
        check_given(given, graph, batch.keys, stack=self.name)
        carried = dict(given)
        recorded: dict[str, Array] = {}
        for group in self._groups(capture, given):
            wanted = {name for one, change in group for name in (one.checkpoint, *change.reads)}
            seen = self._stack.score(batch, capture=graph.sorted(wanted), given=carried)
            used = {**seen.values, **{n: carried[n] for n in wanted if n in carried}}
            for one, change in group:
                produced = recorded.get(one.checkpoint, seen[one.checkpoint])
                changed = change.apply(produced, used, batch.keys)
                recorded[one.checkpoint] = changed.astype(produced.dtype)
            carried |= {
                one.checkpoint: recorded[one.checkpoint]
                for one, _ in group
                if one.checkpoint not in given
            }
        trace = self._stack.score(batch, capture=capture, given=carried)
        planted = make_trace(
            stack=self.name,
            keys=trace.keys,
            values=recorded,
            checkpoints=graph,
            capture=[name for name in capture if name in recorded],
        )
        return replace(trace, values=MappingProxyType({**trace.values, **planted.values}))

    def _groups(
        self, capture: Collection[str], given: Mapping[str, Array]
    ) -> list[list[tuple[Plant, Change]]]:
        """Plants that matter to what is captured, cut where one may feed a later one."""
        graph = self.checkpoints
        upstream = set[str]().union(*(graph.ancestors(name) for name in capture)) - set(given)
        groups: list[list[tuple[Plant, Change]]] = []
        fed: set[str] = set()
        for one, change in self._plants:
            name = one.checkpoint
            if name not in upstream and name not in capture:
                continue
            planted = {other.checkpoint for other, _ in groups[-1]} if groups else set()
            if not groups or fed & {name, *change.reads} or planted & set(change.reads):
                groups.append([])
                fed = set()
            groups[-1].append((one, change))
            fed |= graph.descendants(name)
        return groups


def _misreading(wanted: Plant) -> Misreading:
    if wanted.kind not in LOG_KINDS or wanted.argument is not None:
        raise ConfigError(
            f"no way to misread a log is called {wanted.kind!r}"
            f"{'' if wanted.argument is None else ' and takes an argument'} "
            f"(known: {', '.join(LOG_KINDS)}).",
            where=f"--plant {wanted}",
            fix="write for example local_time:log.logged_at",
        )
    return Misreading(kind=wanted.kind, field=wanted.checkpoint.removeprefix(PREFIX))


def _change(wanted: Plant, graph: CheckpointGraph, faults: Iterable[Fault]) -> Change:
    if wanted.checkpoint not in graph:
        raise ConfigError(
            f"{graph.stack!r} has no checkpoint {wanted.checkpoint!r} (known: {', '.join(graph)}).",
            where=f"--plant {wanted}",
            fix="name a declared checkpoint",
        )
    if wanted.kind in VALUE_KINDS:
        return change_for(wanted.kind, wanted.argument, graph[wanted.checkpoint], graph)
    real = list(faults)
    places = [fault.checkpoint for fault in real if fault.kind == wanted.kind]
    if places:
        raise ConfigError(
            f"{graph.stack!r} can have {wanted.kind!r} at: {', '.join(places)}"
            f"{'; it takes no argument' if wanted.checkpoint in places else ''}.",
            where=f"--plant {wanted}",
            fix="choose one of these places",
        )
    known = ", ".join(dict.fromkeys((*(fault.kind for fault in real), *VALUE_KINDS)))
    raise ConfigError(
        f"no bug is called {wanted.kind!r} (known for {graph.stack!r}: {known}).",
        where=f"--plant {wanted}",
        fix="use a known kind; --plant list says where each can be",
    )
