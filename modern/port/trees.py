"""Trees as tensors: every tree's nodes in one table, walked level by level for many rows at once.

Shape suffixes: C = candidates, T = trees, F = real features, N = nodes of all trees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from replay.capabilities import TreeStructure
from replay.errors import ArtifactError

Comparison = Literal["<", "<="]
NO_CHILD = -1
# The fastest of 64 to 4096 over 120 trees on one core with a 1 MiB cache; memory stays bounded.
ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest:
    """The nodes of all trees, one tree after another, by ascending node id; unreachable ones gone.

    Attributes:
        feature_names: Of the columns of the matrix that is walked.
        roots: [tree], int64, places of the roots.
        feature: [node], int64; 0 at a leaf.
        threshold: [node], float32; the smaller goes left.
        decimal: [node], float64, the threshold as the file spells it.
        left, right: [node], int64; a leaf points to itself.
        default_left: [node], where a missing value goes.
        ordinal: [node], int32, of a leaf within its tree; -1 elsewhere.
        leaf_offsets: [tree + 1], int64, leaves before each tree.
        depth: Steps from the root to the deepest leaf.
    """

    feature_names: tuple[str, ...]
    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float32]
    decimal: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    default_left: NDArray[np.bool_]
    ordinal: NDArray[np.int32]
    leaf_offsets: NDArray[np.int64]
    depth: int

    @property
    def num_trees(self) -> int:
        """How many trees there are."""
        return len(self.roots)

    def split_points(self) -> tuple[NDArray[np.float32], ...]:
        """Per feature, its distinct thresholds, ascending."""
        inner = self.ordinal < 0
        return tuple(
            np.unique(self.threshold[inner & (self.feature == place)])
            for place in range(len(self.feature_names))
        )


class TreeWalk(nn.Module):
    """From a matrix of real features to the leaf of every tree.

    A missing value is put below every threshold in one copy of the features and above every
    one in another; each node reads the copy that sends it the default way, so a step is one
    lookup and one comparison.

    Buffers: `column`, `threshold`, `ordinal` are [node], `child` is [2 * node], left before
    right, `root` is [tree].

    Attributes:
        comparison: What goes left. XGBoost's is "<"; the other is a known mistake.
    """

    column: Tensor
    threshold: Tensor
    child: Tensor
    root: Tensor
    ordinal: Tensor

    def __init__(self, forest: Forest) -> None:
        """Lay out the nodes."""
        super().__init__()
        self.depth = forest.depth
        self.num_features = len(forest.feature_names)
        self.comparison: Comparison = "<"
        column = forest.feature + np.where(forest.default_left, 0, self.num_features)
        children = np.stack([forest.left, forest.right], axis=1).reshape(-1)
        for name, values in (
            ("column", column),
            ("threshold", forest.threshold),
            ("child", children),
            ("root", forest.roots),
            ("ordinal", forest.ordinal),
        ):
            self.register_buffer(name, torch.from_numpy(values.copy()))

    def forward(self, features_CF: Tensor) -> Tensor:
        """[candidate, tree], int32, leaf ordinals.

        Args:
            features_CF: float32, NaN where missing.
        """
        num_rows = len(features_CF)
        leaves_CT = torch.empty((num_rows, len(self.root)), dtype=torch.int32)
        for start in range(0, num_rows, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            self._walk(features_CF[rows], leaves_CT[rows])
        return leaves_CT

    def structure(self) -> tuple[TreeStructure, ...]:
        """Each tree as the buffers hold it; thresholds kept wider are rounded to float32."""
        column, threshold, child = self.column.numpy(), self.threshold.numpy(), self.child.numpy()
        roots, ordinal = self.root.numpy(), self.ordinal.numpy()
        trees = []
        for start, end in pairwise([*roots.tolist(), len(ordinal)]):
            own = slice(start, end)
            inner = ordinal[own] < 0
            left, right = (child[2 * start + side : 2 * end : 2] - start for side in (0, 1))
            trees.append(
                TreeStructure(
                    feature=np.where(inner, column[own] % self.num_features, -1).astype(np.int32),
                    threshold=threshold[own].astype(np.float32),
                    left=np.where(inner, left, -1).astype(np.int32),
                    right=np.where(inner, right, -1).astype(np.int32),
                    default_left=column[own] < self.num_features,
                    leaf=ordinal[own].copy(),
                )
            )
        return tuple(trees)

    def _walk(self, features_CF: Tensor, leaves_CT: Tensor) -> None:
        lowest_CF = torch.nan_to_num(features_CF, -torch.inf, torch.inf, -torch.inf)
        highest_CF = torch.nan_to_num(features_CF, torch.inf, torch.inf, -torch.inf)
        values_C2F = torch.cat([lowest_CF, highest_CF], dim=1).to(self.threshold.dtype)
        node_CT = self.root.expand(leaves_CT.shape)
        for _ in range(self.depth):
            value_CT = values_C2F.gather(1, self.column[node_CT])
            threshold_CT = self.threshold[node_CT]
            right_CT = (
                value_CT >= threshold_CT if self.comparison == "<" else value_CT > threshold_CT
            )
            node_CT = self.child[2 * node_CT + right_CT]
        leaves_CT.copy_(self.ordinal[node_CT])


def forest_from_json(
    model: Mapping[str, Any], *, feature_names: Sequence[str], where: str
) -> Forest:
    """The trees of XGBoost's JSON model.

    Args:
        model: The file's whole object.
        feature_names: What the model's features have to be called, in order.
        where: The file, for errors.

    Raises:
        ArtifactError: Not a plain tree booster of these features, or a damaged tree.
    """
    learner = _member(model, "learner", dict, where)
    names = learner.get("feature_names")
    if names != list(feature_names):
        raise _bad(f"its features are {names}, the feature set's are {list(feature_names)}", where)
    booster = _member(learner, "gradient_booster", dict, where)
    forest = _member(booster, "model", dict, where) if booster.get("name") == "gbtree" else {}
    if not forest or "weight_drop" in {*booster, *forest}:
        raise _bad(f"a {booster.get('name')!r} booster is no plain gbtree (or drops trees)", where)
    trees = _member(forest, "trees", list, where)
    if not trees:
        raise _bad("it holds no trees", where)
    parts = [
        _Tree.from_json(tree, num_features=len(feature_names), where=f"{where}, tree {place}")
        for place, tree in enumerate(trees)
    ]
    starts = np.cumsum([0, *(len(part.feature) for part in parts)])
    leaves = [int((part.ordinal >= 0).sum()) for part in parts]
    return Forest(
        feature_names=tuple(feature_names),
        roots=starts[:-1].astype(np.int64),
        feature=np.concatenate([part.feature for part in parts]),
        threshold=np.concatenate([part.decimal for part in parts]).astype(np.float32),
        decimal=np.concatenate([part.decimal for part in parts]),
        left=np.concatenate([p.left + s for p, s in zip(parts, starts, strict=False)]),
        right=np.concatenate([p.right + s for p, s in zip(parts, starts, strict=False)]),
        default_left=np.concatenate([part.default_left for part in parts]),
        ordinal=np.concatenate([part.ordinal for part in parts]),
        leaf_offsets=np.cumsum([0, *leaves]).astype(np.int64),
        depth=max(part.depth for part in parts),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tree:
    """One tree's reachable nodes, by ascending id, its root first; a leaf points to itself."""

    feature: NDArray[np.int64]
    decimal: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    default_left: NDArray[np.bool_]
    ordinal: NDArray[np.int32]
    depth: int

    @staticmethod
    def from_json(tree: Any, *, num_features: int, where: str) -> _Tree:
        if not isinstance(tree, dict):
            raise _bad("it is no JSON object", where)
        left = _integers(tree, "left_children", where)
        right, feature, default = (
            _integers(tree, name, where, size=len(left))
            for name in ("right_children", "split_indices", "default_left")
        )
        decimal = _numbers(tree, "split_conditions", where, size=len(left))
        if any(tree.get("split_type") or ()) or tree.get("categories"):
            raise _bad("it splits by category, which the port does not translate", where)
        places, depth = _reachable(left, right, where)
        inner = left[places] != NO_CHILD
        if not (default[places][inner] >> 1 == 0).all():
            raise _bad("default_left holds something other than 0 and 1", where)
        used = feature[places][inner]
        if ((used < 0) | (used >= num_features)).any():
            raise _bad(f"a split reads feature {used.max()} of {num_features}", where)
        with np.errstate(over="ignore"):
            finite = np.isfinite(decimal[places][inner].astype(np.float32)).all()
        if not finite:
            raise _bad("a threshold is not finite in float32", where)
        renumbered = np.zeros(len(left) + 1, np.int64)
        renumbered[places] = np.arange(len(places))
        itself = np.arange(len(places))
        return _Tree(
            feature=np.where(inner, feature[places], 0),
            decimal=np.where(inner, decimal[places], 0.0),
            left=np.where(inner, renumbered[left[places]], itself),
            right=np.where(inner, renumbered[right[places]], itself),
            default_left=default[places] == 1,
            ordinal=np.where(inner, -1, np.cumsum(~inner) - 1).astype(np.int32),
            depth=depth,
        )


