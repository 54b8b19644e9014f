"""Labelled candidates of logged days, as the columns that training reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from legacy.feature_set import Feature, FeatureSet
from legacy.features import Extractor
from replay.errors import ConfigError
from replay.logs.parquet import open_day, read_shard
from replay.request import RequestBatch
from replay.trace import Array

Part = Literal["trees", "regression", "calibration"]
# Trees and regression need clicks most; Platt's two numbers are content with the rest. No
# request is in two parts: a regression on the rows that grew its trees trusts them too much.
SHARES: dict[Part, float] = {"trees": 0.5, "regression": 0.35, "calibration": 0.15}
# An id seen less often shares the weight of the unknown ones, which is so learned as well.
MIN_ID_COUNT = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingRows:
    """Labelled candidates, one row each.

    Attributes:
        request_ids: [row], of each candidate's request.
        clicks: float32 [row], 0 or 1.
        features: Feature name to [row], request features repeated for each candidate.
        read: Requests read, valid or not.
        rejected: Requests rejected by validation, by reason.
    """

    request_ids: NDArray[np.object_]
    clicks: NDArray[np.float32]
    features: dict[str, Array]
    read: int
    rejected: Counter[str]

    def take(self, chosen: NDArray[Any]) -> TrainingRows:
        """The rows of an index or a mask."""
        return replace(
            self,
            request_ids=self.request_ids[chosen],
            clicks=self.clicks[chosen],
            features={name: values[chosen] for name, values in self.features.items()},
        )

    def matrix(self, features: Iterable[Feature]) -> NDArray[np.float32]:
        """[row, feature] of real features, NaN for missing."""
        return np.stack([self.features[feature.name] for feature in features], axis=1)


def read_rows(logs: Path, days: Sequence[date], features: FeatureSet) -> TrainingRows:
    """Extract the labelled candidates of some days; the features of others are never computed.

    Raises:
        LogError: A day is missing or unreadable, or lacks a field of the feature set.
        ConfigError: There is no labelled candidate.
    """
    extractor = Extractor(features.features)
    request_ids: list[NDArray[np.object_]] = []
    clicks: list[NDArray[np.float32]] = []
    columns: dict[str, list[Array]] = {feature.name: [] for feature in features.features}
    read, rejected = 0, Counter[str]()
    for day in days:
        for shard in open_day(logs, day).shards:
            validated = read_shard(shard)
            read += validated.read
            rejected.update(rejection.reason for rejection in validated.rejections)
            batch = labelled(validated.batch)
            values = extractor.extract(batch, columns)
            of = batch.keys.request_of("candidate")
            for feature in features.features:
                own = values[feature.name]
                columns[feature.name].append(own[of] if feature.rows == "request" else own)
            ids = batch.keys.request_ids.to_numpy(zero_copy_only=False)
            request_ids.append(ids.astype(object)[of])
            clicks.append(_float32(batch.column("candidate.click")))
    if sum(map(len, clicks)) == 0:
        raise ConfigError(
            "no candidate of these days is labelled.",
            where=f"{logs}, {', '.join(map(str, days))}",
            fix="train on days whose shown candidates carry a click of 0 or 1",
        )
    return TrainingRows(
        request_ids=np.concatenate(request_ids),
        clicks=np.concatenate(clicks),
        features={name: np.concatenate(parts) for name, parts in columns.items()},
        read=read,
        rejected=rejected,
    )


def labelled(batch: RequestBatch) -> RequestBatch:
    """The batch with its labelled candidates alone; requests may be left without any."""
    candidates = batch.records.column("candidates")
    keep = batch.column("candidate.click").is_valid().to_numpy(zero_copy_only=False)
    if candidates.type.value_type.get_field_index("shown") >= 0:
        shown = batch.column("candidate.shown").fill_null(False)
        keep = keep & shown.to_numpy(zero_copy_only=False)
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    offsets = kept_before[batch.keys.candidate_offsets].astype(np.int32)
    rows = candidates.values.take(pa.array(np.flatnonzero(keep)))
    kept = pa.ListArray.from_arrays(pa.array(offsets), rows)
    place = batch.records.schema.get_field_index("candidates")
    columns = list(batch.records.columns)
    columns[place] = kept.cast(candidates.type)
    return RequestBatch(pa.RecordBatch.from_arrays(columns, schema=batch.records.schema))


def parts_of(rows: TrainingRows, *, seed: int) -> dict[Part, TrainingRows]:
    """Split rows by a hash of their request into `SHARES`; no request is in two parts."""
    drawn = {id_: _uniform(id_, seed) for id_ in set(rows.request_ids.tolist())}
    place = np.array([drawn[id_] for id_ in rows.request_ids.tolist()])
    parts: dict[Part, TrainingRows] = {}
    low = 0.0
    for part, share in SHARES.items():
        parts[part] = rows.take((place >= low) & (place < low + share))
        low += share
    return parts


def with_vocabularies(features: FeatureSet, rows: TrainingRows) -> FeatureSet:
    """The feature set with the ids that were seen often enough, ascending."""
    filled = []
    for feature in features.features:
        if feature.kind == "id" and "vocabulary" not in feature.parameters:
            ids, counts = np.unique(rows.features[feature.name], return_counts=True)
            known = ids[(counts >= MIN_ID_COUNT) & (ids >= 0)].tolist()
            parameters = {**feature.parameters, "vocabulary": known}
            filled.append(replace(feature, parameters=parameters))
        else:
            filled.append(feature)
    return replace(features, features=tuple(filled))


def _uniform(request_id: str, seed: int) -> float:
    """A number in [0, 1) that a request keeps, whatever else is in the log."""
    digest = hashlib.sha256(f"{seed}/{request_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _float32(column: pa.Array) -> NDArray[np.float32]:
    values: NDArray[np.float32] = column.to_numpy(zero_copy_only=False).astype(np.float32)
    return values
