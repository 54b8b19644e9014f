"""A model that runs with every tensor in view: what an adapter builds, and a stack is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np

from replay.capabilities import Fault
from replay.checkpoint import Stage
from replay.trace import EMPTY, Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of a model, its rows first.

    Attributes:
        name: Module path or the graph's own name; `return...` for what the model returns.
        shape: Sizes after the rows.
        dtype: numpy name of what is recorded.
        unit: Half the distance from 1 to the next value of what the model computes in; 0 for
            discrete values.
        after: The tensors it is computed from, nearest upstream.
        inputs: The model's inputs it is computed from with no tensor between.
        terms: Values added up in one sum on the way from what it is computed from; 1 for none.
        returned: Returned by the model; nothing is computed from it.
        stage: Of its checkpoint.
        axes: Names of the axes after the rows, where they are known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: float
    after: tuple[str, ...]
    inputs: tuple[str, ...]
    terms: int = 1
    returned: bool = False
    stage: Stage = "layer"
    axes: tuple[str, ...] = ()

    @property
    def is_real(self) -> bool:
        """Whether values are floating-point."""
        return np.dtype(self.dtype).kind == "f"


class Program(Protocol):
    """A model as a graph of tensors, each of which can be recorded, given, or disturbed."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """In execution order, what the model returns last."""
        ...

    @property
    def skipped(self) -> Mapping[str, str]:
        """What can not be recorded, with the reason."""
        ...

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        record: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """Run all rows once.

        Args:
            inputs: The model's inputs, all with the same number of rows, at least one.
            record: Names of the tensors to return, as they were produced.
            given: Values to carry on with in place of what was produced.
            noise: Values to add to what was produced before carrying on.
        """
        ...

    def run_bare(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the model returns when nobody looks inside, as it would be served."""
        ...

    def in_float64(self) -> Program:
        """The same model, everything real in float64; what it records is float64.

        Raises:
            StackError: It holds what can not be computed so.
        """
        ...

    def with_threads(self, threads: int) -> Program:
        """The same model on another number of its framework's threads."""
        ...

    def faults(self) -> tuple[Fault, ...]:
        """The real faults it has room for, each at the tensor where it has to be found."""
        ...

    def planted(self, fault: Fault) -> Program:
        """A copy with one of its faults in it."""
        ...

    def weights(self) -> dict[str, Array]:
        """Its parameters and statistics by name."""
        ...

    def configuration(self) -> dict[str, str]:
        """What is set rather than learned, as `<checkpoint or module path>.<attribute>`."""
        ...


# Rows that a model is measured on: several values of every feature. Where a row is large, as many
# as keep all tensors at once below 2^26 values (256 MiB of float32).
_ROWS = 32
_VALUES = 2**26


def few_rows(program: Program, inputs: Mapping[str, Array], *, copies: int = 1) -> dict[str, Array]:
    """The first rows of the inputs, as many as may be recorded everywhere, `copies` times each."""
    values = sum(prod(tensor.shape) for tensor in program.tensors)
    rows = max(2, min(_ROWS, _VALUES // max(1, copies * values)))
    return {name: array[:rows] for name, array in inputs.items()}


# Names that every stack uses for its outputs, and the prefix of features: a module of the user's
# may have such a name too.
_RESERVED = frozenset({"logit", "pctr", "ecpm_micros", "rank"})


def checkpoint_name(path: str) -> str:
    """A module path as a checkpoint's name, apart from the names that are taken."""
    taken = path in _RESERVED or path.startswith(("features.", "return"))
    return f"model.{path}" if taken else path


def row_axis(shapes: Sequence[Sequence[int]], rows: Sequence[int]) -> int | str:
    """Which axis holds the rows, from the shapes of one tensor at several numbers of rows.

    Returns:
        The axis, or the reason why the tensor is no checkpoint.
    """
    first = shapes[0]
    if any(len(shape) != len(first) for shape in shapes):
        return "its number of axes changes with the batch"
    along = [
        axis
        for axis in range(len(first))
        if all(shape[axis] == n for shape, n in zip(shapes, rows, strict=True))
    ]
    if not along:
        return f"none of its axes is the rows: shape {list(first)} at {rows[0]} rows"
    inner = [[size for axis, size in enumerate(s) if axis != along[0]] for s in shapes]
    if any(one != inner[0] for one in inner):
        return f"its inner shape changes with the batch: {list(first)} at {rows[0]} rows"
    return along[0]
