"""What one training of the transformer was asked for, as it is stored in its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from modern.transformer import TransformerConfig
from replay.errors import ArtifactError, ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How the weights are fitted.

    Attributes:
        seed: Decides the initial weights, the order of rows, dropout, and which requests are
            kept back; the same seed on the same log gives the same bytes.
        epochs: At most so many passes over the rows.
        patience: Epochs without a lower log loss on the stopping part before it stops.
        batch_size: Labelled candidates a step.
        learning_rate: Of AdamW, after a warm-up over the first half epoch.
        weight_decay: Of AdamW.
        kept_back_share: Share of requests, by hash, that only the calibration sees.
        threads: Native threads; sums of another number of threads have other last bits.
    """

    seed: int = 7
    epochs: int = 20
    patience: int = 3
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.5
    kept_back_share: float = 0.125
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise _refusal(f"{name} is {getattr(self, name)}", "give at least 1")
        if not 0 <= self.seed < 2**63:
            raise _refusal(f"seed is {self.seed}", "give a whole number from 0 to 2^63 - 1")
        if not 0 < self.kept_back_share < 0.5:
            raise _refusal(
                f"kept_back_share is {self.kept_back_share}", "give a share above 0 and below 0.5"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModernConfig:
    """The size of the model and how it is trained."""

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `config_from_json` is its inverse."""
        return asdict(self)


def config_from_json(value: object, *, where: str) -> ModernConfig:
    """The configuration that `ModernConfig.to_json` wrote.

    Raises:
        ArtifactError: A field is absent, unknown, of another type or out of range.
    """
    parts = _fields_of(value, {"transformer": dict, "training": dict}, where)
    try:
        return ModernConfig(
            transformer=_dataclass_from_json(TransformerConfig, parts["transformer"], where),
            training=_dataclass_from_json(TrainingConfig, parts["training"], where),
        )
    except ConfigError as error:
        raise _damaged(error.what, where) from error


_Config = TypeVar("_Config", TransformerConfig, TrainingConfig)


def _dataclass_from_json(kind: type[_Config], value: object, where: str) -> _Config:
    example = kind()
    types = {f.name: type(getattr(example, f.name)) for f in fields(kind)}
    return kind(**_fields_of(value, types, where))


def _fields_of(value: object, types: Mapping[str, type], where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(types):
        raise _damaged(f"the configuration holds {value!r}, expected {', '.join(types)}.", where)
    for name, kind in types.items():
        if type(value[name]) is not kind:
            raise _damaged(f"{name} is {value[name]!r}, which is no {kind.__name__}.", where)
    return value


def _refusal(what: str, fix: str) -> ConfigError:
    return ConfigError(f"{what}.", where="the training's configuration", fix=fix)


def _damaged(what: str, where: str) -> ArtifactError:
    return ArtifactError(what, where=where, fix="train again: python -m modern train")
