"""Features row by row: for each request, for each candidate, one value after another.

Written the way such code is found where it has grown: plain Python over nested records. Its
contract is docs/features.md; it shares nothing with the other translations.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from legacy.feature_set import Feature
from legacy.hashing import HashBuckets
from legacy.records import Row, records_from_batch
from replay.request import RequestBatch
from replay.trace import Array

Compute = Callable[[Row], Any]

NAN = math.nan
MICROSECONDS_AN_HOUR = 3_600_000_000
MICROSECONDS_A_DAY = 24 * MICROSECONDS_AN_HOUR
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; 0 is Monday
_JOIN = "\x1f"


class Extractor:
    """Computes features of whole batches; what was hashed once is remembered.

    Args:
        features: What can be asked for.
        strict_edges: Buckets that count edges e < x in place of e <= x: a fault for drills.
    """

    def __init__(self, features: Sequence[Feature], *, strict_edges: Collection[str] = ()) -> None:
        self._features = {feature.name: feature for feature in features}
        self._compute = {
            feature.name: _computation(feature, strict_edge=feature.name in strict_edges)
            for feature in features
        }

    def extract(self, batch: RequestBatch, names: Collection[str]) -> dict[str, Array]:
        """Feature name to its values, one per row of the feature's axis.

        float32 with NaN where a real feature is missing; int32 or int64 for discrete ones.

        Raises:
            LogError: The log lacks a field.
            ConfigError: A field has a type that its feature can not be computed from.
        """
        chosen = [self._features[name] for name in self._features if name in set(names)]
        found: dict[str, list[Any]] = {feature.name: [] for feature in chosen}
        steps = [
            (feature.rows, found[feature.name].append, self._compute[feature.name])
            for feature in chosen
        ]
        per_request = [(put, compute) for rows, put, compute in steps if rows == "request"]
        per_candidate = [(put, compute) for rows, put, compute in steps if rows == "candidate"]
        for request in records_from_batch(batch, chosen):
            for put, compute in per_request:
                put(compute(request))
            if per_candidate:
                for candidate in request["candidates"]:
                    row = {**request, **candidate}
                    for put, compute in per_candidate:
                        put(compute(row))
        return {feature.name: _array(found[feature.name], feature) for feature in chosen}


def _array(values: list[Any], feature: Feature) -> Array:
    if not feature.is_real:
        return np.array(values, dtype=feature.dtype)
    with np.errstate(over="ignore"):  # beyond float32's range is infinite
        return np.array(values, dtype=np.float64).astype(np.float32)


def _computation(feature: Feature, *, strict_edge: bool) -> Compute:
    if feature.kind == "bucket":
        return _bucket(feature, strict=strict_edge)
    return _BY_KIND[feature.kind](feature)


def _real(value: Any) -> float:
    """A logged number in float64; NaN where it is null, infinite or NaN."""
    if value is None:
        return NAN
    number = float(value)
    return number if math.isfinite(number) else NAN


def _number(feature: Feature) -> Compute:
    (source,) = feature.sources
    return lambda row: _real(row[source])


def _log1p(feature: Feature) -> Compute:
    (source,) = feature.sources

    def compute(row: Row) -> float:
        number = _real(row[source])
        return math.log1p(number) if number >= 0 else NAN

    return compute


def _hour(feature: Feature) -> Compute:
    (source,) = feature.sources
    offset = feature.parameters["utc_offset_minutes"] * 60_000_000

    def compute(row: Row) -> float:
        at = row[source]
        return NAN if at is None else float((at + offset) // MICROSECONDS_AN_HOUR % 24)

    return compute


def _weekday(feature: Feature) -> Compute:
    (source,) = feature.sources
    offset = feature.parameters["utc_offset_minutes"] * 60_000_000

    def compute(row: Row) -> float:
        at = row[source]
        if at is None:
            return NAN
        return float(((at + offset) // MICROSECONDS_A_DAY + _EPOCH_WEEKDAY) % 7)

    return compute


def _age(since: int | None, until: int | None) -> float:
    """log1p of the hours between two times, of 0 where they run backwards."""
    if since is None or until is None:
        return NAN
    return math.log1p(max(0, until - since) / MICROSECONDS_AN_HOUR)


def _recency(feature: Feature) -> Compute:
    since, until = feature.sources
    return lambda row: _age(row[since], row[until])


def _rate(feature: Feature) -> Compute:
    events, trials = feature.sources
    prior, weight = float(feature.parameters["prior"]), float(feature.parameters["weight"])

    def compute(row: Row) -> float:
        above = _real(row[events]) + prior * weight
        below = _real(row[trials]) + weight
        if below == 0:  # as IEEE 754 divides: Python would raise
            return NAN if above == 0 or math.isnan(above) else math.copysign(math.inf, above)
        return above / below

    return compute


def _tokens(feature: Feature) -> Compute:
    (source,) = feature.sources

    def compute(row: Row) -> float:
        text = row[source]
        # bytes.split knows ASCII white space alone; str.split would also cut at others.
        return NAN if text is None else len(text.encode().split())

    return compute


def _history_count(_: Feature) -> Compute:
    return lambda row: math.log1p(len(row["history"]))


def _history_recency(feature: Feature) -> Compute:
    (until,) = feature.sources

    def compute(row: Row) -> float:
        history = row["history"]
        return _age(history[-1]["history.at"], row[until]) if history else NAN

    return compute


def _history_matches(feature: Feature) -> Compute:
    (source,) = feature.sources
    field = f"history.{feature.parameters['field']}"

    def compute(row: Row) -> float:
        wanted = row[source]
        if wanted is None:
            return NAN
        return sum(1 for step in row["history"] if step[field] == wanted)

    return compute


def _bucket(feature: Feature, *, strict: bool) -> Compute:
    (source,) = feature.sources
    edges = [float(edge) for edge in feature.parameters["edges"]]
    count = bisect_left if strict else bisect_right  # edges e < x, or e <= x

    def compute(row: Row) -> int:
        number = _real(row[source])
        return 0 if math.isnan(number) else 1 + count(edges, number)

    return compute


def _hash(feature: Feature) -> Compute:
    bucket_of = HashBuckets(
        seed=feature.parameters["seed"],
        buckets=feature.parameters["buckets"],
        lower=feature.parameters["normalise"] == "lower",
    )
    sources = feature.sources

    def compute(row: Row) -> int:
        values = [row[source] for source in sources]
        return 0 if None in values else bucket_of(_JOIN.join(map(_text, values)))

    return compute


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


def _id(feature: Feature) -> Compute:
    (source,) = feature.sources

    def compute(row: Row) -> int:
        value = row[source]
        return -1 if value is None else value

    return compute


_BY_KIND: dict[str, Callable[[Feature], Compute]] = {
    "number": _number,
    "log1p": _log1p,
    "hour": _hour,
    "weekday": _weekday,
    "recency": _recency,
    "rate": _rate,
    "tokens": _tokens,
    "history_count": _history_count,
    "history_recency": _history_recency,
    "history_matches": _history_matches,
    "hash": _hash,
    "id": _id,
}
