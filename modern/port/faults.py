"""Real faults for drills: each changes the port's code, configuration or weights, not its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modern.features.spec import FeatureSpec
from modern.port.faults_discrete import DISCRETE_FAULTS
from modern.port.faults_kinds import FeatureFault
from modern.port.faults_model import MODEL_FAULTS
from modern.port.faults_numeric import NUMERIC_FAULTS
from modern.port.parts import Parts
from replay.capabilities import Fault

_FEATURE_FAULTS: tuple[FeatureFault, ...] = (*NUMERIC_FAULTS, *DISCRETE_FAULTS)
# Only logs with bids have these.
_OUTPUTS_OF_MONEY = frozenset({"ecpm_micros"})


def port_faults(parts: Parts) -> tuple[Fault, ...]:
    """The faults that this port's features and model have room for."""
    return tuple(_faults(parts))


def put_fault(parts: Parts, fault: Fault) -> Parts:
    """New parts with the fault in them; `fault` is one of `port_faults`."""
    stage, _, name = fault.checkpoint.partition(".")
    if stage in {"features", "encoded"}:
        features = tuple(
            _changed(feature, fault) if feature.name == name else feature
            for feature in parts.features.features
        )
        return replace(parts, features=replace(parts.features, features=features))
    place = (fault.kind, fault.checkpoint)
    known = next(one for one in MODEL_FAULTS if (one.kind, one.checkpoint) == place)
    return known.change(parts)


def _faults(parts: Parts) -> Iterator[Fault]:
    for feature in parts.features.features:
        for known in _FEATURE_FAULTS:
            if isinstance(feature, known.of) and known.change(feature) is not None:
                yield Fault(
                    kind=known.kind,
                    checkpoint=f"{known.stage}.{feature.name}",
                    where=known.where,
                    says=known.says,
                )
    for model_fault in MODEL_FAULTS:
        has_money = parts.features.money is not None
        if ("category" in model_fault.checkpoint and not parts.features.discrete) or (
            model_fault.checkpoint in _OUTPUTS_OF_MONEY and not has_money
        ):
            continue
        yield Fault(
            kind=model_fault.kind,
            checkpoint=model_fault.checkpoint,
            where=model_fault.where,
            says=model_fault.says,
        )


def _changed(feature: FeatureSpec, fault: Fault) -> FeatureSpec:
    for known in _FEATURE_FAULTS:
        same = known.kind == fault.kind and fault.checkpoint.startswith(f"{known.stage}.")
        changed = known.change(feature) if same and isinstance(feature, known.of) else None
        if changed is not None:
            return changed
    return feature
