"""Requests of logged days with their labelled candidates, as a training reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modern.config import ModernConfig
from modern.features import FeatureSet
from modern.inputs import (
    ModelInputs,
    concat_inputs,
    features_read,
    inputs_from_batch,
    rows_of_requests,
)
from modern.transformer_config import Task
from replay.errors import ConfigError, LogError
from replay.logs.parquet import LoggedDay, read_shard
from replay.request import RequestBatch, batch_from_records

MICROS_OF_A_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Which logged days serve what; the days after `held_out` are left for the replay."""

    train: tuple[date, ...]
    held_out: date


def choose_days(
    logged: Sequence[date],
    *,
    first: date | None = None,
    last: date | None = None,
    held_out: date | None = None,
) -> Days:
    """The days to train on and the day to judge on.

    Args:
        logged: The days there are, in order.
        first: The first training day; by default the log's first.
        last: The last training day, included; by default the one before the held-out day.
        held_out: By default the day before the last one, which is left for the replay.

    Raises:
        ConfigError: There are too few days, a day that is not logged, or the held-out day
            is not after the training days.
    """
    known = ", ".join(day.isoformat() for day in logged) or "none"
    if held_out is None:
        if len(logged) < 3:
            raise _refusal(
                f"the log has {len(logged)} days ({known}); a training needs one to learn from, "
                "one to judge on and one to replay."
            )
        held_out = logged[-2]
    for day in (held_out, first, last):
        if day is not None and day not in logged:
            raise _refusal(f"the log has no day {day.isoformat()} (there are: {known}).")
    train = tuple(
        day
        for day in logged
        if (first is None or day >= first) and (day < held_out if last is None else day <= last)
    )
    if not train or train[-1] >= held_out:
        asked = ", ".join(day.isoformat() for day in train) or "none"
        raise _refusal(
            f"the training days ({asked}) do not all lie before the held-out {held_out.isoformat()}."
        )
    return Days(train=train, held_out=held_out)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledRequests:
    """Requests with their labelled candidates, and what became of these.

    Attributes:
        inputs: Features of the requests, of their labelled candidates, of the steps that are read.
        labels: [candidate, task] float32, 0 or 1; NaN where the task's outcome is not known.
        day: [request] UTC date of the request, as `date.toordinal` counts.
        request_ids: [request] text.
    """

    inputs: ModelInputs
    labels: NDArray[np.float32]
    day: NDArray[np.int64]
    request_ids: NDArray[np.object_]

    def __len__(self) -> int:
        """Labelled candidates."""
        return len(self.labels)

    @property
    def click(self) -> NDArray[np.bool_]:
        """[candidate] whether the first task's outcome is 1."""
        clicked: NDArray[np.bool_] = self.labels[:, 0] == 1
        return clicked

    def take(self, requests: NDArray[np.bool_] | NDArray[np.int64]) -> LabelledRequests:
        """These requests, in this order."""
        chosen = np.arange(len(self.day))[requests]
        rows = rows_of_requests(self.inputs.candidate_offsets, chosen)
        return LabelledRequests(
            inputs=self.inputs.take(chosen),
            labels=self.labels[rows],
            day=self.day[chosen],
            request_ids=self.request_ids[chosen],
        )


