"""A feature set as data: which features a model has, of which kinds, from which logged fields."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, get_args

from replay.checkpoint import RowAxis
from replay.errors import ArtifactError, ToolkitError

FORMAT = "parity.features/1"

RealKind = Literal[
    "number", "log1p", "hour", "weekday", "recency", "rate", "tokens",
    "history_count", "history_recency", "history_matches",
]  # fmt: skip
DiscreteKind = Literal["bucket", "hash", "id"]
REAL_KINDS: frozenset[str] = frozenset(get_args(RealKind))
DISCRETE_KINDS: frozenset[str] = frozenset(get_args(DiscreteKind))
EXACT_REAL_KINDS: frozenset[str] = frozenset({"hour", "weekday", "tokens", "history_matches"})

MAX_HASH_SOURCES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One feature, checked.

    Attributes:
        sources: Paths of the logged fields it reads; a history kind's own fields not counted.
        parameters: As in the file: everything but the name and the kind.
    """

    name: str
    kind: str
    sources: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_real(self) -> bool:
        """Whether it feeds the trees; the discrete ones feed the regression."""
        return self.kind in REAL_KINDS

    @property
    def rows(self) -> RowAxis:
        """The row axis of its checkpoint."""
        of_candidates = any(source.startswith("candidate.") for source in self.sources)
        return "candidate" if of_candidates else "request"

    @property
    def dtype(self) -> str:
        """The dtype of its values, by its numpy name."""
        if self.is_real:
            return "float32"
        return "int64" if self.kind == "id" else "int32"

    @property
    def cardinality(self) -> int:
        """How many codes a discrete feature has."""
        if self.kind == "bucket":
            return len(self.parameters["edges"]) + 2
        if self.kind == "hash":
            return int(self.parameters["buckets"])
        assert self.kind == "id", f"{self.name}: a {self.kind} feature has no codes"
        return len(self.parameters["vocabulary"]) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet:
    """The features of one model, in the order of the file.

    Attributes:
        training_id: Of the training that filled the vocabularies; None in a set to train with.
        money: Path of the bid, where the log has one.
    """

    training_id: str | None
    money: str | None
    features: tuple[Feature, ...]

    @property
    def real(self) -> tuple[Feature, ...]:
        """What the trees read, in their order."""
        return tuple(feature for feature in self.features if feature.is_real)

    @property
    def discrete(self) -> tuple[Feature, ...]:
        """What the regression reads, in the order of its columns."""
        return tuple(feature for feature in self.features if not feature.is_real)

    def to_json(self) -> dict[str, Any]:
        """The file's content; `feature_set_from_json` is its inverse."""
        return {
            "format": FORMAT,
            "training_id": self.training_id,
            "money": self.money,
            "features": [{"name": f.name, "kind": f.kind, **f.parameters} for f in self.features],
        }


def feature_set_from_json(
    value: object, *, where: str, trained: bool, error: type[ToolkitError] = ArtifactError
) -> FeatureSet:
    """Check a feature set and take it over.

    Args:
        value: The parsed file.
        where: The file, for errors.
        trained: Whether it comes from a training: vocabularies and the id are then required.
        error: Raised when it can not be used.
    """
    reader = _Reader(where=where, trained=trained, error=error)
    return reader.feature_set(value)


# Parameters by kind: name to the rule its value has to keep.
_PARAMETERS: Mapping[str, Mapping[str, str]] = {
    "number": {"source": "source"},
    "log1p": {"source": "source"},
    "hour": {"source": "source", "utc_offset_minutes": "offset"},
    "weekday": {"source": "source", "utc_offset_minutes": "offset"},
    "recency": {"since": "source", "until": "source"},
    "rate": {"events": "source", "trials": "source", "prior": "finite", "weight": "positive"},
    "tokens": {"source": "source"},
    "history_count": {},
    "history_recency": {"until": "source"},
    "history_matches": {"field": "field", "source": "source"},
    "bucket": {"source": "source", "edges": "edges"},
    "hash": {"sources": "sources", "seed": "seed", "buckets": "buckets", "normalise": "normalise"},
    "id": {"source": "source", "vocabulary": "vocabulary"},
}

