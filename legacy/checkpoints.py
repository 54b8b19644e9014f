"""The stack's checkpoints, with how far rounding may move each (docs/features.md)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from legacy.artifact import LegacyModel
from legacy.feature_set import EXACT_REAL_KINDS, Feature
from legacy.leaf_columns import CategoryColumns
from legacy.trees import Trees
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding

UNIT_ROUNDOFF = 2.0**-24  # float32
_UNITS = {"hour": "hour", "weekday": "day", "id": "id", "hash": "bucket", "bucket": "bucket"}


def checkpoints_of(model: LegacyModel, trees: Trees, *, stack: str) -> CheckpointGraph:
    """All checkpoints in execution order."""
    return CheckpointGraph(_declared(model, trees), stack=stack)


def sum_bound(num_terms: int, magnitude: float) -> float:
    """How far a float32 sum may err, added in any order.

    Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2:
    gamma_n * sum |term|, gamma_n = n u / (1 - n u).
    """
    spread = num_terms * UNIT_ROUNDOFF
    return spread / (1 - spread) * magnitude


def _declared(model: LegacyModel, trees: Trees) -> Iterator[Checkpoint]:
    features = model.features
    for feature in features.features:
        yield _feature(feature)
    for feature in features.discrete:
        yield Checkpoint(
            name=f"encoded.{feature.name}",
            stage="encoding",
            axes=(feature.rows,),
            dtype="int32",
            after=(f"features.{feature.name}",),
            unit="column",
            exact=True,
        )
    yield Checkpoint(
        name="gbdt.leaves",
        stage="tree",
        axes=("candidate", "tree"),
        shape=(len(trees.trees),),
        dtype="int32",
        after=tuple(f"features.{feature.name}" for feature in features.real),
        unit="leaf",
        exact=True,
    )
    yield from _regression(model, trees)
    yield from _ranking(model)


def _feature(feature: Feature) -> Checkpoint:
    exact = not feature.is_real or feature.kind in EXACT_REAL_KINDS
    rounding = Rounding(ulps=0.5, why="computed in float64, rounded once to float32")
    return Checkpoint(
        name=f"features.{feature.name}",
        stage="feature",
        axes=(feature.rows,),
        dtype=feature.dtype,
        unit=_UNITS.get(feature.kind, "1"),
        missing="nan" if feature.is_real else "none",
        exact=exact,
        rounding=None if exact else rounding,
    )


def _regression(model: LegacyModel, trees: Trees) -> Iterator[Checkpoint]:
    weights, discrete = model.regression, model.features.discrete
    offsets = weights.leaf_offsets
    leaf_magnitude = sum(
        _largest(weights.leaf_weights[low:high]) for low, high in pairwise(offsets)
    )
    blocks = CategoryColumns(model.features).blocks
    category_magnitude = sum(_largest(weights.category_weights[block]) for block in blocks.values())
    num_trees, num_discrete = len(trees.trees), len(discrete)
    leaf_bound = sum_bound(num_trees, leaf_magnitude)
    category_bound = sum_bound(num_discrete, category_magnitude)
    magnitude = abs(float(weights.bias)) + leaf_magnitude + category_magnitude
    # The additions see sums that are off by their own bounds already.
    additions = sum_bound(2, magnitude + leaf_bound + category_bound)
    logit_bound = leaf_bound + category_bound + additions
    pctr_bound = abs(model.calibration.slope) / 4 * logit_bound + 2.0**-25
    yield Checkpoint(
        name="regression.leaf_sum",
        stage="layer",
        axes=("candidate",),
        dtype="float32",
        after=("gbdt.leaves",),
        unit="log-odds",
        rounding=Rounding(
            absolute=leaf_bound,
            why=f"float32 sum of {num_trees} leaf weights: gamma_n * sum of each tree's largest",
        ),
    )
    yield Checkpoint(
        name="regression.category_sum",
        stage="layer",
        axes=("candidate",),
        dtype="float32",
        after=tuple(f"encoded.{feature.name}" for feature in discrete),
        unit="log-odds",
        rounding=Rounding(
            absolute=category_bound,
            why=f"float32 sum of {num_discrete} category weights: "
            "gamma_n * sum of each feature's largest",
        ),
    )
    yield Checkpoint(
        name="logit",
        stage="output",
        axes=("candidate",),
        dtype="float32",
        after=("regression.leaf_sum", "regression.category_sum"),
        unit="log-odds",
        rounding=Rounding(
            absolute=logit_bound, why="bounds of both float32 sums and of two additions"
        ),
    )
    yield Checkpoint(
        name="pctr",
        stage="output",
        axes=("candidate",),
        dtype="float32",
        after=("logit",),
        unit="probability",
        rounding=Rounding(
            absolute=pctr_bound,
            why="|slope| / 4 times the logit's bound, and one rounding to float32",
        ),
    )


def _ranking(model: LegacyModel) -> Iterator[Checkpoint]:
    ranked_by = "pctr"
    if model.features.money is not None:
        ranked_by = "ecpm_micros"
        yield Checkpoint(
            name="ecpm_micros",
            stage="output",
            axes=("candidate",),
            dtype="float64",
            after=("pctr",),
            unit="micros",
            # 1000 * pctr is exact in float64; the bid and the product are each rounded once.
            rounding=Rounding(ulps=1.5, why="given pctr, two roundings to float64"),
        )
    yield Checkpoint(
        name="rank",
        stage="output",
        axes=("candidate",),
        dtype="int32",
        after=(ranked_by,),
        unit="place",
        exact=True,
    )


def _largest(weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    return float(np.abs(weights.astype(np.float64)).max(initial=0.0))