def _reachable(
    left: NDArray[np.int64], right: NDArray[np.int64], where: str
) -> tuple[NDArray[np.int64], int]:
    """The ids that the root leads to, ascending, and the depth of the deepest one."""
    if not len(left):
        raise _bad("it has no nodes", where)
    seen = np.zeros(len(left), np.bool_)
    level, depth = np.zeros(1, np.int64), -1
    while len(level):
        if seen[level].any() or len(np.unique(level)) != len(level):
            raise _bad("a node is reached twice: its children form no tree", where)
        seen[level] = True
        depth += 1
        inner = level[left[level] != NO_CHILD]
        if (right[level[left[level] == NO_CHILD]] != NO_CHILD).any():
            raise _bad("a node has a right child and no left one", where)
        level = np.concatenate([left[inner], right[inner]])
        if ((level < 0) | (level >= len(left))).any():
            raise _bad(f"a child lies outside of its {len(left)} nodes", where)
    return np.flatnonzero(seen), depth


def _integers(
    tree: Mapping[str, Any], name: str, where: str, size: int | None = None
) -> NDArray[np.int64]:
    values = _numbers(tree, name, where, size=size)
    if (values != np.floor(values)).any() or (np.abs(values) >= 2**31).any():
        raise _bad(f"{name!r} holds something other than int32", where)
    return values.astype(np.int64)


def _numbers(
    tree: Mapping[str, Any], name: str, where: str, *, size: int | None
) -> NDArray[np.float64]:
    listed = _member(tree, name, list, where)
    if not all(isinstance(value, (int, float)) for value in listed):
        raise _bad(f"{name!r} holds something other than numbers", where)
    if size is not None and len(listed) != size:
        raise _bad(f"{name!r} has {len(listed)} entries for {size} nodes", where)
    return np.asarray(listed, np.float64)


def _member(value: Mapping[str, Any], name: str, kind: type[Any], where: str) -> Any:
    member = value.get(name)
    if not isinstance(member, kind):
        raise _bad(f"{name!r} is absent or of another type", where)
    return member


def _bad(what: str, where: str) -> ArtifactError:
    return ArtifactError(
        f"the trees can not be read: {what}.",
        where=where,
        fix="keep XGBoost's own JSON model (`Booster.save_model`) of one training, or train again",
    )
