"""The trees of an XGBoost model as plain arrays, checked before XGBoost itself sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.capabilities import TreeStructure
from replay.errors import ArtifactError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tree:
    """One tree, by node id; a leaf has left child -1.

    Attributes:
        left, right: int64 [node], children.
        split_feature: int64 [node], place among the tree features.
        threshold: float32 [node]; x < threshold goes left.
        default_left: bool [node], where a missing value goes.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    split_feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    default_left: NDArray[np.bool_]

    @property
    def leaf_nodes(self) -> NDArray[np.int64]:
        """Node ids of the leaves, ascending: a leaf's place here is its ordinal."""
        return np.flatnonzero(self.left < 0).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trees:
    """All trees, in boosting order."""

    feature_names: tuple[str, ...]
    trees: tuple[Tree, ...]

    @property
    def leaf_offsets(self) -> NDArray[np.int64]:
        """int64 [tree + 1]; tree t owns leaves leaf_offsets[t]:leaf_offsets[t + 1]."""
        counts = [len(tree.leaf_nodes) for tree in self.trees]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def splits_on(self) -> frozenset[str]:
        """Names of the features that some tree splits on."""
        used = {
            int(place)
            for tree in self.trees
            for place in tree.split_feature[np.flatnonzero(tree.left >= 0)]
        }
        return frozenset(self.feature_names[place] for place in used)

    def split_points(self) -> tuple[NDArray[np.float32], ...]:
        """Per feature, its thresholds, ascending, each once."""
        inner = [np.flatnonzero(tree.left >= 0) for tree in self.trees]
        places = np.concatenate(
            [tree.split_feature[own] for tree, own in zip(self.trees, inner, strict=True)]
        )
        thresholds = np.concatenate(
            [tree.threshold[own] for tree, own in zip(self.trees, inner, strict=True)]
        )
        return tuple(np.unique(thresholds[places == i]) for i in range(len(self.feature_names)))


def trees_from_json(model: Any, *, feature_names: Sequence[str], where: str) -> Trees:
    """Read and check the trees of XGBoost's JSON model.

    XGBoost's own loader has crashed on a bad child, a cycle and a bad split index: they are
    refused here, as is what the regression on leaves could not honour.

    Raises:
        ArtifactError: Naming what is wrong, and in which tree.
    """

    def refused(what: str) -> ArtifactError:
        return ArtifactError(what, where=where, fix="train the model again: python -m legacy train")

    try:
        learner = model["learner"]
        name = learner["gradient_booster"]["name"]
        names = tuple(learner["feature_names"])
        stored = learner["gradient_booster"]["model"]["trees"]
    except (KeyError, TypeError) as error:
        raise refused(f"the booster lacks {error}.") from error
    if name != "gbtree":
        raise refused(f"the booster is {name!r}; only 'gbtree' has leaves for the regression.")
    if names != tuple(feature_names):
        raise refused(f"the booster's features are {names}, the feature set's {feature_names}.")
    if not isinstance(stored, list) or not stored:
        raise refused("the booster has no trees.")
    trees: list[Tree] = []
    for place, value in enumerate(stored):
        try:
            trees.append(_tree(value, len(names)))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise refused(f"tree {place} of the booster is malformed: {error}.") from error
    return Trees(feature_names=names, trees=tuple(trees))


def structure_of(tree: Tree) -> TreeStructure:
    """The tree as judges of any stack read it."""
    is_leaf = tree.left < 0
    return TreeStructure(
        feature=np.where(is_leaf, -1, tree.split_feature).astype(np.int32),
        threshold=tree.threshold,
        left=np.where(is_leaf, -1, tree.left).astype(np.int32),
        right=np.where(is_leaf, -1, tree.right).astype(np.int32),
        default_left=tree.default_left,
        leaf=np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int32),
    )


def _tree(value: Any, num_features: int) -> Tree:
    if value.get("categories_nodes") or any(value.get("split_type", ())):
        raise ValueError("it has a categorical split")
    with np.errstate(over="ignore"):  # infinite thresholds are refused below
        thresholds = np.asarray(value["split_conditions"], dtype=np.float64).astype(np.float32)
    tree = Tree(
        left=np.asarray(value["left_children"], dtype=np.int64),
        right=np.asarray(value["right_children"], dtype=np.int64),
        split_feature=np.asarray(value["split_indices"], dtype=np.int64),
        threshold=thresholds,
        default_left=np.asarray(value["default_left"], dtype=np.bool_),
    )
    count = len(tree.left)
    if count == 0 or any(
        array.shape != (count,)
        for array in (tree.right, tree.split_feature, tree.threshold, tree.default_left)
    ):
        raise ValueError("its arrays do not have one value a node")
    inner = np.flatnonzero(tree.left >= 0)
    if ((tree.left < 0) != (tree.right < 0)).any():
        raise ValueError("a node has one child")
    children = np.concatenate([tree.left[inner], tree.right[inner]])
    if not np.array_equal(np.sort(children), np.arange(1, count)):
        raise ValueError("its nodes do not form one tree")
    # With every node but the root some node's child exactly once, a tree whose children come
    # after their parents has no cycle. XGBoost numbers nodes in that order.
    if (np.minimum(tree.left[inner], tree.right[inner]) <= inner).any():
        raise ValueError("a child comes before its parent")
    if ((tree.split_feature[inner] < 0) | (tree.split_feature[inner] >= num_features)).any():
        raise ValueError("it splits on a feature that does not exist")
    # At the largest numbers a threshold could tell an infinity from them (see legacy.gbdt).
    if not (np.abs(tree.threshold[inner]) < np.finfo(np.float32).max).all():
        raise ValueError("a threshold is not finite")
    return tree
