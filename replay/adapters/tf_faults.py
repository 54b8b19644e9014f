"""Real faults of a user's TensorFlow graph: other constants and operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from replay.adapters.tf_graph import PASSING, constants_of, node_of, reads_of
from replay.adapters.weight_changes import (
    OTHER_EPS,
    SCALE,
    eps,
    inputs_exchanged,
    of_matrix,
    quantised,
    rounded,
    row_scaled,
    stale,
    to_bfloat16,
    transposed,
    vector,
)
from replay.capabilities import Fault, Where
from replay.trace import Array


class _Operands:
    """The constants that a graph's nodes read, also where one is passed on by other names."""

    def __init__(self, graph: Any) -> None:
        self._values = constants_of(graph)
        self._passed = {
            node.name: reads_of(node)[0].split(":")[0]
            for node in graph.node
            if node.op in PASSING and reads_of(node)
        }

    def of(self, node: Any, place: int) -> Array | None:
        """What a node reads at a place, if it is a constant."""
        reads = reads_of(node)
        if place >= len(reads):
            return None
        name = reads[place].split(":")[0]
        while name in self._passed:
            name = self._passed[name]
        return self._values.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A fault of nodes.

    Attributes:
        ops: Types of operators that it is a fault of.
        other: The operator in its place, if that is the fault.
        places: Where the operand is that becomes another one.
        change: From its right values to the wrong ones; None where they are no such operand.
    """

    kind: str
    where: Where
    says: str
    ops: tuple[str, ...]
    other: str = ""
    places: tuple[int, ...] = ()
    change: Callable[[Array], Array | None] | None = None

    def planted(self, node: Any, operands: _Operands) -> list[Any] | None:
        """What stands in a node's place; None where it has no room for the fault."""
        if node.op not in self.ops:
            return None
        copy = tf.compat.v1.NodeDef()
        copy.CopyFrom(node)
        if self.other:
            copy.op = self.other
            return [copy]
        assert self.change is not None, "one of the two is the fault"
        for place in self.places:
            old = operands.of(node, place)
            if old is None or old.dtype.kind != "f":
                continue
            # A product's matrix as [input, output], however its operator keeps it.
            turned = place == 1 and node.attr["transpose_b"].b
            new = self.change(old.T if turned else old)
            new = new.T if turned and new is not None else new
            if new is None or np.array_equal(new, old):
                return None
            name = f"parity_planted/{node.name}"
            value = tf.compat.v1.AttrValue(tensor=tf.make_tensor_proto(new.astype(old.dtype)))
            kind = tf.dtypes.as_dtype(old.dtype).as_datatype_enum
            copy.input[place] = f"{name}:0"
            return [node_of(name, "Const", [], dtype=kind, value=value), copy]
        return None


def tf_faults(graph: Any, places: Mapping[str, str]) -> tuple[Fault, ...]:
    """The faults that a graph's nodes have room for.

    Args:
        graph: A GraphDef.
        places: Node to the checkpoint at which its fault has to be found.
    """
    return tuple(_faults(graph, places))


def with_tf_fault(graph: Any, places: Mapping[str, str], fault: Fault) -> Any:
    """A copy of the graph with the fault in the first node of its checkpoint that has room."""
    operands = _Operands(graph)
    changed = tf.compat.v1.GraphDef()
    changed.versions.CopyFrom(graph.versions)
    changed.library.CopyFrom(graph.library)
    done = False
    for node in graph.node:
        here = not done and places.get(node.name) == fault.checkpoint
        found = _planted(node, fault.kind, operands) if here else None
        done = done or found is not None
        changed.node.extend(found or [node])
    return changed


def _planted(node: Any, kind: str, operands: _Operands) -> list[Any] | None:
    tried = (known.planted(node, operands) for known in _KINDS if known.kind == kind)
    return next((found for found in tried if found is not None), None)


def _faults(graph: Any, places: Mapping[str, str]) -> Iterator[Fault]:
    operands = _Operands(graph)
    known: set[tuple[str, str]] = set()
    for node in graph.node:
        at = places.get(node.name)
        if at is None:
            continue
        for one in _KINDS:
            if (one.kind, at) not in known and one.planted(node, operands) is not None:
                known.add((one.kind, at))
                yield Fault(kind=one.kind, checkpoint=at, where=one.where, says=one.says)


_PRODUCTS = ("MatMul", "BatchMatMulV2")
_ADDED = ("BiasAdd", "AddV2", "Add")


def _weights(kind: str, says: str, change: Callable[[Array], Array | None]) -> _Kind:
    return _Kind(kind=kind, where="artifact", says=says, ops=_PRODUCTS, places=(1,), change=change)


def _bias(kind: str, says: str, change: Callable[[Array], Array]) -> _Kind:
    return _Kind(kind=kind, where="artifact", says=says, ops=_ADDED, places=(1, 0),
                 change=vector(change))  # fmt: skip


def _table(kind: str, says: str, change: Callable[[Array], Array]) -> _Kind:
    return _Kind(kind=kind, where="artifact", says=says, ops=("GatherV2",), places=(0,),
                 change=lambda table: change(table) if len(table) > 1 else None)  # fmt: skip


def _operator(kind: str, says: str, op: str, other: str) -> _Kind:
    return _Kind(kind=kind, where="code", says=says, ops=(op,), other=other)


_KINDS: tuple[_Kind, ...] = (
    _Kind(kind="norm_eps", where="configuration", says=f"the norm's epsilon is {OTHER_EPS:g}",
          ops=("AddV2", "Add"), places=(1, 0), change=eps),
    _operator("erf_as_tanh", "tanh stands for the error function", "Erf", "Tanh"),
    _operator("relu_leaks", "a leaky ReLU stands for ReLU", "Relu", "LeakyRelu"),
    _operator("elu_as_relu", "ReLU stands for ELU", "Elu", "Relu"),
    _operator("tanh_soft", "softsign stands for tanh", "Tanh", "Softsign"),
    _operator("max_for_mean", "the largest stands for the mean", "Mean", "Max"),
    _weights("weight_scale", "one row of the weights is 1 % too large", row_scaled),
    _weights("weights_scaled", "all weights are 1 % too large", of_matrix(lambda w: w * SCALE)),
    _weights("weights_transposed", "a square matrix is transposed", transposed),
    _weights("inputs_exchanged", "the first two inputs are exchanged", of_matrix(inputs_exchanged)),
    _weights("weights_float16", "the weights were kept in float16", rounded(np.float16)),
    _weights("weights_bfloat16", "the weights were kept in bfloat16", to_bfloat16),
    _weights("weights_int8", "the weights were kept in 8 bits", of_matrix(quantised)),
    _weights("weights_stale", "the weights are of an earlier step", of_matrix(stale)),
    _weights("inputs_reversed", "the inputs are read from the other end", lambda w: w[::-1]),
    _bias("bias_left_out", "the bias is left out", np.zeros_like),
    _bias("bias_twice", "the bias is added twice", lambda bias: 2 * bias),
    _bias("bias_late", "the bias is one place off", lambda bias: np.roll(bias, 1)),
    _Kind(kind="scores_scaled", where="configuration", says="a constant factor is 1 % too large",
          ops=("Mul", "RealDiv"), places=(1, 0), change=lambda factor: factor * SCALE),
    _table("embedding_late", "the table is one row off", lambda table: np.roll(table, 1, axis=0)),
    _table("embedding_scaled", "embeddings are 1 % too large", lambda table: table * SCALE),
    _table("embedding_float16", "the table was kept in float16",
           lambda table: table.astype(np.float16).astype(table.dtype)),
)  # fmt: skip
