"""An ONNX tree ensemble from declared trees, as a converter writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from replay.capabilities import TreeStructure


def ensemble_of(trees: Sequence[TreeStructure], path: Path, *, mode: str) -> None:
    """Every split by one mode; a leaf weighs its ordinal."""
    nodes: dict[str, list[object]] = {
        name: []
        for name in (
            "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
            "missing_value_tracks_true",
        )
    }  # fmt: skip
    leaves: list[tuple[int, int, float]] = []
    for number, tree in enumerate(trees):
        for node in range(len(tree.leaf)):
            is_leaf = tree.leaf[node] >= 0
            row = (
                number, node, 0 if is_leaf else int(tree.feature[node]),
                0.0 if is_leaf else float(tree.threshold[node]),
                "LEAF" if is_leaf else mode, max(0, int(tree.left[node])),
                max(0, int(tree.right[node])), int(tree.default_left[node]),
            )  # fmt: skip
            for name, value in zip(nodes, row, strict=True):
                nodes[name].append(value)
            if is_leaf:
                leaves.append((number, node, float(tree.leaf[node])))
    columns = 1 + max(int(np.max(tree.feature)) for tree in trees)
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["sum"],
        domain="ai.onnx.ml",
        n_targets=1,
        target_treeids=[tree for tree, _, _ in leaves],
        target_nodeids=[node for _, node, _ in leaves],
        target_ids=[0] * len(leaves),
        target_weights=[weight for _, _, weight in leaves],
        **{f"nodes_{name}": values for name, values in nodes.items()},
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["rows", 1])],
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 3), helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    path.write_bytes(model.SerializeToString())
