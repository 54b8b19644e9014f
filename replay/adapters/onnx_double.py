"""A float32 graph as the same graph in float64: weights, constants, casts and declared types."""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from replay.errors import StackError

NARROW: int = TensorProto.FLOAT
WIDE: int = TensorProto.DOUBLE
# Other real types say that a graph means their rounding: it has no float64 form.
_OTHERS = frozenset({TensorProto.FLOAT16, TensorProto.BFLOAT16})
# Attributes that name an element type.
_TYPES = frozenset({"to", "dtype", "stash_type"})


def in_float64(model: ModelProto) -> ModelProto:
    """A copy that computes in float64 what the model computes in float32.

    Raises:
        StackError: It computes in a half precision, or is quantised.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    _widen(changed.graph)
    return changed


def _widen(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type == NARROW:
            value.type.tensor_type.elem_type = WIDE
    for node in graph.node:
        _widen_node(node)


def _widen_node(node: NodeProto) -> None:
    if "Quantize" in node.op_type or node.op_type.endswith("Integer"):
        raise StackError(
            f"{node.name or node.op_type!r} computes in integers.",
            where=f"an ONNX graph, operator {node.op_type}",
            fix="recompute with the graph that was quantised, not with this one",
        )
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            _widen_tensor(attribute.t)
        elif attribute.type == AttributeProto.GRAPH:
            _widen(attribute.g)
        elif attribute.type == AttributeProto.INT and attribute.name in _TYPES:
            if attribute.i in _OTHERS:
                raise _half(node.name)
            if attribute.i == NARROW:
                attribute.i = WIDE
        elif node.op_type == "Constant" and attribute.type in {
            AttributeProto.FLOAT,
            AttributeProto.FLOATS,
        }:
            one = attribute.type == AttributeProto.FLOAT
            values = np.asarray(attribute.f if one else attribute.floats, np.float64)
            attribute.Clear()
            attribute.name, attribute.type = "value", AttributeProto.TENSOR
            attribute.t.CopyFrom(numpy_helper.from_array(values))


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type in _OTHERS:
        raise _half(tensor.name)
    if tensor.data_type == NARROW:
        wide = numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))


def _half(name: str) -> StackError:
    return StackError(
        f"{name!r} is computed in half precision.",
        where="an ONNX graph",
        fix="recompute with the float32 graph",
    )
