"""XGBoost: growing the trees, and the leaf that each candidate falls into."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xgboost
from numpy.typing import NDArray

from legacy.leaf_columns import LeafOrdinals
from legacy.trees import Trees, trees_from_json

_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True, slots=True, kw_only=True)
class TreesConfig:
    """How trees are grown.

    Attributes:
        num_trees: At least 100: fewer leave the regression little to weigh.
        max_depth: 4 gives a median of 11 leaves on the Open Bandit log.
        eta: Shrinkage. The leaves' own values are not used: it decides how soon trees
            come to explain what earlier ones left over.
        min_child_weight: Sum of p (1 - p) in a leaf: 0.5 is some 100 impressions at a click
            rate of 0.5 %.
        columns: Share of the features tried at each node, so that none hides behind another.
        rows: Share of the rows drawn for each tree.
        l2: Of the leaf values.
        bins: Histogram bins of a feature.
    """

    num_trees: int = 120
    max_depth: int = 4
    eta: float = 0.05
    min_child_weight: float = 0.5
    columns: float = 0.5
    rows: float = 0.8
    l2: float = 1.0
    bins: int = 64


def grow_trees(
    features: NDArray[np.float32],
    clicks: NDArray[np.float32],
    *,
    names: Sequence[str],
    config: TreesConfig,
    seed: int,
) -> bytes:
    """Train on [candidate, feature] with NaN for missing; the same input, the same trees.

    Returns:
        XGBoost's JSON model.
    """
    matrix = xgboost.DMatrix(
        _within_float32(features), label=clicks, feature_names=list(names), nthread=1
    )
    booster = xgboost.train(
        {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_depth": config.max_depth,
            "eta": config.eta,
            "min_child_weight": config.min_child_weight,
            "colsample_bynode": config.columns,
            "subsample": config.rows,
            "lambda": config.l2,
            "max_bin": config.bins,
            "seed": seed,
            "nthread": 1,
        },
        matrix,
        num_boost_round=config.num_trees,
    )
    return bytes(booster.save_raw("json"))


class LeafFinder:
    """XGBoost's own walk through the trees.

    Args:
        booster: XGBoost's JSON model, which `trees` was checked from.
    """

    def __init__(self, booster: bytes, trees: Trees) -> None:
        self._booster = xgboost.Booster({"nthread": 1})
        self._booster.load_model(bytearray(booster))
        self._names = list(trees.feature_names)
        self._ordinals = LeafOrdinals(trees)

    def leaves(self, features: NDArray[np.float32]) -> NDArray[np.int32]:
        """[candidate, feature] to [candidate, tree], the leaf's ordinal within its tree."""
        if len(features) == 0:
            return np.zeros((0, self._ordinals.num_trees), dtype=np.int32)
        matrix = xgboost.DMatrix(_within_float32(features), feature_names=self._names, nthread=1)
        # [candidate, iteration, class, parallel tree]; node ids as float32, exact to 2^24.
        node_ids = self._booster.predict(matrix, pred_leaf=True, strict_shape=True)
        return self._ordinals.from_node_ids(node_ids.reshape(len(features), -1).astype(np.int64))


def trees_of(booster: bytes, names: Sequence[str], *, where: str) -> Trees:
    """The checked trees of XGBoost's JSON model.

    Raises:
        ArtifactError: The model is malformed.
    """
    return trees_from_json(json.loads(booster), feature_names=names, where=where)


def _within_float32(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Infinities as the largest finite numbers: DMatrix refuses the former, no split tells them apart."""
    return np.clip(features, -_LARGEST, _LARGEST)
