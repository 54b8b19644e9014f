"""Which tensors of a TensorFlow graph are checkpoints: those that have rows, by their layers' names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from replay.adapters.dataflow import Seen, Step, checkpoint_tensors
from replay.adapters.program import Tensor, row_axis
from replay.adapters.tf_graph import PASSING, VALUE_FREE, reads_of
from replay.adapters.tf_marks import kinds_of, tensors_by_node
from replay.adapters.tf_served import Served
from replay.adapters.tf_session import plain
from replay.adapters.tf_terms import terms_of
from replay.trace import Array

# As for torch: two unequal numbers of rows, to tell which axis holds them.
TRACED_ROWS = (7, 5)
_NUMBERS = frozenset(
    {
        *(types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_HALF, types_pb2.DT_BFLOAT16),
        *(types_pb2.DT_BOOL, types_pb2.DT_UINT8, types_pb2.DT_INT8, types_pb2.DT_INT16),
        *(types_pb2.DT_INT32, types_pb2.DT_INT64),
    }
)


class TfTrace:
    """What one watched run of a model shows.

    Args:
        served: The model.
        session: It is open in this.
        feed: Tensor to rows, of every input.

    Attributes:
        seen: Tensor to the checkpoint it is.
        skipped: What depends on inputs and is none, with the reason.
        tensors: The checkpoints in order.
    """

    def __init__(self, served: Served, session: Any, feed: Mapping[str, Array]) -> None:
        self._served = served
        self._kinds = kinds_of(served.graph)
        self._given = tensors_by_node(self._kinds)
        self._reached = [one for one in self._varying() if self._kinds[one] in _NUMBERS]
        self.seen: dict[str, Seen] = {}
        self.skipped: dict[str, str] = {}
        rows = len(next(iter(feed.values())))
        sizes = tuple(min(rows, size) for size in TRACED_ROWS)
        sizes = sizes if sizes[0] != sizes[1] else (sizes[0], sizes[0] - 1)
        first, second = (
            session.run(self._reached, {name: array[:size] for name, array in feed.items()})
            for size in sizes
        )
        names = self._names()
        returned = set(served.outputs.values())
        for tensor, one, other in zip(self._reached, first, second, strict=True):
            if tensor not in names:
                continue
            axis = row_axis([one.shape, other.shape], sizes)
            if isinstance(axis, str):
                self.skipped[names[tensor]] = axis
                continue
            self.seen[tensor] = Seen(
                name=names[tensor],
                values=plain(one),
                axis=axis,
                unit=_unit(one.dtype),
                returned=tensor in returned,
            )
        shapes = {name: one.shape for name, one in zip(self._reached, first, strict=True)}
        self.tensors = self._checkpoints(shapes)

    def _varying(self) -> Iterator[str]:
        """Tensors that some input's values reach, in order."""
        varying = set(self._served.inputs.values())
        for node in self._served.graph.node:
            if node.op not in VALUE_FREE and varying & set(reads_of(node)):
                varying.update(self._given[node.name])
                yield from self._given[node.name]

    def _names(self) -> dict[str, str]:
        """Tensor to its name: what is returned, a layer's output, else a real one of an operator.

        What only a mark reads goes by the mark's name. Whole numbers within a layer are indices on
        their way: not every one that fits the tensor fits what reads it.
        """
        served = self._served
        found = {**served.places, **{tensor: name for name, tensor in served.outputs.items()}}
        taken = set(found.values())
        passing = {f"{node.name}:0" for node in served.graph.node if node.op in PASSING}
        marks = passing & served.places.keys()
        readers: dict[str, set[str]] = {}
        for node in served.graph.node:
            for tensor in reads_of(node):
                readers.setdefault(tensor, set()).add(f"{node.name}:0")
        for tensor in self._reached:
            node, place = tensor.split(":")
            only_marked = readers.get(tensor, set()) <= marks
            is_real = tf.dtypes.as_dtype(self._kinds[tensor]).is_floating
            if tensor in found or tensor in passing or only_marked or not is_real:
                continue
            own = served.own.get(node, node) + (f":{place}" if place != "0" else "")
            found[tensor] = f"{own} (tensor)" if own in taken else own
        return found

    def _checkpoints(self, shown: Mapping[str, tuple[int, ...]]) -> tuple[Tensor, ...]:
        labels = {tensor: name for name, tensor in self._served.inputs.items()}
        shapes = dict(shown)
        steps = []
        for node in self._served.graph.node:
            if node.op == "Placeholder":
                continue
            reads, own = reads_of(node), f"{node.name}:0"
            if node.op == "Const":
                dims = node.attr["value"].tensor.tensor_shape.dim
                shapes[own] = tuple(dim.size for dim in dims)
            elif node.op in PASSING and reads:  # a weight by another name
                shapes.setdefault(own, shapes.get(reads[0], ()))
            terms = terms_of(node.op, [shapes.get(n, ()) for n in reads], prod(shapes.get(own, ())))
            read: Collection[str] = () if node.op in VALUE_FREE else reads
            steps.append(
                Step(
                    reads=tuple(labels.get(name, name) for name in read),
                    gives=tuple(self._given.get(node.name, ())),
                    terms=terms,
                )
            )
        return checkpoint_tensors(steps, self.seen, list(self._served.inputs))


def _unit(dtype: Any) -> float:
    if dtype == ml_dtypes.bfloat16:
        return 2.0**-8  # eight bits of precision
    return float(np.finfo(dtype).eps / 2) if np.dtype(dtype).kind == "f" else 0.0
