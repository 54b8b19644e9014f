"""A GraphDef as plain dataflow: which node reads which tensors, and small changes to it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.python.framework import tensor_util

from replay.errors import StackError
from replay.trace import Array

# Given back as it was read, by whatever name.
PASSING = frozenset({"Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot"})
# These give the shape of what they read, or something of that shape, and none of its values.
VALUE_FREE = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike", "Placeholder"})
_NARROW, _WIDE = types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE
_HALVES = frozenset({types_pb2.DT_HALF, types_pb2.DT_BFLOAT16})


def tensor_name(text: str) -> str:
    """`node`, as a GraphDef writes its first tensor, as `node:0`."""
    return text if ":" in text else f"{text}:0"


def reads_of(node: Any) -> tuple[str, ...]:
    """The tensors that a node reads; nodes that merely have to run before it are none."""
    return tuple(tensor_name(one) for one in node.input if not one.startswith("^"))


def in_order(graph: Any) -> Any:
    """A copy whose nodes stand after what they read, otherwise as they stood."""
    places = {node.name: place for place, node in enumerate(graph.node)}
    before = [{places[_node(one)] for one in node.input} for node in graph.node]
    readers: dict[int, list[int]] = {}
    for place, read in enumerate(before):
        for one in read:
            readers.setdefault(one, []).append(place)
    ready = [place for place, read in enumerate(before) if not read]
    heapq.heapify(ready)
    left = [len(read) for read in before]
    ordered = []
    while ready:
        place = heapq.heappop(ready)
        ordered.append(graph.node[place])
        for reader in readers.get(place, ()):
            left[reader] -= 1
            if not left[reader]:
                heapq.heappush(ready, reader)
    return _with_nodes(graph, ordered)


def with_nodes_after(
    graph: Any,
    made: Mapping[str, Sequence[Any]],
    names: Callable[[Any], Mapping[str, str]],
) -> Any:
    """A copy with new nodes, read in place of what was there.

    Args:
        graph: In order.
        made: Tensor to the nodes that are made of it, which stand after its own.
        names: For a node of the graph, which tensors it reads as which.
    """
    nodes, after = [], dict[str, list[Any]]()
    for tensor, following in made.items():
        after.setdefault(_node(tensor), []).extend(following)
    for node in graph.node:
        copy = tf.compat.v1.NodeDef()
        copy.CopyFrom(node)
        renamed = names(node)
        for place, one in enumerate(copy.input):
            if not one.startswith("^") and tensor_name(one) in renamed:
                copy.input[place] = renamed[tensor_name(one)]
        nodes.append(copy)
        nodes += after.get(node.name, ())
    return _with_nodes(graph, nodes)


def node_of(name: str, op: str, reads: Iterable[str], **attributes: Any) -> Any:
    """A new node; attributes are element types (`T=`) or whole values."""
    made = tf.compat.v1.NodeDef(name=name, op=op, input=list(reads))
    for key, value in attributes.items():
        if isinstance(value, int):
            made.attr[key].type = value
        else:
            made.attr[key].CopyFrom(value)
    return made


def constants_of(graph: Any) -> dict[str, Array]:
    """Node to the values it holds, of every constant of numbers."""
    return {
        node.name: values
        for node in graph.node
        if node.op == "Const"
        for values in (tensor_util.MakeNdarray(node.attr["value"].tensor),)
        if values.dtype.kind in "fiub"
    }


def with_constant(node: Any, values: Array) -> Any:
    """A copy of a constant that holds other values."""
    copy = tf.compat.v1.NodeDef()
    copy.CopyFrom(node)
    copy.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    return copy


def in_float64(graph: Any) -> Any:
    """A copy that computes in float64 what the graph computes in float32.

    Raises:
        StackError: It computes in a half precision.
    """
    changed = tf.compat.v1.GraphDef()
    changed.CopyFrom(graph)
    for node in (*changed.node, *(n for f in changed.library.function for n in f.node_def)):
        _widen(node)
    for function in changed.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type == _NARROW:
                argument.type = _WIDE
    return changed


def _widen(node: Any) -> None:
    for attribute in node.attr.values():
        if _HALVES & {attribute.type, *attribute.list.type}:
            raise StackError(
                f"{node.name!r} is computed in half precision.",
                where=f"a TensorFlow graph, operator {node.op}",
                fix="recompute with the float32 model",
            )
        if attribute.type == _NARROW:
            attribute.type = _WIDE
        kinds = [_WIDE if kind == _NARROW else kind for kind in attribute.list.type]
        if kinds:
            attribute.list.type[:] = kinds
    if node.op == "Const" and node.attr["value"].tensor.dtype == _NARROW:
        values = tensor_util.MakeNdarray(node.attr["value"].tensor).astype("float64")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))


def _node(text: str) -> str:
    return text.removeprefix("^").split(":")[0]


def _with_nodes(graph: Any, nodes: Iterable[Any]) -> Any:
    changed = tf.compat.v1.GraphDef()
    changed.versions.CopyFrom(graph.versions)
    changed.library.CopyFrom(graph.library)
    changed.node.extend(nodes)
    return changed
