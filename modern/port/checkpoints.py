"""The checkpoints of the ported model, and how far rounding may move each of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from modern.features.feature_set import FeatureSet
from modern.port.legacy_artifact import LegacyArtifact
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding, Stage

UNIT_ROUNDOFF = 2.0**-24  # of float32


def port_checkpoints(artifact: LegacyArtifact, *, stack: str) -> CheckpointGraph:
    """The graph of docs/features.md for one artifact."""
    features = artifact.features
    return CheckpointGraph(
        [*_of_features(features), *_of_encodings(features), *_of_model(artifact)], stack=stack
    )


def gamma(terms: int) -> float:
    """Bound of the relative error of a float32 sum of so many terms, in any order.

    Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 4.2.
    """
    return terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF)


def largest_leaf_sum(artifact: LegacyArtifact) -> float:
    """The largest |weight| of each tree, added up."""
    offsets = artifact.regression.leaf_offsets
    return _largest_sum(artifact.regression.leaf_weights, offsets[:-1])


def largest_category_sum(artifact: LegacyArtifact) -> float:
    """The largest |weight| of each discrete feature, added up."""
    firsts = np.asarray(list(artifact.features.first_columns.values()), np.int64)
    return _largest_sum(artifact.regression.category_weights, firsts)


def _largest_sum(weights: NDArray[np.float32], firsts: NDArray[np.int64]) -> float:
    if not len(firsts):
        return 0.0
    return float(np.maximum.reduceat(np.abs(weights).astype(np.float64), firsts).sum())


def _of_features(features: FeatureSet) -> Iterator[Checkpoint]:
    for feature in features.features:
        real = feature.dtype == "float32"
        yield Checkpoint(
            name=f"features.{feature.name}",
            stage="feature",
            axes=(feature.axis,),
            dtype=feature.dtype,
            unit=feature.unit,
            missing="nan" if real else "none",
            exact=feature.exact,
            rounding=None
            if feature.exact
            else Rounding(ulps=0.5, why="computed in float64, rounded once to float32"),
        )


def _of_encodings(features: FeatureSet) -> Iterator[Checkpoint]:
    for feature in features.discrete:
        yield Checkpoint(
            name=f"encoded.{feature.name}",
            stage="encoding",
            axes=(feature.axis,),
            dtype="int32",
            after=(f"features.{feature.name}",),
            unit="column",
            exact=True,
        )


def _of_model(artifact: LegacyArtifact) -> Iterator[Checkpoint]:
    features, num_trees = artifact.features, artifact.forest.num_trees
    num_discrete = len(features.discrete)
    leaves, categories = largest_leaf_sum(artifact), largest_category_sum(artifact)
    leaf_bound, category_bound = gamma(num_trees) * leaves, gamma(num_discrete) * categories
    largest = abs(float(artifact.regression.bias)) + leaves + leaf_bound + categories
    logit_bound = leaf_bound + category_bound + gamma(2) * (largest + category_bound)
    yield Checkpoint(
        name="gbdt.leaves",
        stage="tree",
        axes=("candidate", "tree"),
        shape=(num_trees,),
        dtype="int32",
        after=tuple(f"features.{feature.name}" for feature in features.real),
        unit="leaf",
        exact=True,
    )
    yield _output(
        "regression.leaf_sum",
        after=("gbdt.leaves",),
        stage="layer",
        rounding=Rounding(
            absolute=leaf_bound,
            terms=num_trees,
            why=f"gamma_{num_trees} x the sum over trees of the largest |weight| {leaves:.6g}",
        ),
    )
    yield _output(
        "regression.category_sum",
        after=tuple(f"encoded.{feature.name}" for feature in features.discrete),
        stage="layer",
        rounding=Rounding(
            absolute=category_bound,
            terms=max(1, num_discrete),
            why=f"gamma_{num_discrete} x the sum over discrete features of the largest "
            f"|weight| {categories:.6g}",
        ),
    )
    yield _output(
        "logit",
        after=("regression.leaf_sum", "regression.category_sum"),
        rounding=Rounding(absolute=logit_bound, why="both sums' bounds and two float32 additions"),
    )
    yield _output(
        "pctr",
        after=("logit",),
        unit="probability",
        rounding=Rounding(
            absolute=abs(artifact.slope) / 4 * logit_bound + 2.0**-25,
            why="|slope| / 4 x the logit's bound, and one rounding to float32",
        ),
    )
    if features.money is not None:
        yield Checkpoint(
            name="ecpm_micros",
            stage="output",
            axes=("candidate",),
            dtype="float64",
            after=("pctr",),
            unit="micros",
            rounding=Rounding(
                ulps=0.5, why="given pctr: 1000 * pctr is exact in float64, times the bid is not"
            ),
        )
    yield Checkpoint(
        name="rank",
        stage="output",
        axes=("candidate",),
        dtype="int32",
        after=("pctr",) if features.money is None else ("ecpm_micros",),
        unit="place",
        exact=True,
    )


def _output(
    name: str,
    *,
    after: tuple[str, ...],
    rounding: Rounding,
    stage: Stage = "output",
    unit: str = "log-odds",
) -> Checkpoint:
    return Checkpoint(
        name=name,
        stage=stage,
        axes=("candidate",),
        dtype="float32",
        after=after,
        unit=unit,
        rounding=rounding,
    )
