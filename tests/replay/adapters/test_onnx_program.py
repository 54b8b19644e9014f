"""Which tensors of a graph are checkpoints, by which names, and how a graph is cut open."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper

from replay.adapters.onnx_program import OnnxProgram
from replay.adapters.program import Tensor

X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
ROWS = {"x": X}
WEIGHT = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32) * 2, "w")


def graph(
    nodes: Sequence[NodeProto], outputs: Sequence[str], kind: int = TensorProto.FLOAT
) -> ModelProto:
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        initializer=[WEIGHT],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def node(op: str, reads: list[str], writes: list[str], scope: str | None = None) -> NodeProto:
    made = helper.make_node(op, reads, writes)
    if scope is not None:
        parts = ["", *(scope.split("/") if scope else []), writes[0]]
        made.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=repr(parts))
    return made


def by_name(program: OnnxProgram) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in program.tensors}


NESTED = [
    node("MatMul", ["x", "w"], ["m"], "block/block.lin"),
    node("Relu", ["m"], ["r"], "block/block.act"),
    node("Add", ["r", "x"], ["sum"], ""),
    node("Neg", ["sum"], ["out"], ""),
]


def test_a_tensor_of_two_nested_modules_is_a_checkpoint_of_each() -> None:
    found = by_name(OnnxProgram(graph(NESTED, ["out"]), ROWS))

    assert {name: (one.after, one.inputs) for name, one in found.items()} == {
        "block.lin": ((), ("x",)),
        "block.act": (("block.lin",), ()),
        "block": (("block.act",), ()),
        "sum": (("block",), ("x",)),
        "return.out": (("sum",), ()),
    }


def test_what_is_given_is_read_and_what_was_produced_is_recorded() -> None:
    program = OnnxProgram(graph(NESTED, ["out"]), ROWS)
    instead = np.full_like(X, 5.0)

    for name in ("block.act", "block"):
        found = program.run(ROWS, record=[name, "sum", "return.out"], given={name: instead})
        np.testing.assert_array_equal(found[name], np.maximum(X * 2, 0))
        np.testing.assert_array_equal(found["sum"], 5.0 + X)
        np.testing.assert_array_equal(found["return.out"], -(5.0 + X))


def test_noise_is_added_to_what_is_read_only() -> None:
    program = OnnxProgram(graph(NESTED, ["out"]), ROWS)

    found = program.run(ROWS, record=["block", "sum"], noise={"block": np.ones_like(X)})

    np.testing.assert_array_equal(found["block"], np.maximum(X * 2, 0))
    np.testing.assert_array_equal(found["sum"], np.maximum(X * 2, 0) + 1 + X)


def test_a_returned_tensor_that_is_read_inside_can_be_given_there() -> None:
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Neg", ["m"], ["out"])]
    program = OnnxProgram(graph(nodes, ["m", "out"]), ROWS)
    instead = np.zeros_like(X)

    found = program.run(ROWS, record=["m", "return.m", "return.out"], given={"m": instead})

    np.testing.assert_array_equal(found["m"], X * 2)
    np.testing.assert_array_equal(found["return.m"], instead)
    np.testing.assert_array_equal(found["return.out"], instead)


def test_a_second_call_of_a_module_is_numbered() -> None:
    nodes = [
        node("Relu", ["x"], ["a"], "act"),
        node("MatMul", ["a", "w"], ["m"], "lin"),
        node("Relu", ["m"], ["b"], "act"),
        node("Neg", ["b"], ["out"], ""),
    ]

    found = by_name(OnnxProgram(graph(nodes, ["out"]), ROWS))

    assert list(found) == ["act", "lin", "act:1", "return.out"]


def test_a_tensor_called_as_another_module_is_keeps_apart_from_it() -> None:
    nodes = [
        node("Relu", ["x"], ["lin"], ""),
        node("MatMul", ["lin", "w"], ["m"], "lin"),
        node("Neg", ["m"], ["out"], ""),
    ]

    assert list(by_name(OnnxProgram(graph(nodes, ["out"]), ROWS))) == [
        "lin (tensor)",
        "lin",
        "return.out",
    ]


def test_shapes_carry_no_values_and_are_no_checkpoints() -> None:
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Shape", ["a"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["zeros"]),
        node("Add", ["zeros", "x"], ["out"]),
    ]
    program = OnnxProgram(graph(nodes, ["out"]), ROWS)

    assert by_name(program)["return.out"].after == ("zeros",)
    assert by_name(program)["zeros"].after == ()
    assert "shape" not in by_name(program)


def test_rows_that_are_not_first_are_brought_there() -> None:
    turn = helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0])
    back = helper.make_node("Transpose", ["t2"], ["out"], perm=[1, 0])
    program = OnnxProgram(graph([turn, node("Relu", ["t"], ["t2"]), back], ["out"]), ROWS)

    found = program.run(ROWS, record=["t", "return.out"], given={"t": np.ones_like(X)})

    assert by_name(program)["t"].shape == (4,)
    np.testing.assert_array_equal(found["t"], X)
    np.testing.assert_array_equal(found["return.out"], np.ones_like(X))


def test_a_tensor_without_rows_is_listed_with_its_reason() -> None:
    total = helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0)
    program = OnnxProgram(graph([total, node("Add", ["x", "total"], ["out"])], ["out"]), ROWS)

    assert program.skipped == {"total": "none of its axes is the rows: shape [] at 7 rows"}
    assert by_name(program)["return.out"].inputs == ("x",)


def test_what_a_branch_reads_from_outside_is_followed_and_can_be_given() -> None:
    def branch(op: str) -> onnx.GraphProto:
        inner = helper.make_node(op, ["a"], [f"inner {op}"])
        out = helper.make_tensor_value_info(f"inner {op}", TensorProto.FLOAT, None)
        return helper.make_graph([inner], op, [], [out])

    true = onnx.numpy_helper.from_array(np.array(True), "always")
    choose = helper.make_node(
        "If", ["always"], ["chosen"], then_branch=branch("Neg"), else_branch=branch("Abs")
    )
    nodes = [node("Relu", ["x"], ["a"]), choose, node("Neg", ["chosen"], ["out"])]
    model = graph(nodes, ["out"])
    model.graph.initializer.append(true)
    program = OnnxProgram(model, ROWS)

    found = program.run(ROWS, record=["return.out"], given={"a": np.full_like(X, 3.0)})

    assert by_name(program)["chosen"].after == ("a",)
    np.testing.assert_array_equal(found["return.out"], np.full_like(X, 3.0))


def test_integers_are_checkpoints_and_are_exact() -> None:
    cast = helper.make_node("Cast", ["x"], ["whole"], to=TensorProto.INT64)
    again = helper.make_node("Cast", ["whole"], ["out"], to=TensorProto.FLOAT)
    found = by_name(OnnxProgram(graph([cast, again], ["out"]), ROWS))

    assert (found["whole"].dtype, found["whole"].is_real) == ("int64", False)


def test_sums_are_counted_up_to_the_next_checkpoint() -> None:
    found = by_name(OnnxProgram(graph(NESTED, ["out"]), ROWS))

    assert {name: one.terms for name, one in found.items()} == {
        "block.lin": 4, "block.act": 1, "block": 1, "sum": 1, "return.out": 1,
    }  # fmt: skip
