"""The features of docs/features.md, computed a column at a time over a batch of requests."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from modern.features.columns import Columns
from modern.features.discrete import Bucket, Hash, Id
from modern.features.history import HistoryCount, HistoryMatches, HistoryRecency, Tokens
from modern.features.numeric import Hour, Log1p, Number, Rate, Recency, Weekday
from modern.features.spec import DiscreteSpec, FeatureSpec, RealSpec, broken, spec_from_json
from modern.features.steps import extended, steps_from_json
from replay.checkpoint import RowAxis
from replay.errors import ArtifactError, ConfigError
from replay.request import RequestBatch

FORMAT = "parity.features/1"
KINDS: Mapping[str, type[FeatureSpec]] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (
            *(Number, Log1p, Hour, Weekday, Recency, Rate, Tokens),
            *(HistoryCount, HistoryRecency, HistoryMatches),
            *(Bucket, Hash, Id),
        )
    }
)


@dataclass(frozen=True)
class FeatureSet:
    """The features of one training, in the order of its file.

    Attributes:
        training_id: 32 lowercase hexadecimal digits.
        money: Path of the bid, or None where the log has none.
        features: Every feature of request and candidate; `real` feed the trees, `discrete` the
            regression's categories.
        steps: Features of the history's steps, named `history.<name>`; the transformer's alone.
        likes: Step feature to the candidate's feature whose embedding it shares.
    """

    training_id: str
    money: str | None
    features: tuple[FeatureSpec, ...]
    steps: tuple[FeatureSpec, ...] = ()
    likes: Mapping[str, str] = field(default_factory=dict)

    @property
    def everything(self) -> tuple[FeatureSpec, ...]:
        """Every feature, those of the steps last."""
        return (*self.features, *self.steps)

    @cached_property
    def by_name(self) -> Mapping[str, FeatureSpec]:
        """Name to feature, in the order of the file, those of the steps last."""
        return MappingProxyType({feature.name: feature for feature in self.everything})

    @cached_property
    def real(self) -> tuple[RealSpec, ...]:
        """The real features."""
        return tuple(f for f in self.features if isinstance(f, RealSpec))

    @cached_property
    def discrete(self) -> tuple[DiscreteSpec, ...]:
        """The discrete features; each has a `cardinality` and `codes(values)`."""
        return tuple(f for f in self.features if isinstance(f, DiscreteSpec))

    @cached_property
    def first_columns(self) -> Mapping[str, int]:
        """Discrete feature to its first column in the regression's category block."""
        firsts, column = {}, 0
        for feature in self.discrete:
            firsts[feature.name] = column
            column += feature.cardinality
        return MappingProxyType(firsts)

    @property
    def num_columns(self) -> int:
        """Columns of the category block."""
        return sum(feature.cardinality for feature in self.discrete)

    def axis(self, name: str) -> RowAxis:
        """Whether a feature has one value a request, a candidate or a step.

        Raises:
            ConfigError: No feature has that name.
        """
        return self[name].axis

    def __getitem__(self, name: str) -> FeatureSpec:
        if name not in self.by_name:
            raise ConfigError(
                f"no feature is called {name!r} (known: {', '.join(self.by_name)}).",
                where="the artifact's features.json",
                fix="name a feature of the set",
            )
        return self.by_name[name]


def compute_features(
    batch: RequestBatch, feature_set: FeatureSet, *, names: Collection[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Every feature of every row, by feature name.

    Args:
        batch: Requests in canonical form.
        feature_set: What to compute.
        names: Compute these only; None for all.

    Returns:
        In the order of the feature set: [request], [candidate] or [step] as `feature_set.axis` says,
        float32 with NaN for missing (real), int32 (bucket, hash) or int64 (id).

    Raises:
        ConfigError: A name is no feature's.
        LogError: The log lacks a field, or holds another type there.
    """
    wanted = set(feature_set.by_name) if names is None else {feature_set[n].name for n in names}
    columns = Columns(batch)
    return {f.name: f.compute(columns) for f in feature_set.everything if f.name in wanted}


def open_feature_set(path: Path) -> FeatureSet:
    """Read and check a features.json.

    Raises:
        ArtifactError: The file is missing, is no JSON, or breaks a rule of docs/features.md.
    """
    try:
        value = json.loads(path.read_bytes(), parse_constant=_no_constant)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"the feature set can not be read: {error}.",
            where=str(path),
            fix="open the artifact's folder, as `python -m legacy train` wrote it",
        ) from error
    return feature_set_from_json(value, where=str(path))


def open_with_steps(path: Path, history: Path | None) -> tuple[bytes, FeatureSet]:
    """A features.json, with the step features of another file put into it where one is named.

    Returns:
        The text of the whole, and the feature set that it declares.

    Raises:
        ArtifactError: A file can not be read or breaks a rule, or there are step features in both.
    """
    plain = open_feature_set(path)
    if history is None:
        return path.read_bytes(), plain
    text = extended(path.read_bytes(), history)
    return text, feature_set_from_json(json.loads(text), where=str(history))


def feature_set_from_json(value: Any, *, where: str) -> FeatureSet:
    """The feature set that a plain JSON value declares.

    Raises:
        ArtifactError: It breaks a rule of docs/features.md; `where` leads to the place.
    """
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        found = value.get("format") if isinstance(value, dict) else value
        raise broken(f"the format is {found!r}, not {FORMAT!r}", where)
    training_id, money, entries = (value.get(k) for k in ("training_id", "money", "features"))
    if not isinstance(training_id, str) or not is_training_id(training_id):
        raise broken(f"training_id {training_id!r} is not 32 lowercase hexadecimal digits", where)
    if money is not None and not (isinstance(money, str) and money.startswith("candidate.")):
        raise broken(f"money {money!r} is no field of the candidate", where)
    if not isinstance(entries, list) or not entries:
        raise broken("it lists no features", where)
    features: list[FeatureSpec] = []
    for place, entry in enumerate(entries):
        feature = _feature(entry, f"{where}, features[{place}]")
        if any(feature.name == earlier.name for earlier in features):
            raise broken(f"two features are called {feature.name!r}", where)
        features.append(feature)
    steps, likes = steps_from_json(value.get("history", []), features, where=where)
    return FeatureSet(training_id, money, tuple(features), steps, likes)


def is_training_id(value: str) -> bool:
    """Whether it is 32 lowercase hexadecimal digits."""
    return len(value) == 32 and set(value) <= set("0123456789abcdef")


def _feature(entry: Any, where: str) -> FeatureSpec:
    kind = entry.get("kind") if isinstance(entry, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise broken(f"{kind!r} is no kind of feature (known: {', '.join(KINDS)})", where)
    return spec_from_json(KINDS[kind], entry, where=where)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
