"""Requests of logged days with their labelled candidates, as a training reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modern.features.feature_set import FeatureSet
from modern.training.labels import outcomes
from modern.transformer.inputs import (
    ModelInputs,
    concat_inputs,
    features_read,
    inputs_from_batch,
    rows_of_requests,
)
from modern.transformer.training_config import ModernConfig
from replay.errors import ConfigError, LogError
from replay.logs.parquet import LoggedDay, read_shard
from replay.request import RequestBatch, batch_from_records

MICROS_OF_A_DAY = 86_400_000_000


# The first and last of the days that are asked for; a log need not have all between.
Span = tuple[date, date]
# What the epoch is chosen on holds at least this share of the training requests: a log may have
# days of a dozen requests.
LEAST_STOPPING_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Which logged days serve what; the days after `held_out` are left for the replay."""

    train: tuple[date, ...]
    held_out: tuple[date, ...]


def choose_days(
    logged: Sequence[date], *, train: Span | None = None, held_out: Span | None = None
) -> Days:
    """The days to train on and those to judge on: of those asked for, the logged ones.

    Args:
        logged: The days there are, in order.
        train: By default all before the held-out ones.
        held_out: By default the day before the last one, which is left for the replay.

    Raises:
        ConfigError: There are too few days, none within what is asked for, or a held-out day is
            not after the training days.
    """
    known = f"{logged[0]} to {logged[-1]}" if logged else "none"
    if held_out is None:
        if len(logged) < 3:
            raise _refusal(
                f"the log has {len(logged)} days ({known}); a training needs one to learn from, "
                "one to judge on and one to replay."
            )
        held_out = (logged[-2], logged[-2])
    kept = _within(logged, held_out)
    asked = train or (logged[0], kept[0] - timedelta(days=1))
    chosen = tuple(day for day in logged if asked[0] <= day <= asked[1])
    if not chosen or chosen[-1] >= kept[0]:
        raise _refusal(
            f"the training days ({text_of_days(chosen)}) do not all lie before the held-out "
            f"{text_of_days(kept)}."
        )
    return Days(train=chosen, held_out=kept)


def text_of_days(days: Sequence[date]) -> str:
    """A day, or the first and last of several: 2019-11-24:2019-11-28."""
    return ":".join(day.isoformat() for day in sorted({*days[:1], *days[-1:]})) or "none"


def _within(logged: Sequence[date], span: Span) -> tuple[date, ...]:
    found = tuple(day for day in logged if span[0] <= day <= span[1])
    if not found:
        raise _refusal(f"the log has no day from {span[0]} to {span[1]}.")
    return found


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
    days: Iterable[LoggedDay],
    feature_set: FeatureSet,
    config: ModernConfig,
    *,
    known_until: date | None = None,
) -> LabelledRequests:
    """The labelled candidates of days, in the order of the log.

    Rejected requests are left out: they are never scored either.

    Args:
        days: To read.
        feature_set: What to compute.
        config: What is learned, and what of a history is read.
        known_until: The last day (UTC) whose events are known; see `modern.training.labels.outcomes`.

    Raises:
        LogError: A file is damaged, the log lacks a field of the feature set, or it has no labels.
    """
    days = tuple(days)
    parts = [
        part for _, part in labelled_batches(days, feature_set, config, known_until=known_until)
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


def labelled_batches(
    days: Iterable[LoggedDay],
    feature_set: FeatureSet,
    config: ModernConfig,
    *,
    known_until: date | None = None,
) -> Iterator[tuple[RequestBatch, LabelledRequests]]:
    """Shard by shard the labelled candidates alone, as they are logged and as they are learned."""
    for day in days:
        for shard in day.shards:
            batch = only_labelled(read_shard(shard).batch)
            yield batch, requests_from_labelled(batch, feature_set, config, known_until)


def requests_from_batch(
    batch: RequestBatch, feature_set: FeatureSet, config: ModernConfig
) -> LabelledRequests:
    """The labelled candidates of a batch with their features."""
    return requests_from_labelled(only_labelled(batch), feature_set, config, None)


def requests_from_labelled(
    labelled: RequestBatch,
    feature_set: FeatureSet,
    config: ModernConfig,
    known_until: date | None,
) -> LabelledRequests:
    """The same of a batch whose candidates are all labelled."""
    days_since_1970 = labelled.column("logged_at").cast(pa.int64()).to_numpy() // MICROS_OF_A_DAY
    inputs = inputs_from_batch(
        labelled, features_read(feature_set, config.transformer), config.history
    )
    return LabelledRequests(
        inputs=inputs.without_unread(),
        labels=outcomes(
            labelled,
            config.transformer.tasks,
            known_until=None if known_until is None else _end_of(known_until),
            attribution_hours=config.training.attribution_hours,
        ),
        day=days_since_1970 + date(1970, 1, 1).toordinal(),
        request_ids=np.array(labelled.keys.request_ids.to_pylist(), dtype=np.object_),
    )


def _end_of(day: date) -> int:
    """Microseconds since 1970 at which a UTC day ends."""
    return (day.toordinal() + 1 - date(1970, 1, 1).toordinal()) * MICROS_OF_A_DAY


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
    """Keep a share of requests for the calibration, by hash, and the last days for stopping.

    The last days are as few as hold LEAST_STOPPING_SHARE of the requests. A model that serves tomorrow is stopped where tomorrow gets worse: counters that grow from
    day to day let it learn the days themselves, which a later row of the same day rewards. Where
    there is one day only, another share of its requests by hash has to do.

    Raises:
        LogError: The part the weights are fitted to has no click, or nothing but clicks.
    """
    place = place_of_requests(rows.request_ids, seed=seed)
    calibration = place < kept_back_share
    days, counts = np.unique(rows.day, return_counts=True)
    if len(days) > 1:
        from_last = np.cumsum(counts[::-1]) / counts.sum()
        num_days = 1 + int(np.searchsorted(from_last, LEAST_STOPPING_SHARE))
        stopping = ~calibration & (rows.day >= days[-min(num_days, len(days) - 1)])
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
