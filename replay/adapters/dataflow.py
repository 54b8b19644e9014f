"""From a graph's operators to its checkpoints: what each tensor is computed from, nearest upstream."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from replay.adapters.program import Tensor
from replay.trace import Array


class Step(NamedTuple):
    """One operator.

    Attributes:
        reads: The tensors whose values it reads.
        gives: The tensors it gives.
        terms: Values that it adds up in one sum.
    """

    reads: tuple[str, ...]
    gives: tuple[str, ...]
    terms: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """A tensor that is a checkpoint, as it was seen.

    Attributes:
        name: The checkpoint's.
        values: Of some rows, as the framework gave them.
        axis: Of those, the one that is the rows.
        unit: Half the distance from 1 to the next value of what it was computed in; 0 for discrete.
        returned: The model returns it.
    """

    name: str
    values: Array
    axis: int
    unit: float
    returned: bool


def checkpoint_tensors(
    steps: Iterable[Step], seen: Mapping[str, Seen], inputs: Collection[str]
) -> tuple[Tensor, ...]:
    """The checkpoints of a graph in its order.

    Args:
        steps: The operators, each after those it reads from.
        seen: Tensor to the checkpoint it is.
        inputs: Tensors that are the model's inputs, which go by these names.
    """
    labels = {f"input {name}": name for name in inputs}  # a checkpoint may be called as one is
    origins = {name: frozenset({label}) for label, name in labels.items()}
    terms: dict[str, int] = {}
    order: dict[str, int] = {}
    found: list[Tensor] = []
    for step in steps:
        came = frozenset().union(*(origins.get(name, frozenset()) for name in step.reads))
        most = max([step.terms, *(terms.get(name, 1) for name in step.reads)])
        for name in step.gives:
            origins[name], terms[name] = came, most
            if name not in seen:
                continue
            one = seen[name]
            shape = one.values.shape
            order[one.name] = len(found)
            found.append(
                Tensor(
                    name=one.name,
                    shape=(*shape[: one.axis], *shape[one.axis + 1 :]),
                    dtype=one.values.dtype.name,
                    unit=one.unit,
                    after=tuple(sorted(came - labels.keys(), key=order.__getitem__, reverse=True)),
                    inputs=tuple(sorted(labels[label] for label in came & labels.keys())),
                    terms=most,
                    returned=one.returned,
                )
            )
            origins[name], terms[name] = frozenset({one.name}), 1
    return tuple(found)