_SOURCE = re.compile(r"logged_at|(context|user|candidate)\.[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MINUTES_A_DAY = 1440


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_source(value: object) -> bool:
    return isinstance(value, str) and _SOURCE.fullmatch(value) is not None


def _ascends(value: object, admits: Callable[[Any], bool]) -> bool:
    if not isinstance(value, list) or not all(admits(item) for item in value):
        return False
    return all(low < high for low, high in pairwise(value))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "source": (_is_source, "logged_at, context.<field>, user.<field> or candidate.<field>"),
    "sources": (
        lambda v: (
            isinstance(v, list)
            and 1 <= len(v) <= MAX_HASH_SOURCES
            and all(_is_source(source) for source in v)
        ),
        "a list of one to three sources",
    ),
    "field": (
        lambda v: isinstance(v, str) and _FIELD.fullmatch(v) is not None,
        "the name of a field of the history",
    ),
    "offset": (
        lambda v: _is_int(v) and abs(v) <= _MINUTES_A_DAY,
        "a whole number of minutes within a day",
    ),
    "finite": (_is_finite, "a finite number"),
    "positive": (lambda v: _is_finite(v) and v > 0, "a finite number above 0"),
    "edges": (
        lambda v: _ascends(v, _is_finite) and len(v) > 0,
        "a list of finite numbers, each above the one before",
    ),
    "seed": (lambda v: _is_int(v) and 0 <= v < 2**32, "an unsigned 32-bit number"),
    "buckets": (lambda v: _is_int(v) and 2 <= v < 2**31, "a number of buckets, at least 2"),
    "normalise": (lambda v: v in ("none", "lower"), "'none' or 'lower'"),
    "vocabulary": (lambda v: _ascends(v, _is_id), "a list of ascending ids from 0 to 2^63 - 1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    where: str
    trained: bool
    error: type[ToolkitError]

    def feature_set(self, value: object) -> FeatureSet:
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else type(value).__name__
            raise self._wrong(f"the feature set's format is {found!r}, not {FORMAT!r}.")
        money = value.get("money")
        if money is not None and not (_is_source(money) and money.startswith("candidate.")):
            raise self._wrong(f"'money' is {money!r}, not null or candidate.<field>.")
        training_id = value.get("training_id")
        if self.trained and not isinstance(training_id, str):
            raise self._wrong("the feature set carries no training id.")
        listed = value.get("features")
        if not isinstance(listed, list) or not listed:
            raise self._wrong("'features' is not a list of features.")
        features = tuple(self.feature(item) for item in listed)
        self._unique(feature.name for feature in features)
        return FeatureSet(training_id=training_id, money=money, features=features)

    def feature(self, value: object) -> Feature:
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise self._wrong(f"{value!r} is not a feature with a name.")
        name, kind = value["name"], value.get("kind")
        if _NAME.fullmatch(name) is None:
            raise self._wrong(f"feature name {name!r} is not lower-case words joined by '_'.")
        if not isinstance(kind, str) or kind not in _PARAMETERS:
            known = ", ".join(sorted(_PARAMETERS))
            raise self._wrong(f"feature {name!r} is of unknown kind {kind!r} (known: {known}).")
        parameters = {k: v for k, v in value.items() if k not in ("name", "kind")}
        self._check(name, kind, parameters)
        paths: list[str] = []
        for parameter, rule in _PARAMETERS[kind].items():
            if rule == "source":
                paths.append(parameters[parameter])
            elif rule == "sources":
                paths.extend(parameters[parameter])
        return Feature(name=name, kind=kind, sources=tuple(paths), parameters=parameters)

    def _check(self, name: str, kind: str, parameters: dict[str, Any]) -> None:
        expected = _PARAMETERS[kind]
        if unknown := sorted(parameters.keys() - expected.keys()):
            raise self._wrong(f"feature {name!r} ({kind}) has unknown parameters {unknown}.")
        for parameter, rule in expected.items():
            if parameter == "vocabulary" and not self.trained and parameter not in parameters:
                continue
            if parameter not in parameters:
                raise self._wrong(f"feature {name!r} ({kind}) lacks its parameter {parameter!r}.")
            admits, says = _RULES[rule]
            if not admits(parameters[parameter]):
                shown = json.dumps(parameters[parameter])[:80]
                raise self._wrong(
                    f"feature {name!r} ({kind}): {parameter!r} is {shown}, which is not {says}."
                )

    def _unique(self, names: Iterable[str]) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise self._wrong(f"two features are called {name!r}.")
            seen.add(name)

    def _wrong(self, what: str) -> ToolkitError:
        return self.error(
            what,
            where=self.where,
            fix="correct the feature set (kinds and parameters: docs/features.md)"
            if not self.trained
            else "train the model again: python -m legacy train",
        )
