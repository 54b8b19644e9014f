"""A fault of a port: where it can be, what it says, and the change that makes it real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from modern.features.spec import FeatureSpec
from modern.port.parts import Parts
from replay.capabilities import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureFault:
    """A fault of every feature of some kinds.

    Attributes:
        of: The kinds of features that can have it.
        change: From a feature to the faulty one; None where this feature has no room for it.
        stage: Where it is found: at the feature, or at its encoding.
    """

    kind: str
    of: tuple[type[FeatureSpec], ...]
    where: Where
    says: str
    change: Callable[[Any], FeatureSpec | None]
    stage: Literal["features", "encoded"] = "features"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsFault:
    """A fault of everything after the features.

    Attributes:
        change: From parts to the faulty ones; it leaves what it is given as it is.
    """

    kind: str
    checkpoint: str
    where: Where
    says: str
    change: Callable[[Parts], Parts]


def as_kind(kind: type[FeatureSpec]) -> Callable[[Any], FeatureSpec]:
    """The same parameters under another class's code."""
    return lambda feature: kind(**asdict(feature))
