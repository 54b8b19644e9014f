"""The catalogue: mistakes as they happen, and which explanations of them are right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from parity.drill.catalogue_features import FEATURE_MISTAKES
from parity.drill.catalogue_model import MODEL_MISTAKES
from parity.drill.catalogue_values import VALUE_MISTAKES, ValueMistake
from parity.log_plants import LOG_KINDS
from replay.checkpoint import Stage

# Real faults that a stack offers, by the name of their kind, and the diagnoses that are right.
REAL_MISTAKES: Mapping[str, tuple[str, ...]] = {**FEATURE_MISTAKES, **MODEL_MISTAKES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kind of mistake of the catalogue.

    Attributes:
        name: What it is called.
        means: How it is planted: "real" by the stack's own faults, "log" by a misread field,
            "value" by what it makes of recorded values.
        stages: Where it can stand; empty for wherever a stack offers it.
    """

    name: str
    means: str
    stages: tuple[Stage, ...] = ()


def entries() -> Iterator[Entry]:
    """Every kind of mistake that is known."""
    for name in REAL_MISTAKES:
        yield Entry(name=name, means="real")
    for name in LOG_KINDS:
        yield Entry(name=name, means="log", stages=("log",))
    for mistake in VALUE_MISTAKES:
        yield Entry(name=mistake.name, means="value", stages=mistake.stages)


__all__ = ["REAL_MISTAKES", "VALUE_MISTAKES", "Entry", "ValueMistake", "entries"]
