"""Labelled candidates of logged days, as the rows a training reads."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modern.features import FeatureSet, compute_features
from modern.tokens import TokenInputs, inputs_from_features
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
class LabelledRows:
    """Candidates that were shown, with what became of them.

    Attributes:
        inputs: Their features.
        click: [row].
        day: [row] UTC date of the request, as `date.toordinal` counts.
        request_ids: [row] text.
    """

    inputs: TokenInputs
    click: NDArray[np.bool_]
    day: NDArray[np.int64]
    request_ids: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.click)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> LabelledRows:
        """These rows, in this order."""
        return LabelledRows(
            inputs=TokenInputs(real=self.inputs.real[rows], codes=self.inputs.codes[rows]),
            click=self.click[rows],
            day=self.day[rows],
            request_ids=self.request_ids[rows],
        )


def labelled_rows(days: Iterable[LoggedDay], feature_set: FeatureSet) -> LabelledRows:
    """The labelled candidates of days, in the order of the log.

    Rejected requests are no rows: they are never scored either.

    Raises:
        LogError: A file is damaged, the log lacks a field of the feature set, or it has no labels.
    """
    days = tuple(days)
    parts = [
        rows_from_batch(read_shard(shard).batch, feature_set)
        for day in days
        for shard in day.shards
    ]
    if not any(len(part) for part in parts):
        raise LogError(
            "no candidate of these days is labelled.",
            where=", ".join(day.day.isoformat() for day in days),
            fix="import days whose candidates.click says what was clicked",
        )
    return LabelledRows(
        inputs=TokenInputs(
            real=np.concatenate([part.inputs.real for part in parts]),
            codes=np.concatenate([part.inputs.codes for part in parts]),
        ),
        click=np.concatenate([part.click for part in parts]),
        day=np.concatenate([part.day for part in parts]),
        request_ids=np.concatenate([part.request_ids for part in parts]),
    )


def rows_from_batch(batch: RequestBatch, feature_set: FeatureSet) -> LabelledRows:
    """The labelled candidates of a batch with their features."""
    labelled = only_labelled(batch)
    keys = labelled.keys
    request_of = keys.request_of("candidate")
    features = compute_features(labelled, feature_set)
    request_ids = np.array(keys.request_ids.to_pylist(), dtype=np.object_)
    days_since_1970 = labelled.column("logged_at").cast(pa.int64()).to_numpy() // MICROS_OF_A_DAY
    return LabelledRows(
        inputs=inputs_from_features(features, feature_set, request_of=request_of),
        click=labelled.column("candidate.click").to_numpy(zero_copy_only=False) == 1,
        day=(days_since_1970 + date(1970, 1, 1).toordinal())[request_of],
        request_ids=request_ids[request_of],
    )


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
    """[row] within [0, 1), the same for all rows of a request, by a keyed hash of its id."""
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
    """Training rows in three disjoint parts, no request in two of them.

    Attributes:
        fit: The weights are fitted to these.
        stopping: Their log loss chooses the epoch.
        calibration: Seen by the calibration alone.
    """

    fit: LabelledRows
    stopping: LabelledRows
    calibration: LabelledRows


def split_rows(rows: LabelledRows, *, kept_back_share: float, seed: int) -> Parts:
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
