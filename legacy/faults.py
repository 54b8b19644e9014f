"""Real faults for drills: changes of the stack's code, configuration or artifact."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legacy.artifact import LegacyModel
from legacy.feature_set import Feature, FeatureSet
from legacy.leaf_columns import CategoryColumns
from legacy.trees import Trees, trees_from_json
from replay.capabilities import Fault
from replay.errors import ConfigError

_WEIGHT_FACTOR = np.float32(1.01)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a stack is made of.

    Attributes:
        strict_edges: Buckets whose code compares `<` in place of `<=`.
        tree_limit: Trees that the regression counts; None counts all.
        planted: The faults that are in these parts, as "kind:checkpoint".
    """

    model: LegacyModel
    trees: Trees
    strict_edges: frozenset[str] = frozenset()
    tree_limit: int | None = None
    planted: tuple[str, ...] = ()


def faults_of(parts: Parts) -> tuple[Fault, ...]:
    """The faults that can be put into these parts."""
    return tuple(_faults(parts))


def with_fault(parts: Parts, fault: Fault) -> Parts:
    """The parts with the fault in them.

    Raises:
        ConfigError: There is no such fault here; it offers those there are.
    """
    known = {(f.kind, f.checkpoint): f for f in _faults(parts)}
    if (fault.kind, fault.checkpoint) not in known:
        offered = ", ".join(f"{kind}:{checkpoint}" for kind, checkpoint in known)
        raise ConfigError(
            f"the legacy stack has no fault {fault.kind}:{fault.checkpoint} (known: {offered}).",
            where="--plant",
            fix="plant one of these",
        )
    changed = _CHANGES[fault.kind](parts, fault.checkpoint)
    return replace(changed, planted=(*parts.planted, f"{fault.kind}:{fault.checkpoint}"))


def _faults(parts: Parts) -> Iterator[Fault]:
    for feature in parts.model.features.features:
        checkpoint = f"features.{feature.name}"
        if feature.kind == "bucket":
            yield Fault(
                kind="bucket_edge_side",
                checkpoint=checkpoint,
                where="code",
                says="an edge belongs to the bucket below it: e < x in place of e <= x",
            )
        elif feature.kind == "hash":
            yield Fault(
                kind="hash_seed",
                checkpoint=checkpoint,
                where="configuration",
                says="the seed of the hash is one higher",
            )
        elif feature.kind in ("hour", "weekday"):
            yield Fault(
                kind="utc_offset",
                checkpoint=checkpoint,
                where="configuration",
                says="local time is taken for UTC (UTC for an hour later)",
            )
        elif feature.kind == "rate":
            yield Fault(
                kind="rate_prior",
                checkpoint=checkpoint,
                where="configuration",
                says="the prior of the rate is a tenth higher",
            )
    yield Fault(
        kind="threshold_le",
        checkpoint="gbdt.leaves",
        where="artifact",
        says="x <= threshold goes left in place of x < threshold: every threshold one ulp up",
    )
    yield Fault(
        kind="tree_limit",
        checkpoint="regression.leaf_sum",
        where="configuration",
        says="the last tenth of the trees is left out of the sum",
    )
    for checkpoint, block in (
        ("regression.leaf_sum", "one tree"),
        ("regression.category_sum", "one feature"),
    ):
        yield Fault(
            kind="weight_scale",
            checkpoint=checkpoint,
            where="artifact",
            says=f"the weights of {block}, the heaviest, are multiplied by 1.01",
        )


def _bucket_edge_side(parts: Parts, checkpoint: str) -> Parts:
    return replace(parts, strict_edges=parts.strict_edges | {_feature_name(checkpoint)})


def _hash_seed(parts: Parts, checkpoint: str) -> Parts:
    return _reconfigured(parts, checkpoint, seed=lambda seed: (seed + 1) % 2**32)


def _utc_offset(parts: Parts, checkpoint: str) -> Parts:
    return _reconfigured(parts, checkpoint, utc_offset_minutes=lambda m: 0 if m else 60)


def _rate_prior(parts: Parts, checkpoint: str) -> Parts:
    return _reconfigured(parts, checkpoint, prior=lambda prior: prior * 1.1 if prior else 0.01)


def _tree_limit(parts: Parts, _: str) -> Parts:
    count = len(parts.trees.trees)
    return replace(parts, tree_limit=count - max(1, count // 10))


def _threshold_le(parts: Parts, _: str) -> Parts:
    model = json.loads(parts.model.booster)
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        thresholds = np.array(tree["split_conditions"], dtype=np.float32)
        above = np.nextafter(thresholds, np.float32(np.inf))
        is_leaf = np.array(tree["left_children"]) < 0
        tree["split_conditions"] = np.where(is_leaf, thresholds, above).astype(float).tolist()
    booster = json.dumps(model).encode()
    names = parts.trees.feature_names
    trees = trees_from_json(model, feature_names=names, where="the planted booster.json")
    return replace(parts, model=replace(parts.model, booster=booster), trees=trees)


def _weight_scale(parts: Parts, checkpoint: str) -> Parts:
    regression = parts.model.regression
    if checkpoint == "regression.leaf_sum":
        offsets = regression.leaf_offsets
        blocks = [slice(int(a), int(b)) for a, b in pairwise(offsets)]
        scaled = replace(regression, leaf_weights=_scaled(regression.leaf_weights, blocks))
    else:
        blocks = list(CategoryColumns(parts.model.features).blocks.values())
        scaled = replace(regression, category_weights=_scaled(regression.category_weights, blocks))
    return replace(parts, model=replace(parts.model, regression=scaled))


_CHANGES: dict[str, Callable[[Parts, str], Parts]] = {
    "bucket_edge_side": _bucket_edge_side,
    "hash_seed": _hash_seed,
    "utc_offset": _utc_offset,
    "rate_prior": _rate_prior,
    "threshold_le": _threshold_le,
    "tree_limit": _tree_limit,
    "weight_scale": _weight_scale,
}


def _scaled(weights: NDArray[np.float32], blocks: list[slice]) -> NDArray[np.float32]:
    heaviest = max(blocks, key=lambda block: float(np.abs(weights[block]).sum()))
    scaled = weights.copy()
    scaled[heaviest] *= _WEIGHT_FACTOR
    return scaled


def _reconfigured(parts: Parts, checkpoint: str, **changes: Callable[[Any], Any]) -> Parts:
    name = _feature_name(checkpoint)

    def changed(feature: Feature) -> Feature:
        if feature.name != name:
            return feature
        parameters = dict(feature.parameters)
        for parameter, change in changes.items():
            parameters[parameter] = change(parameters[parameter])
        return replace(feature, parameters=parameters)

    features: FeatureSet = parts.model.features
    reconfigured = replace(features, features=tuple(changed(f) for f in features.features))
    return replace(parts, model=replace(parts.model, features=reconfigured))


def _feature_name(checkpoint: str) -> str:
    return checkpoint.removeprefix("features.")
