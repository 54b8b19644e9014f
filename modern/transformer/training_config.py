"""What one training of the transformer was asked for, as it is stored in its manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import modern
from modern.transformer.config import HistoryConfig, TransformerConfig
from replay.errors import ArtifactError, ConfigError, ToolkitError


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
        negative_rates: Share of each task's negatives that is learned from, in the order of the
            tasks (modern/training/sampling.py makes up for it exactly); one share is that of all tasks.
        attribution_hours: A conversion counts within so long after its request.
        frozen: Modules whose loaded weights stay as they are in the first `frozen_epochs`
            (as many as `epochs`: throughout); for a training that starts from another's weights.
        frozen_epochs: Then they learn as well.
    """

    seed: int = 7
    epochs: int = 20
    patience: int = 3
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 0.5
    kept_back_share: float = 0.125
    threads: int = 1
    negative_rates: tuple[float, ...] = (1.0,)
    attribution_hours: float = 24.0
    frozen: tuple[str, ...] = ()
    frozen_epochs: int = 0

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
        if not self.negative_rates or not all(0 < rate <= 1 for rate in self.negative_rates):
            raise _refusal(
                f"negative_rates are {list(self.negative_rates)}", "give shares above 0, at most 1"
            )
        if not self.attribution_hours >= 0:
            raise _refusal(f"attribution_hours is {self.attribution_hours}", "give 0 or more")
        if self.frozen_epochs < 0 or bool(self.frozen) != bool(self.frozen_epochs):
            raise _refusal(
                f"{', '.join(self.frozen) or 'nothing'} is frozen for {self.frozen_epochs} epochs",
                "name modules and for how many epochs, or neither",
            )

    def rates_of(self, tasks: Sequence[str]) -> tuple[float, ...]:
        """The share of each task's negatives that is learned from.

        Raises:
            ConfigError: There are several shares, and not one a task.
        """
        if len(self.negative_rates) == 1:
            return self.negative_rates * len(tasks)
        if len(self.negative_rates) != len(tasks):
            raise _refusal(
                f"there are {len(self.negative_rates)} negative_rates for {', '.join(tasks)}",
                "give one for all tasks, or one for each",
            )
        return self.negative_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class ModernConfig:
    """What is built, how much history it reads, and how it is trained."""

    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        self.training.rates_of(self.transformer.tasks)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `config_from_json` is its inverse."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


PARTS: Mapping[str, type[Any]] = {
    "transformer": TransformerConfig,
    "history": HistoryConfig,
    "training": TrainingConfig,
}


def config_from_json(value: object, *, where: str) -> ModernConfig:
    """The configuration that `ModernConfig.to_json` wrote, every field of it.

    Raises:
        ArtifactError: A field is absent, unknown, of another type or out of range.
    """
    if not isinstance(value, dict) or set(value) != set(PARTS):
        raise _damaged(f"the configuration holds {value!r}, expected {', '.join(PARTS)}", where)
    for name, kind in PARTS.items():
        known = [f.name for f in fields(kind)]
        if not isinstance(value[name], dict) or set(value[name]) != set(known):
            raise _damaged(f"{name} holds {value[name]!r}, expected {', '.join(known)}", where)
    try:
        return _config(value)
    except ConfigError as error:
        raise _damaged(error.what.rstrip("."), where) from error


def load_variant(name: str) -> ModernConfig:
    """A configuration by the name of a file in modern/variants, or by a path.

    The file states what differs from the defaults: `{"transformer": {"form": "plain"}}`.

    Raises:
        ConfigError: There is no such variant, or it names a field that is unknown, of another type
            or out of range.
    """
    folder = files(modern) / "variants"
    known = sorted(Path(str(path)).stem for path in folder.iterdir())
    path = Path(str(folder / f"{name}.json")) if name in known else Path(name)
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the variant {name!r} can not be read: {error} (known: {', '.join(known)}).",
            where="--variant",
            fix="name a known variant, or a JSON file of your own (docs/modern.md)",
        ) from error
    unknown = set(value) - set(PARTS) if isinstance(value, dict) else {"no object"}
    if unknown:
        raise _refusal(
            f"the variant holds {', '.join(sorted(unknown))}", f"use {', '.join(PARTS)}", str(path)
        )
    try:
        return _config(value)
    except ToolkitError as error:
        raise _refusal(error.what.rstrip("."), "correct the file", str(path)) from error


_Config = TypeVar("_Config")


def _config(value: Mapping[str, Any]) -> ModernConfig:
    return ModernConfig(**{name: _part(kind, value.get(name, {})) for name, kind in PARTS.items()})


def _part(kind: type[_Config], value: Mapping[str, Any]) -> _Config:
    types = {f.name: str(f.type) for f in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    if not isinstance(value, dict) or not set(value) <= set(types):
        raise _refusal(f"{value!r} is not made of {', '.join(types)}", "correct it")
    return kind(**{name: _checked(name, types[name], found) for name, found in value.items()})


def _checked(name: str, declared: str, value: object) -> object:
    """The value, when it is of the declared type; a list becomes a tuple."""
    many = declared.startswith("tuple[")
    single = declared.removeprefix("tuple[").removesuffix(", ...]")
    kind = {"int": int, "float": float}.get(single, str)
    found = value if many and isinstance(value, list) else [value]
    if isinstance(value, list) != many or any(type(one) is not kind for one in found):
        noun = f"list of {kind.__name__}" if many else kind.__name__
        raise _refusal(f"{name} is {value!r}, which is no {noun}", "correct it")
    return tuple(found) if many else value


def _refusal(what: str, fix: str, where: str = "the training's configuration") -> ConfigError:
    return ConfigError(f"{what}.", where=where, fix=fix)


def _damaged(what: str, where: str) -> ArtifactError:
    return ArtifactError(f"{what}.", where=where, fix="train again: python -m modern train")
