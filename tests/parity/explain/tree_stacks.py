"""Sides of a proof: a real booster walked by XGBoost, and any declared arrays with any code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legacy.gbdt import LeafFinder
from legacy.trees import structure_of, trees_from_json
from parity.explain.prove import Proof
from parity.explain.prove_trees import GoesLeft, declared
from replay.capabilities import TreeStructure

Rows = NDArray[np.float32]
Edit = Callable[[list[dict[str, Any]]], None]


class BoosterStack:
    """XGBoost's own walk through a booster.json, after an edit of its trees."""

    def __init__(self, path: Path, edit: Edit = lambda _: None, *, name: str = "booster") -> None:
        model = json.loads(path.read_text())
        edit(model["learner"]["gradient_booster"]["model"]["trees"])
        names = model["learner"]["feature_names"]
        self.name = name
        self._trees = trees_from_json(model, feature_names=names, where="tests")
        self._finder = LeafFinder(json.dumps(model).encode(), self._trees)

    def tree_features(self) -> tuple[str, ...]:
        return self._trees.feature_names

    def split_points(self) -> tuple[Any, ...]:
        return self._trees.split_points()

    def leaves(self, features: Rows) -> Any:
        return self._finder.leaves(features)

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        return tuple(structure_of(tree) for tree in self._trees.trees)


class ArrayStack:
    """Declared arrays, and code that walks them node by node, or walks others.

    Args:
        structure: What it declares.
        features: Its columns.
        walks: What its code walks; what it declares by default.
        goes_left: How its code decides; by contract by default.
        asked: Filled with the number of rows of every call.
    """

    def __init__(
        self,
        structure: Sequence[TreeStructure],
        features: Sequence[str],
        *,
        name: str = "arrays",
        walks: Sequence[TreeStructure] | None = None,
        goes_left: GoesLeft = declared,
    ) -> None:
        self.name = name
        self.asked: list[int] = []
        self._structure, self._features = tuple(structure), tuple(features)
        self._walks = self._structure if walks is None else tuple(walks)
        self._goes_left = goes_left

    def tree_features(self) -> tuple[str, ...]:
        return self._features

    def split_points(self) -> tuple[Any, ...]:
        return tuple(
            np.unique([t.threshold[t.feature == place] for t in self._structure])
            for place in range(len(self._features))
        )

    def leaves(self, features: Rows) -> Any:
        self.asked.append(len(features))
        found = [[self._leaf(tree, row) for tree in self._walks] for row in features]
        return np.asarray(found, np.int32).reshape(len(features), len(self._walks))

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        return self._structure

    def _leaf(self, tree: TreeStructure, row: Rows) -> int:
        node = 0
        while tree.leaf[node] < 0:
            one = slice(node, node + 1)
            value = row[tree.feature[node]].reshape(1)
            left = self._goes_left(value, tree.threshold[one], tree.default_left[one])
            node = int(tree.left[node] if left[0] else tree.right[node])
        return int(tree.leaf[node])


Node = tuple[int, float, bool, Any, Any] | int


def structure(node: Node) -> TreeStructure:
    """A tree written as `(feature, threshold, missing goes left, left, right)`; a leaf is its ordinal."""
    columns: dict[str, list[Any]] = {name: [] for name in TreeStructure.__dataclass_fields__}

    def add(one: Node) -> int:
        place = len(columns["leaf"])
        feature, threshold, default_left, left, right = (
            (-1, 0.0, False, -1, -1) if isinstance(one, int) else one
        )
        values = {
            "feature": feature, "threshold": threshold, "left": -1, "right": -1,
            "default_left": default_left, "leaf": one if isinstance(one, int) else -1,
        }  # fmt: skip
        for name, value in values.items():
            columns[name].append(value)
        if not isinstance(one, int):
            columns["left"][place] = add(left)
            columns["right"][place] = add(right)
        return place

    add(node)
    dtypes: Mapping[str, Any] = {"threshold": np.float32, "default_left": np.bool_}
    return TreeStructure(
        **{name: np.asarray(own, dtypes.get(name, np.int32)) for name, own in columns.items()}
    )


def mirrored(tree: TreeStructure) -> TreeStructure:
    """The same tree, its nodes stored in the opposite order but for the root: children swapped."""
    old = np.concatenate([[0], np.arange(len(tree.leaf) - 1, 0, -1)])
    new = np.argsort(old)
    return TreeStructure(
        feature=tree.feature[old],
        threshold=tree.threshold[old],
        left=np.where(tree.left[old] < 0, -1, new[tree.left[old]]).astype(np.int32),
        right=np.where(tree.right[old] < 0, -1, new[tree.right[old]]).astype(np.int32),
        default_left=tree.default_left[old],
        leaf=tree.leaf[old],
    )


def with_threshold(tree: TreeStructure, node: int, threshold: np.float32) -> TreeStructure:
    """The tree with another threshold at one node."""
    thresholds = tree.threshold.copy()
    thresholds[node] = threshold
    return replace(tree, threshold=thresholds)


def assert_holds(proof: Proof, reference: Any, challenger: Any) -> None:
    """Run both sides' own code on every counterexample's row: the leaves are those it says."""
    assert proof.counterexamples
    for example in proof.counterexamples:
        for side, leaf in (
            (reference, example.reference_leaf),
            (challenger, example.challenger_leaf),
        ):
            names = [f"features.{n.removeprefix('features.')}" for n in side.tree_features()]
            row = np.asarray([[example.row[name] for name in names]], np.float32)
            found = side.leaves(row)[0]
            assert (None if example.tree >= len(found) else found[example.tree]) == leaf
        assert example.reference_leaf != example.challenger_leaf
