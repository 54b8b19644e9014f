"""Real faults for drills: each changes the transformer's configuration, weights or features."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from modern.features import FeatureSet
from modern.features_discrete import Hash
from modern.features_numeric import Hour, Weekday
from modern.features_spec import FeatureSpec
from modern.transformer import Attention, FeedForward, module_paths
from modern.transformer_artifact import TransformerArtifact
from replay.capabilities import Fault

# Keras's default, where PyTorch's is 1e-5: what a careless translation brings.
OTHER_EPS = 1e-3
TOKYO_MINUTES = 540


def transformer_faults(artifact: TransformerArtifact) -> tuple[Fault, ...]:
    """The faults that this artifact has room for, in execution order."""
    return (*_feature_faults(artifact.feature_set), *_module_faults(artifact))


def put_fault(artifact: TransformerArtifact, fault: Fault) -> TransformerArtifact:
    """A copy with the fault in it; `fault` is one of `transformer_faults`."""
    if fault.kind in {"utc_offset", "hash_seed"}:
        name = fault.checkpoint.removeprefix("features.")
        features = tuple(
            _other_parameter(feature) if feature.name == name else feature
            for feature in artifact.feature_set.features
        )
        return replace(artifact, feature_set=replace(artifact.feature_set, features=features))
    model = deepcopy(artifact.model)
    module = model.get_submodule(fault.checkpoint)
    if fault.kind == "layernorm_eps":
        cast("nn.LayerNorm", module).eps = OTHER_EPS
    elif fault.kind == "gelu_tanh":
        cast("FeedForward", module).activation = nn.GELU(approximate="tanh")
    else:
        _scale_largest_row(_last_weight(module))
    return replace(artifact, model=model)


def _feature_faults(feature_set: FeatureSet) -> Iterator[Fault]:
    for feature in feature_set.features:
        if isinstance(feature, Hour | Weekday):
            yield Fault(
                kind="utc_offset",
                checkpoint=f"features.{feature.name}",
                where="configuration",
                says="UTC is taken for local time (or Tokyo's clock for UTC)",
            )
        elif isinstance(feature, Hash):
            yield Fault(
                kind="hash_seed",
                checkpoint=f"features.{feature.name}",
                where="configuration",
                says="the hash is seeded with one more",
            )


def _module_faults(artifact: TransformerArtifact) -> Iterator[Fault]:
    for path in module_paths(artifact.config.transformer):
        module = artifact.model.get_submodule(path)
        if isinstance(module, nn.LayerNorm):
            yield Fault(
                kind="layernorm_eps",
                checkpoint=path,
                where="configuration",
                says=f"the norm's epsilon is {OTHER_EPS:g} instead of {module.eps:g}",
            )
        if isinstance(module, FeedForward):
            yield Fault(
                kind="gelu_tanh",
                checkpoint=path,
                where="configuration",
                says="GELU is approximated by tanh",
            )
        if isinstance(module, Attention | FeedForward | nn.Linear):
            yield Fault(
                kind="weight_scale",
                checkpoint=path,
                where="artifact",
                says="one row of the weights that are applied last is 1 % too large",
            )


def _other_parameter(feature: FeatureSpec) -> FeatureSpec:
    if isinstance(feature, Hash):
        return replace(feature, seed=(feature.seed + 1) % 2**32)
    assert isinstance(feature, Hour | Weekday), "only these are offered"
    return replace(feature, utc_offset_minutes=0 if feature.utc_offset_minutes else TOKYO_MINUTES)


def _last_weight(module: nn.Module) -> Tensor:
    if isinstance(module, Attention):
        return module.out.weight
    if isinstance(module, FeedForward):
        return module.down.weight
    return cast("nn.Linear", module).weight


def _scale_largest_row(weight: Tensor) -> None:
    with torch.no_grad():
        row = int(weight.abs().sum(dim=1).argmax())
        weight[row] *= 1.01
