"""From node ids to leaf ordinals to columns of the logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from legacy.feature_set import Feature, FeatureSet
from legacy.trees import Trees
from replay.errors import ArtifactError, StackError
from replay.trace import Array


class LeafOrdinals:
    """Numbers the leaves of each tree from 0, by ascending node id."""

    def __init__(self, trees: Trees) -> None:
        sizes = [len(tree.left) for tree in trees.trees]
        self._node_offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        self._sizes = np.array(sizes, dtype=np.int64)
        self._ordinal_of = np.full(sum(sizes), -1, dtype=np.int32)
        for offset, tree in zip(self._node_offsets, trees.trees, strict=True):
            leaves = tree.leaf_nodes
            self._ordinal_of[offset + leaves] = np.arange(len(leaves), dtype=np.int32)

    @property
    def num_trees(self) -> int:
        return len(self._sizes)

    def from_node_ids(self, node_ids: NDArray[np.int64]) -> NDArray[np.int32]:
        """[candidate, tree] node ids, as XGBoost's pred_leaf gives them, to ordinals.

        Raises:
            ArtifactError: A node is none of its tree's leaves: the trees were read from
                another model.
        """
        inside = (
            node_ids.ndim == 2
            and node_ids.shape[1] == self.num_trees
            and bool(((node_ids >= 0) & (node_ids < self._sizes)).all())
        )
        places = node_ids + self._node_offsets if inside else np.zeros(0, dtype=np.int64)
        ordinals: NDArray[np.int32] = self._ordinal_of[places]
        if not inside or (ordinals < 0).any():
            raise ArtifactError(
                "XGBoost names a leaf that booster.json does not have.",
                where="booster.json",
                fix="train the model again: python -m legacy train",
            )
        return ordinals


def columns_from_leaves(leaves: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn leaves into columns of the regression's leaf block.

    Args:
        leaves: [candidate, tree], ordinals.
        offsets: [tree + 1]; tree t owns the columns offsets[t]:offsets[t + 1].

    Raises:
        StackError: A leaf lies outside its tree.

    Source: He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook",
    section 3.1.
    """
    outside = (leaves < 0) | (leaves >= np.diff(offsets))
    if outside.any():
        row, tree = (int(place) for place in np.argwhere(outside)[0])
        raise StackError(
            f"leaf {int(leaves[row, tree])} lies outside tree {tree}, "
            f"which has {int(np.diff(offsets)[tree])}.",
            where=f"gbdt.leaves, candidate row {row}",
            fix="give leaf ordinals of this artifact's trees",
        )
    return leaves + offsets[:-1]


class CategoryColumns:
    """Columns of the category block: one range of them per discrete feature."""

    def __init__(self, features: FeatureSet) -> None:
        discrete = features.discrete
        sizes = [feature.cardinality for feature in discrete]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.num_columns = int(starts[-1])
        self.blocks = {
            feature.name: slice(int(start), int(start) + size)
            for feature, start, size in zip(discrete, starts, sizes, strict=False)
        }
        self._features = {feature.name: feature for feature in discrete}
        self._places = {
            feature.name: {id_: place for place, id_ in enumerate(_vocabulary(feature), start=1)}
            for feature in discrete
            if feature.kind == "id"
        }

    def encode(self, name: str, values: Array) -> NDArray[np.int32]:
        """The column of each value; an id outside the vocabulary has its feature's first.

        Raises:
            StackError: A bucket or hash value lies outside its feature's range.
        """
        block = self.blocks[name]
        if name in self._places:
            place = self._places[name]
            codes = np.array([place.get(id_, 0) for id_ in values.tolist()], dtype=np.int32)
            return codes + np.int32(block.start)
        size = block.stop - block.start
        if ((values < 0) | (values >= size)).any():
            raise StackError(
                f"a value of {name!r} lies outside 0 to {size - 1}.",
                where=f"features.{name}",
                fix="give values of this feature set's buckets",
            )
        return values.astype(np.int32) + np.int32(block.start)

    def stacked(self, encoded: Sequence[Array]) -> NDArray[np.int64]:
        """[candidate, feature] columns, from [candidate] ones in the order of the features.

        Raises:
            StackError: A column lies outside the block.
        """
        columns = np.stack(encoded, axis=1).astype(np.int64)
        if ((columns < 0) | (columns >= self.num_columns)).any():
            raise StackError(
                f"a category column lies outside 0 to {self.num_columns - 1}.",
                where="encoded.*",
                fix="give columns of this artifact's category block",
            )
        return columns


def _vocabulary(feature: Feature) -> list[int]:
    vocabulary: list[int] = feature.parameters["vocabulary"]
    return vocabulary