def labelled_requests(
    days: Iterable[LoggedDay], feature_set: FeatureSet, config: ModernConfig
) -> LabelledRequests:
    """The labelled candidates of days, in the order of the log.

    Rejected requests are left out: they are never scored either.

    Raises:
        LogError: A file is damaged, the log lacks a field of the feature set, or it has no labels.
    """
    days = tuple(days)
    parts = [
        requests_from_batch(read_shard(shard).batch, feature_set, config)
        for day in days
        for shard in day.shards
    ]
    if not any(len(part) for part in parts):
        raise LogError(
            "no candidate of these days is labelled.",
            where=", ".join(day.day.isoformat() for day in days),
            fix="import days whose candidates.click says what was clicked",
        )
    return LabelledRequests(
        inputs=concat_inputs([part.inputs for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        day=np.concatenate([part.day for part in parts]),
        request_ids=np.concatenate([part.request_ids for part in parts]),
    )


def requests_from_batch(
    batch: RequestBatch, feature_set: FeatureSet, config: ModernConfig
) -> LabelledRequests:
    """The labelled candidates of a batch with their features."""
    labelled = only_labelled(batch)
    days_since_1970 = labelled.column("logged_at").cast(pa.int64()).to_numpy() // MICROS_OF_A_DAY
    inputs = inputs_from_batch(
        labelled, features_read(feature_set, config.transformer), config.history
    )
    return LabelledRequests(
        inputs=inputs.without_unread(),
        labels=np.stack([_outcome(labelled, task) for task in config.transformer.tasks], axis=1),
        day=days_since_1970 + date(1970, 1, 1).toordinal(),
        request_ids=np.array(labelled.keys.request_ids.to_pylist(), dtype=np.object_),
    )


def _outcome(batch: RequestBatch, task: Task) -> NDArray[np.float32]:
    if task != "click":
        raise LogError(
            f"this training has no labels for the task {task!r}.",
            where="the configuration's tasks",
            fix="train the task 'click'",
        )
    column = batch.column("candidate.click").cast(pa.float32())
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float32)


def only_labelled(batch: RequestBatch) -> RequestBatch:
    """The same requests with their labelled candidates alone, requests without any left out.

    No feature looks at a candidate's neighbours, so the features of those that stay are
    the same; on a log that shows one of 53 this saves 52 of 53 parts of the work.

    Raises:
        LogError: The log has no field `candidate.click`.
    """
    keep = batch.column("candidate.click").is_valid()
    offsets = batch.keys.candidate_offsets
    kept_before = np.concatenate([[0], np.cumsum(keep.to_numpy(zero_copy_only=False))])
    new_offsets = kept_before[offsets].astype(np.int32)
    candidates = pa.ListArray.from_arrays(
        pa.array(new_offsets), batch.records.column("candidates").values.filter(keep)
    )
    place = batch.records.schema.get_field_index("candidates")
    records = batch.records.set_column(place, batch.records.schema.field(place), candidates)
    return batch_from_records(records.filter(pa.array(np.diff(new_offsets) > 0)))


def place_of_requests(request_ids: NDArray[np.object_], *, seed: int) -> NDArray[np.float64]:
    """[request] within [0, 1), by a keyed hash of its id."""
    key = seed.to_bytes(8, "little")
    distinct, inverse = np.unique(request_ids.astype(str), return_inverse=True)
    places = np.array(
        [
            int.from_bytes(hashlib.blake2b(text.encode(), key=key, digest_size=6).digest(), "big")
            for text in distinct
        ],
        dtype=np.float64,
    )
    return places[inverse] / 2**48


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """Training requests in three disjoint parts, no request in two of them.

    Attributes:
        fit: The weights are fitted to these.
        stopping: Their log loss chooses the epoch.
        calibration: Seen by the calibration alone.
    """

    fit: LabelledRequests
    stopping: LabelledRequests
    calibration: LabelledRequests


def split_rows(rows: LabelledRequests, *, kept_back_share: float, seed: int) -> Parts:
    """Keep a share of requests for the calibration, by hash, and the last day for stopping.

    A model that serves tomorrow is stopped where tomorrow gets worse: counters that grow from
    day to day let it learn the days themselves, which a later row of the same day rewards. Where
    there is one day only, another share of its requests by hash has to do.

    Raises:
        LogError: The part the weights are fitted to has no click, or nothing but clicks.
    """
    place = place_of_requests(rows.request_ids, seed=seed)
    calibration = place < kept_back_share
    if len(np.unique(rows.day)) > 1:
        stopping = ~calibration & (rows.day == rows.day.max())
    else:
        stopping = ~calibration & (place < 2 * kept_back_share)
    fit = rows.take(~calibration & ~stopping)
    if fit.click.all() or not fit.click.any():
        raise LogError(
            f"of {len(fit)} labelled candidates to learn from, {int(fit.click.sum())} are clicked.",
            where="the training days, field candidates.click",
            fix="train on days that hold both clicked and unclicked candidates",
        )
    return Parts(
        fit=fit,
        stopping=rows.take(stopping),
        calibration=rows.take(calibration),
    )


def _refusal(what: str) -> ConfigError:
    return ConfigError(
        what, where="--days and --held-out", fix="name logged days, or import more of them"
    )
