"""Real faults for drills: each changes the port's code, configuration or weights, not its values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from modern.artifact import LegacyArtifact
from modern.features import FeatureSet
from modern.features_discrete import UINT32_END, Bucket, Hash, Id
from modern.features_numeric import Hour, Log1p, Weekday
from modern.features_spec import FeatureSpec
from modern.port import LegacyPort
from modern.trees import Forest
from replay.capabilities import Fault, Where

TOKYO_MINUTES = 540


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a port computes with.

    Attributes:
        artifact: As it was read.
        features: The features that are computed.
        model: From features to the probability.
    """

    artifact: LegacyArtifact
    features: FeatureSet
    model: LegacyPort


class BucketReachedPastItsEdge(Bucket):
    """A number that equals an edge has not reached it."""

    side: ClassVar[Literal["left", "right"]] = "left"


class HashOfUtf16(Hash):
    """Text hashed in the encoding of another platform."""

    @staticmethod
    def encoded(texts: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        wide = [text.encode("utf-16-le") for text in texts.to_pylist()]
        offsets = np.cumsum([0, *map(len, wide)])
        return np.frombuffer(b"".join(wide), np.uint8), offsets.astype(np.int64)


class LogForLog1p(Log1p):
    """The logarithm without its 1 +."""

    @staticmethod
    def logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
        logs: NDArray[np.float64] = np.log(values)
        return logs


class CodeWithoutUnknown(Id):
    """Places of a vocabulary that has forgotten to leave the first one free."""

    def codes(self, values: NDArray[Any]) -> NDArray[np.int64]:
        return np.maximum(Id.codes(self, values) - 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FeatureFault:
    kind: str
    of: tuple[type[FeatureSpec], ...]
    where: Where
    says: str
    change: Callable[[Any], FeatureSpec]
    stage: str = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelFault:
    kind: str
    checkpoint: str
    where: Where
    says: str
    change: Callable[[LegacyPort, Forest], None]


def port_faults(parts: Parts) -> tuple[Fault, ...]:
    """The faults that this port's features and model have room for."""
    return tuple(_faults(parts))


def put_fault(parts: Parts, fault: Fault) -> Parts:
    """New parts with the fault in them."""
    if fault.kind in _FEATURE_FAULTS:
        change = _FEATURE_FAULTS[fault.kind].change
        name = fault.checkpoint.partition(".")[2]
        features = tuple(change(f) if f.name == name else f for f in parts.features.features)
        return replace(parts, features=replace(parts.features, features=features))
    model = deepcopy(parts.model)
    _MODEL_FAULTS[fault.kind, fault.checkpoint].change(model, parts.artifact.forest)
    return replace(parts, model=model)


def _faults(parts: Parts) -> Iterator[Fault]:
    for feature in parts.features.features:
        for known in _FEATURE_FAULTS.values():
            if isinstance(feature, known.of):
                yield Fault(
                    kind=known.kind,
                    checkpoint=f"{known.stage}.{feature.name}",
                    where=known.where,
                    says=known.says,
                )
    for model_fault in _MODEL_FAULTS.values():
        if "category" not in model_fault.checkpoint or parts.features.discrete:
            yield Fault(
                kind=model_fault.kind,
                checkpoint=model_fault.checkpoint,
                where=model_fault.where,
                says=model_fault.says,
            )


def _as(kind: type[FeatureSpec]) -> Callable[[Any], FeatureSpec]:
    """The same parameters under another class's code."""
    return lambda feature: kind(**asdict(feature))


def _other_clock(feature: Hour | Weekday) -> FeatureSpec:
    """UTC taken for local time; where local time is UTC, Tokyo's instead."""
    return replace(feature, utc_offset_minutes=0 if feature.utc_offset_minutes else TOKYO_MINUTES)


def _other_seed(feature: Hash) -> FeatureSpec:
    return replace(feature, seed=(feature.seed + 1) % UINT32_END)


def _equal_goes_left(model: LegacyPort, _: Forest) -> None:
    model.walk.comparison = "<="


def _thresholds_as_spelled(model: LegacyPort, forest: Forest) -> None:
    model.walk.threshold = torch.from_numpy(forest.decimal.copy())


def _missing_the_other_way(model: LegacyPort, _: Forest) -> None:
    both = 2 * model.walk.num_features
    model.walk.column = (model.walk.column + model.walk.num_features) % both


def _one_tree_less(model: LegacyPort, _: Forest) -> None:
    model.num_trees -= 1


def _larger_leaf_weights(model: LegacyPort, _: Forest) -> None:
    model.leaf_bag.weight.mul_(1.01)


def _larger_category_weights(model: LegacyPort, _: Forest) -> None:
    model.category_bag.weight.mul_(1.01)


_FEATURE_FAULTS: Mapping[str, _FeatureFault] = MappingProxyType(
    {
        fault.kind: fault
        for fault in (
            _FeatureFault(
                kind="bucket_edge_side",
                of=(Bucket,),
                where="code",
                says="a value equal to a bucket's edge falls below it",
                change=_as(BucketReachedPastItsEdge),
            ),
            _FeatureFault(
                kind="hash_seed",
                of=(Hash,),
                where="configuration",
                says="the hash is seeded with one more",
                change=_other_seed,
            ),
            _FeatureFault(
                kind="hash_encoding",
                of=(Hash,),
                where="code",
                says="text is hashed as UTF-16 instead of UTF-8",
                change=_as(HashOfUtf16),
            ),
            _FeatureFault(
                kind="log_for_log1p",
                of=(Log1p,),
                where="code",
                says="log(x) is taken instead of log1p(x)",
                change=_as(LogForLog1p),
            ),
            _FeatureFault(
                kind="utc_offset",
                of=(Hour, Weekday),
                where="configuration",
                says="UTC is taken for local time (or Tokyo's clock for UTC)",
                change=_other_clock,
            ),
            _FeatureFault(
                kind="unknown_id_forgotten",
                of=(Id,),
                where="code",
                says="ids are encoded one column too low: no column is kept for the unknown",
                change=_as(CodeWithoutUnknown),
                stage="encoded",
            ),
        )
    }
)
_MODEL_FAULTS: Mapping[tuple[str, str], _ModelFault] = MappingProxyType(
    {
        (fault.kind, fault.checkpoint): fault
        for fault in (
            _ModelFault(
                kind="threshold_le",
                checkpoint="gbdt.leaves",
                where="code",
                says="a value equal to a threshold goes left (<= for <)",
                change=_equal_goes_left,
            ),
            _ModelFault(
                kind="float64_thresholds",
                checkpoint="gbdt.leaves",
                where="code",
                says="thresholds are compared as the file's decimals, not rounded to float32",
                change=_thresholds_as_spelled,
            ),
            _ModelFault(
                kind="nan_direction",
                checkpoint="gbdt.leaves",
                where="code",
                says="a missing value goes against each node's default direction",
                change=_missing_the_other_way,
            ),
            _ModelFault(
                kind="tree_limit",
                checkpoint="regression.leaf_sum",
                where="configuration",
                says="the last tree is left out of the sum",
                change=_one_tree_less,
            ),
            _ModelFault(
                kind="weight_scale",
                checkpoint="regression.leaf_sum",
                where="artifact",
                says="the leaves' weights are 1 % too large",
                change=_larger_leaf_weights,
            ),
            _ModelFault(
                kind="weight_scale",
                checkpoint="regression.category_sum",
                where="artifact",
                says="the categories' weights are 1 % too large",
                change=_larger_category_weights,
            ),
        )
    }
)
