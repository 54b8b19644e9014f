"""The trees of an artifact as an ONNX graph: what a team that serves with ONNX Runtime would deploy.

The graph sums the regression's weights of the leaves, `regression.leaf_sum`, from the matrix of
tree features. Their names stand in its metadata under `features`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legacy.artifact import open_artifact
from legacy.trees import Tree
from replay.engine.durable import write_durably
from replay.errors import ConfigError

# The first opset of ai.onnx.ml with this operator, and one that ONNX Runtime reads with it.
_ML_OPSET, _OPSET, _IR_VERSION = 1, 17, 8


def export_onnx(artifact: Path, out: Path) -> None:
    """Write the graph, whole or not at all.

    Raises:
        ArtifactError: The artifact is damaged.
        ConfigError: onnx is not installed.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ImportError as error:
        raise ConfigError(
            f"onnx can not be imported: {error}.",
            where="python -m legacy export-onnx",
            fix="pip install 'parity-replay[onnx]'",
        ) from error

    read = open_artifact(artifact)
    names, trees = list(read.trees.feature_names), read.trees.trees
    offsets = read.model.regression.leaf_offsets
    weights = read.model.regression.leaf_weights
    own = [weights[offsets[place] : offsets[place + 1]] for place in range(len(trees))]
    attributes: dict[str, Any] = _joined(
        [
            _attributes(k, tree, leaves)
            for k, (tree, leaves) in enumerate(zip(trees, own, strict=True))
        ]
    )
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["leaf_sum"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        **attributes,
    )
    graph = helper.make_graph(
        [node],
        "trees",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(names)])],
        [helper.make_tensor_value_info("leaf_sum", TensorProto.FLOAT, ["rows", 1])],
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="legacy.export_onnx")
    model.ir_version = _IR_VERSION
    facts = {"features": json.dumps(names), "training_id": read.training_id}
    helper.set_model_props(model, facts)
    checker.check_model(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_durably(out, [model.SerializeToString()])


def _attributes(place: int, tree: Tree, weights: NDArray[np.float32]) -> dict[str, list[Any]]:
    """One tree's part of the operator's attributes; x < threshold is true, and goes left."""
    is_leaf = tree.left < 0
    nodes = len(tree.left)
    leaves = tree.leaf_nodes
    return {
        "nodes_treeids": [place] * nodes,
        "nodes_nodeids": list(range(nodes)),
        "nodes_featureids": np.where(is_leaf, 0, tree.split_feature).tolist(),
        "nodes_values": np.where(is_leaf, 0.0, tree.threshold).astype(np.float32).tolist(),
        "nodes_modes": ["LEAF" if leaf else "BRANCH_LT" for leaf in is_leaf],
        "nodes_truenodeids": np.where(is_leaf, 0, tree.left).tolist(),
        "nodes_falsenodeids": np.where(is_leaf, 0, tree.right).tolist(),
        "nodes_missing_value_tracks_true": (tree.default_left & ~is_leaf).astype(int).tolist(),
        "target_treeids": [place] * len(leaves),
        "target_nodeids": leaves.tolist(),
        "target_ids": [0] * len(leaves),
        "target_weights": weights.tolist(),
    }


def _joined(parts: list[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}
