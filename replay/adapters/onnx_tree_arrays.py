"""The arrays of an ONNX tree ensemble as trees, and the ensemble with leaves' ordinals for weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from replay.adapters.tree_matrix import split_points_of
from replay.capabilities import TreeStructure
from replay.errors import ArtifactError
from replay.trace import Array

# The branch that is true, as x < threshold goes left: whether it is the left one, and whether the
# threshold itself belongs to it.
_MODES: Mapping[str, tuple[bool, bool]] = {
    "BRANCH_LT": (True, False),
    "BRANCH_LEQ": (True, True),
    "BRANCH_GTE": (False, False),
    "BRANCH_GT": (False, True),
}
_NODES = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes",
    "nodes_truenodeids", "nodes_falsenodeids",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class EnsembleArrays:
    """Trees in the order of their ids, nodes in the order of theirs.

    Attributes:
        structure: The trees.
        num_features: One more than the largest column that a tree splits on.
        places: [leaf] of all trees: tree id, node id, place of the tree, ordinal of the leaf.
    """

    structure: tuple[TreeStructure, ...] = field(repr=False)
    num_features: int
    places: Array = field(repr=False)

    def split_points(self, columns: int) -> tuple[Array, ...]:
        """Per column, its thresholds, ascending, each once."""
        return split_points_of(self.structure, columns)


def arrays_of(node: NodeProto, *, where: str) -> EnsembleArrays:
    """The trees of a TreeEnsembleRegressor or TreeEnsembleClassifier.

    Raises:
        ArtifactError: A split that is no threshold, or nodes that are no trees.
    """
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    missing = [name for name in _NODES if name not in given]
    if missing:
        raise _refused(f"the operator has no {missing[0]}.", where)
    columns = {name: np.asarray(given[name]) for name in _NODES if name != "nodes_modes"}
    modes = np.array([mode.decode() for mode in given["nodes_modes"]])
    unknown = sorted({*modes.tolist()} - {*_MODES, "LEAF"})
    if unknown:
        raise _refused(f"a node is of mode {unknown[0]}, which is no threshold.", where)
    nodes = len(modes)
    tracks = np.asarray(given.get("nodes_missing_value_tracks_true") or [0] * nodes, np.bool_)
    if any(len(array) != nodes for array in (*columns.values(), tracks)):
        raise _refused("its arrays are of different lengths.", where)
    trees, places = [], []
    for number, tree in enumerate(np.unique(columns["nodes_treeids"])):
        rows = np.flatnonzero(columns["nodes_treeids"] == tree)
        rows = rows[np.argsort(columns["nodes_nodeids"][rows], kind="stable")]
        own = {name: array[rows] for name, array in columns.items()}
        found = _tree(own, modes[rows], tracks[rows], where=f"{where}, tree {tree}")
        trees.append(found)
        leaves = np.flatnonzero(found.leaf >= 0)
        places += [
            (int(tree), int(own["nodes_nodeids"][leaf]), number, int(found.leaf[leaf]))
            for leaf in leaves
        ]
    largest = max((int(tree.feature.max()) for tree in trees), default=-1)
    return EnsembleArrays(
        structure=tuple(trees), num_features=largest + 1, places=np.asarray(places, np.int64)
    )


def with_leaves(node: NodeProto, arrays: EnsembleArrays) -> NodeProto:
    """The same nodes as a regressor with a target a tree, to which each leaf adds its ordinal."""
    given: dict[str, Any] = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    kept = {name: value for name, value in given.items() if name.startswith("nodes_")}
    kept.pop("nodes_hitrates", None)
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["leaves"],
        domain=node.domain,
        n_targets=len(arrays.structure),
        aggregate_function="SUM",
        post_transform="NONE",
        target_treeids=arrays.places[:, 0].tolist(),
        target_nodeids=arrays.places[:, 1].tolist(),
        target_ids=arrays.places[:, 2].tolist(),
        # float32 holds every ordinal below 2^24, and a tree adds to its target once.
        target_weights=arrays.places[:, 3].astype(np.float32).tolist(),
        **kept,
    )


def _tree(own: Mapping[str, Array], modes: Array, tracks: Array, *, where: str) -> TreeStructure:
    ids = own["nodes_nodeids"]
    if len(np.unique(ids)) != len(ids):
        raise _refused("two of its nodes have one id.", where)
    is_leaf = modes == "LEAF"
    true_is_left = np.array([_MODES.get(mode, (True, False))[0] for mode in modes])
    with_equal = np.array([_MODES.get(mode, (True, False))[1] for mode in modes])
    true, false = (
        _places(own[name], ids, is_leaf, where=where)
        for name in ("nodes_truenodeids", "nodes_falsenodeids")
    )
    thresholds = own["nodes_values"].astype(np.float32)
    # x <= t is x < the next float32 above t; x > t sends the rest right.
    above = np.nextafter(thresholds, np.float32(np.inf))
    return TreeStructure(
        feature=np.where(is_leaf, -1, own["nodes_featureids"]).astype(np.int32),
        threshold=np.where(with_equal, above, thresholds).astype(np.float32),
        left=np.where(true_is_left, true, false).astype(np.int32),
        right=np.where(true_is_left, false, true).astype(np.int32),
        default_left=np.where(true_is_left, tracks, ~tracks) & ~is_leaf,
        leaf=np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int32),
    )


def _places(children: Array, ids: Array, is_leaf: Array, *, where: str) -> Array:
    """Node ids as places among the tree's nodes; -1 at a leaf."""
    found = np.searchsorted(ids, children)
    known = (found < len(ids)) & (ids[np.minimum(found, len(ids) - 1)] == children)
    if not bool((known | is_leaf).all()):
        raise _refused("a node's child is no node of its tree.", where)
    places: Array = np.where(is_leaf, -1, found)
    return places


def _refused(what: str, where: str) -> ArtifactError:
    return ArtifactError(what, where=where, fix="convert the booster again")
