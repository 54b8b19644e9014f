"""Two graphs as bare structure: who is computed from whom, seen from what is matched already."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from parity.tolerance import Floats
from replay.checkpoint import CheckpointGraph

# Steps that a neighbourhood reaches. Beyond it two places that look alike are told apart by the
# matched checkpoints above and below them, which are seen at any distance.
ROUNDS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Skeleton:
    """A graph without its no-ops: what follows one is computed from what the no-op passes on.

    Attributes:
        parents: Name to what it is computed from, in execution order of the names.
        passes_on: A no-op to the checkpoint whose values it passes on.
    """

    parents: Mapping[str, tuple[str, ...]]
    passes_on: Mapping[str, str]

    @cached_property
    def children(self) -> dict[str, tuple[str, ...]]:
        """Name to what is computed directly from it."""
        found: dict[str, list[str]] = {name: [] for name in self.parents}
        for name, parents in self.parents.items():
            for parent in parents:
                found[parent].append(name)
        return {name: tuple(children) for name, children in found.items()}

    @cached_property
    def ancestors(self) -> dict[str, frozenset[str]]:
        """Name to everything it depends on."""
        found: dict[str, frozenset[str]] = {}
        for name, parents in self.parents.items():
            found[name] = frozenset(parents).union(*(found[parent] for parent in parents))
        return found

    def run_of(self, name: str) -> tuple[str, ...]:
        """The no-ops that pass on its values, in execution order."""
        return tuple(no_op for no_op, head in self.passes_on.items() if head == name)


def skeleton_of(graph: CheckpointGraph, no_ops: Collection[str]) -> Skeleton:
    """Take the no-ops, each with one parent, out of a graph."""
    passes_on: dict[str, str] = {}
    parents: dict[str, tuple[str, ...]] = {}
    for name, checkpoint in graph.items():
        heads = tuple(dict.fromkeys(passes_on.get(parent, parent) for parent in checkpoint.after))
        if name in no_ops and len(heads) == 1:
            passes_on[name] = heads[0]
        else:
            parents[name] = heads
    return Skeleton(parents=parents, passes_on=passes_on)


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What stands above and below each checkpoint, as bit sets over the matched pairs."""

    above: Mapping[str, int]
    below: Mapping[str, int]


def seen_from(skeleton: Skeleton, anchors: Mapping[str, int]) -> Seen:
    """Which of the matched pairs (numbered alike on both sides) stand above and below each."""
    above: dict[str, int] = {}
    for name, parents in skeleton.parents.items():
        above[name] = 0
        for parent in parents:
            above[name] |= above[parent] | _bit(anchors.get(parent))
    below = dict.fromkeys(skeleton.parents, 0)
    for name in reversed(list(skeleton.parents)):
        for child in skeleton.children[name]:
            below[name] |= below[child] | _bit(anchors.get(child))
    return Seen(above=above, below=below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The nearest matched checkpoints above and below, by the side's own names."""

    above: frozenset[str]
    below: frozenset[str]


def places_of(side: Skeleton, partners: Collection[str]) -> dict[str, Place]:
    """Where each checkpoint stands among those that have a partner."""
    above: dict[str, frozenset[str]] = {}
    below: dict[str, frozenset[str]] = {}
    for reach, edges, names in (
        (above, side.parents, list(side.parents)),
        (below, side.children, list(side.parents)[::-1]),
    ):
        for name in names:
            steps = [
                frozenset({other}) if other in partners else reach[other] for other in edges[name]
            ]
            reach[name] = frozenset().union(*steps)
    return {name: Place(above=above[name], below=below[name]) for name in side.parents}


def feasible(
    ours: Seen, theirs: Seen, rows: Sequence[str], columns: Sequence[str]
) -> NDArray[np.bool_]:
    """[row, column]: pairs that no matched pair contradicts: above it here, below it there."""
    found = np.ones((len(rows), len(columns)), dtype=np.bool_)
    for i, name in enumerate(rows):
        above, below = ours.above[name], ours.below[name]
        for j, other in enumerate(columns):
            found[i, j] = not (above & theirs.below[other] or below & theirs.above[other])
    return found


def likeness(
    sides: tuple[Skeleton, Skeleton],
    seen: tuple[Seen, Seen],
    labels: tuple[Mapping[str, Hashable], Mapping[str, Hashable]],
    names: tuple[Sequence[str], Sequence[str]],
) -> Floats:
    """[row, column] in [0, 1]: how alike two places are.

    Half of it is how far the neighbourhoods agree, step by step upwards and downwards; half is
    the share of matched pairs above, and below, that both have in common.
    """
    table: dict[Hashable, int] = {}
    total = np.zeros((len(names[0]), len(names[1])))
    for direction in ("up", "down"):
        colours = [
            _colours(side, label, table, upwards=direction == "up")
            for side, label in zip(sides, labels, strict=True)
        ]
        rows, columns = (
            np.array([colour[name] for name in of], dtype=np.int64).reshape(len(of), ROUNDS)
            for colour, of in zip(colours, names, strict=True)
        )
        total += (rows[:, np.newaxis, :] == columns[np.newaxis, :, :]).mean(axis=2)
    for i, name in enumerate(names[0]):
        for j, other in enumerate(names[1]):
            total[i, j] += _shared(seen[0].above[name], seen[1].above[other])
            total[i, j] += _shared(seen[0].below[name], seen[1].below[other])
    return total / 4


def refined(
    sides: tuple[Skeleton, Skeleton],
    labels: tuple[Mapping[str, Hashable], Mapping[str, Hashable]],
) -> tuple[dict[str, int], dict[str, int]]:
    """Weisfeiler-Leman colours of both sides, until they part no further.

    Equal colours: the two places can not be told apart by structure, seen from the labels.
    """
    table: dict[Hashable, int] = {}
    current = [
        {name: table.setdefault(of, len(table)) for name, of in label.items()} for label in labels
    ]
    parts = 0
    while len({*current[0].values(), *current[1].values()}) > parts:
        parts = len({*current[0].values(), *current[1].values()})
        table = {}
        current = [
            {
                name: table.setdefault(
                    (
                        colour[name],
                        tuple(sorted(colour[parent] for parent in parents)),
                        tuple(sorted(colour[child] for child in side.children[name])),
                    ),
                    len(table),
                )
                for name, parents in side.parents.items()
            }
            for side, colour in zip(sides, current, strict=True)
        ]
    return current[0], current[1]


def _colours(
    side: Skeleton, labels: Mapping[str, Hashable], table: dict[Hashable, int], *, upwards: bool
) -> dict[str, list[int]]:
    edges: Mapping[str, Sequence[str]] = side.parents if upwards else side.children
    current = {name: table.setdefault(labels[name], len(table)) for name in side.parents}
    found: dict[str, list[int]] = {name: [] for name in side.parents}
    for step in range(ROUNDS):
        current = {
            name: table.setdefault(
                (step, upwards, current[name], tuple(sorted(current[to] for to in edges[name]))),
                len(table),
            )
            for name in side.parents
        }
        for name, colour in current.items():
            found[name].append(colour)
    return found


def _shared(ours: int, theirs: int) -> float:
    either = (ours | theirs).bit_count()
    return 1.0 if not either else (ours & theirs).bit_count() / either


def _bit(number: int | None) -> int:
    return 0 if number is None else 1 << number
