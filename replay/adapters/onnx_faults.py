"""Real faults of a user's ONNX graph: other attributes, operators and initializers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

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

# A weight file as text, and a network made sparse: little enough to be taken for harmless.
DECIMALS = 3
PRUNED = 0.1

Weights = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A fault of nodes.

    Attributes:
        change: What takes the place of a node, and new initializers by name; None where the node
            has no room for it.
    """

    kind: str
    where: Where
    says: str
    change: Callable[[NodeProto, Weights], tuple[list[NodeProto], Weights] | None]


def onnx_faults(model: ModelProto, places: Mapping[str, str]) -> tuple[Fault, ...]:
    """The faults that a graph's nodes have room for.

    Args:
        model: The graph, every checkpoint a tensor of its own.
        places: Tensor to the checkpoint it is.
    """
    return tuple(_faults(model, places))


def with_onnx_fault(model: ModelProto, tensor: str, fault: Fault) -> ModelProto:
    """A copy of the graph with the fault in the node that gives this tensor."""
    changed = ModelProto()
    changed.CopyFrom(model)
    weights = _weights(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        found = _changed(node, fault.kind, weights) if node.output[0] == tensor else None
        if found is None:
            nodes.append(node)
            continue
        nodes += found[0]
        for name, values in found[1].items():
            changed.graph.initializer.append(numpy_helper.from_array(values, name))
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def _faults(model: ModelProto, places: Mapping[str, str]) -> Iterator[Fault]:
    weights = _weights(model)
    for node in model.graph.node:
        place = places.get(node.output[0])
        if place is None:
            continue
        for known in _KINDS:
            if known.change(node, weights) is not None:
                yield Fault(kind=known.kind, checkpoint=place, where=known.where, says=known.says)


def _changed(
    node: NodeProto, kind: str, weights: Weights
) -> tuple[list[NodeProto], Weights] | None:
    """By the first of the kinds of that name that has room: operators differ by exporter."""
    changes = (known.change(node, weights) for known in _KINDS if known.kind == kind)
    return next((found for found in changes if found is not None), None)


def _weights(model: ModelProto) -> Weights:
    """Initializers and constants by name."""
    found = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    return found


def _copy(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _attribute(
    op_type: str, name: str, usual: object, value: Callable[[object], object]
) -> Callable[[NodeProto, Weights], tuple[list[NodeProto], Weights] | None]:
    def change(node: NodeProto, _: Weights) -> tuple[list[NodeProto], Weights] | None:
        if node.op_type != op_type:
            return None
        old = {one.name: helper.get_attribute_value(one) for one in node.attribute}.get(name, usual)
        new = value(old.decode() if isinstance(old, bytes) else old)
        if new is None:
            return None
        copy = _copy(node)
        kept = [one for one in copy.attribute if one.name != name]
        del copy.attribute[:]
        copy.attribute.extend([*kept, helper.make_attribute(name, new)])
        return [copy], {}

    return change


def _operator(
    op_type: str, other: str
) -> Callable[[NodeProto, Weights], tuple[list[NodeProto], Weights] | None]:
    def change(node: NodeProto, _: Weights) -> tuple[list[NodeProto], Weights] | None:
        if node.op_type != op_type:
            return None
        copy = _copy(node)
        copy.op_type = other
        if not op_type.startswith("Reduce"):  # those keep their axes
            del copy.attribute[:]
        return [copy], {}

    return change


def _operand(
    op_types: tuple[str, ...], place: int, value: Callable[[Array], Array | None]
) -> Callable[[NodeProto, Weights], tuple[list[NodeProto], Weights] | None]:
    """Another initializer, of this node alone; of operators that commute on either side."""

    def change(node: NodeProto, weights: Weights) -> tuple[list[NodeProto], Weights] | None:
        if node.op_type not in op_types:
            return None
        commutes = node.op_type in {"Add", "Mul"}
        for at in (place, 1 - place) if commutes else (place,):
            if at >= len(node.input) or node.input[at] not in weights:
                continue
            old = weights[node.input[at]]
            # A product's matrix as [input, output], however its operator keeps it.
            turned = at == 1 and any(one.name == "transB" and one.i for one in node.attribute)
            new = value(old.T if turned else old) if old.dtype.kind == "f" else None
            new = new.T if turned and new is not None else new
            if new is None or np.array_equal(new, old):
                return None
            name = f"{node.input[at]}::{node.output[0]}::planted{at}"
            copy = _copy(node)
            copy.input[at] = name
            return [copy], {name: np.ascontiguousarray(new.astype(old.dtype))}
        return None

    return change


def _half(node: NodeProto, weights: Weights) -> tuple[list[NodeProto], Weights] | None:
    """The node's output passes through float16: a Cast there and one back."""
    del weights
    if node.op_type not in {"MatMul", "Gemm", "Softmax", "Gelu", "LayerNormalization"}:
        return None
    copy, name = _copy(node), node.output[0]
    copy.output[0] = f"{name}::wide"
    there = helper.make_node("Cast", [f"{name}::wide"], [f"{name}::half"], to=TensorProto.FLOAT16)
    back = helper.make_node("Cast", [f"{name}::half"], [name], to=TensorProto.FLOAT)
    return [copy, there, back], {}


def _exchanged(
    *op_types: str,
) -> Callable[[NodeProto, Weights], tuple[list[NodeProto], Weights] | None]:
    def change(node: NodeProto, weights: Weights) -> tuple[list[NodeProto], Weights] | None:
        if node.op_type not in op_types or len(node.input) != 2 or set(node.input) & set(weights):
            return None
        copy = _copy(node)
        copy.input[0], copy.input[1] = node.input[1], node.input[0]
        return [copy], {}

    return change


def _without_bias(node: NodeProto, weights: Weights) -> tuple[list[NodeProto], Weights] | None:
    """A Gemm or LayerNormalization without its third input."""
    if node.op_type not in {"Gemm", "LayerNormalization"} or len(node.input) < 3:
        return None
    if not np.any(weights.get(node.input[2], np.ones(1))):
        return None
    copy = _copy(node)
    del copy.input[2:]
    return [copy], {}


def _kind(kind: str, where: Where, says: str, change: Callable[..., object]) -> _Kind:
    return _Kind(kind=kind, where=where, says=says, change=change)  # type: ignore[arg-type]  # one table, two shapes of change


_PRODUCTS = ("MatMul", "Gemm")
_KINDS: tuple[_Kind, ...] = (
    _kind("norm_eps", "configuration", f"the norm's epsilon is {OTHER_EPS:g}",
          _attribute("LayerNormalization", "epsilon", 1e-5, lambda _: OTHER_EPS)),
    _kind("norm_eps", "configuration", f"the norm's epsilon is {OTHER_EPS:g}",
          _operand(("Add",), 1, eps)),
    _kind("norm_gain_left_out", "artifact", "the norm's gain is left out",
          _operand(("LayerNormalization",), 1, np.ones_like)),
    _kind("gelu_tanh", "configuration", "GELU is approximated by tanh",
          _attribute("Gelu", "approximate", "none", lambda a: "tanh" if a == "none" else None)),
    _kind("erf_as_tanh", "code", "tanh stands for the error function", _operator("Erf", "Tanh")),
    _kind("gelu_as_relu", "code", "ReLU stands for GELU", _operator("Gelu", "Relu")),
    _kind("relu_leaks", "code", "a leaky ReLU stands for ReLU", _operator("Relu", "LeakyRelu")),
    _kind("tanh_soft", "code", "softsign stands for tanh", _operator("Tanh", "Softsign")),
    _kind("sigmoid_hard", "code", "a hard sigmoid stands for the sigmoid",
          _operator("Sigmoid", "HardSigmoid")),
    _kind("max_for_mean", "code", "the largest stands for the mean",
          _operator("ReduceMean", "ReduceMax")),
    _kind("slope_changed", "configuration", "the negative slope is another",
          _attribute("LeakyRelu", "alpha", 0.01, lambda a: 2.0 * float(str(a)))),
    _kind("weight_scale", "artifact", "one row of the weights is 1 % too large",
          _operand(_PRODUCTS, 1, row_scaled)),
    _kind("weights_scaled", "artifact", "all weights are 1 % too large",
          _operand(_PRODUCTS, 1, of_matrix(lambda w: w * SCALE))),
    _kind("weights_transposed", "artifact", "a square matrix is transposed",
          _operand(_PRODUCTS, 1, transposed)),
    _kind("rows_exchanged", "artifact", "the halves of the weights' rows are exchanged",
          _operand(_PRODUCTS, 1, of_matrix(lambda w: np.roll(w, w.shape[1] // 2, axis=1)))),
    _kind("inputs_exchanged", "artifact", "the first two inputs are exchanged",
          _operand(_PRODUCTS, 1, of_matrix(inputs_exchanged))),
    _kind("weights_float16", "artifact", "the weights were kept in float16",
          _operand(_PRODUCTS, 1, rounded(np.float16))),
    _kind("weights_bfloat16", "artifact", "the weights were kept in bfloat16",
          _operand(_PRODUCTS, 1, to_bfloat16)),
    _kind("weights_int8", "artifact", "the weights were kept in 8 bits",
          _operand(_PRODUCTS, 1, of_matrix(quantised))),
    _kind("weights_stale", "artifact", "the weights are of an earlier step",
          _operand(_PRODUCTS, 1, of_matrix(stale))),
    _kind("weights_as_text", "artifact", f"the weights were written with {DECIMALS} decimals",
          _operand(_PRODUCTS, 1, lambda w: np.round(w, DECIMALS))),
    _kind("weights_pruned", "artifact", "the smallest tenth of the weights is 0",
          _operand(_PRODUCTS, 1, lambda w: w * (np.abs(w) > np.quantile(np.abs(w), PRUNED)))),
    _kind("inputs_reversed", "artifact", "the inputs are read from the other end",
          _operand(_PRODUCTS, 1, lambda w: w[::-1])),
    _kind("bias_left_out", "artifact", "the bias is left out",
          _operand(("Add",), 1, vector(np.zeros_like))),
    _kind("bias_left_out", "artifact", "the bias is left out", _without_bias),
    _kind("bias_twice", "artifact", "the bias is added twice",
          _operand(("Add",), 1, vector(lambda bias: 2 * bias))),
    _kind("bias_twice", "artifact", "the bias is added twice",
          _operand(("Gemm",), 2, vector(lambda bias: 2 * bias))),
    _kind("bias_late", "artifact", "the bias is one place off",
          _operand(("Add",), 1, vector(lambda bias: np.roll(bias, 1)))),
    _kind("bias_late", "artifact", "the bias is one place off",
          _operand(("Gemm",), 2, vector(lambda bias: np.roll(bias, 1)))),
    _kind("scores_scaled", "configuration", "a constant factor is 1 % too large",
          _operand(("Mul", "Div"), 1, lambda factor: factor * SCALE)),
    _kind("embedding_late", "artifact", "the table is one row off",
          _operand(("Gather",), 0, of_matrix(lambda table: np.roll(table, 1, axis=0)))),
    _kind("embedding_scaled", "artifact", "embeddings are 1 % too large",
          _operand(("Gather",), 0, of_matrix(lambda table: table * SCALE))),
    _kind("embedding_float16", "artifact", "the table was kept in float16",
          _operand(("Gather",), 0, rounded(np.float16))),
    _kind("operands_exchanged", "code", "the operands are exchanged", _exchanged("Sub", "Div")),
    _kind("computed_float16", "configuration", "the step is computed in float16", _half),
)  # fmt: skip
# Their names, each once.
ONNX_KINDS: tuple[str, ...] = tuple(dict.fromkeys(one.kind for one in _KINDS))
