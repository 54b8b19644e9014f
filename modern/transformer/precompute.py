"""Encode the old segments of all known users before a day begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from modern.features.columns import axis_of
from modern.transformer.artifact import TransformerArtifact
from modern.transformer.history_lookup import user_ids
from modern.transformer.history_store import (
    Entry,
    history_digests,
    old_rows,
    values_of_state,
    write_store,
)
from modern.transformer.inputs import ModelInputs, inputs_from_batch
from modern.transformer.model import RankingTransformer
from replay.digests import digest_of_json
from replay.errors import ConfigError
from replay.logs.parquet import list_days, open_day, read_shard
from replay.request import TIMESTAMP, RequestBatch, batch_from_records, concat_batches


@dataclass(frozen=True, slots=True, kw_only=True)
class Precomputed:
    """What was written.

    Attributes:
        users: Users the log knows from before the day.
        entries: Those with old steps.
        steps: Their old steps.
    """

    users: int
    entries: int
    steps: int


def precompute(
    artifact: TransformerArtifact,
    logs: Path,
    day: date,
    out: Path,
    *,
    user_path: str = "user.user_id",
) -> Precomputed:
    """Write the store of a day from what was logged before it.

    Raises:
        ConfigError: The model has no old segment that could be kept, or nothing is logged before.
    """
    check_precomputable(artifact)
    latest = latest_requests(logs, day, user_path=user_path)
    entries = encode_users(artifact, latest, day)
    write_store(out, entries, day=day, user_path=user_path, weights=artifact_key(artifact))
    return Precomputed(
        users=len(latest), entries=len(entries), steps=sum(len(e.values) for e in entries)
    )


def latest_requests(logs: Path, day: date, *, user_path: str) -> dict[str, RequestBatch]:
    """Of each user the latest request before a day, which tells the history.

    What was logged since, and has become old, is not in it; that makes an entry stale, which is
    noticed when it is looked up.

    Raises:
        ConfigError: Nothing is logged before.
    """
    before = [logged for logged in list_days(logs) if logged < day]
    if not before:
        raise ConfigError(
            f"nothing is logged before {day}.", where="--date", fix="name a later day"
        )
    latest: dict[str, RequestBatch] = {}
    for logged in before:
        for shard in open_day(logs, logged).shards:
            batch = read_shard(shard).batch
            places = {user: place for place, user in enumerate(user_ids(batch, user_path))}
            latest |= {
                user: batch.slice(place, place + 1)
                for user, place in places.items()
                if user is not None
            }
    return latest


def check_precomputable(artifact: TransformerArtifact) -> None:
    """Refuse a model whose old segment depends on more than the history and the day.

    Raises:
        ConfigError: Saying why.
    """
    form = artifact.config.transformer.form
    of_request = [
        step.name
        for step in artifact.feature_set.steps
        if any(axis_of(source) != "step" for source in step.reads)
    ]
    if not artifact.model.reads_history or form == "early_fusion":
        what = f"a model of the form {form!r} has no old segment that requests share."
    elif of_request:
        what = f"the step feature {of_request[0]!r} reads a field of the request."
    else:
        return
    raise ConfigError(
        what, where="the artifact", fix="train the form 'shared' with features of steps alone"
    )


def artifact_key(artifact: TransformerArtifact) -> str:
    """Digest of all that decides an entry besides the history: weights, features, configuration."""
    return digest_of_json(
        {
            "training": artifact.training_id,
            "files": artifact.manifest["files"],
            "config": artifact.config.to_json(),
        }
    )


def encode_users(
    artifact: TransformerArtifact, latest: Mapping[str, RequestBatch], day: date
) -> list[Entry]:
    """The entries of the users that have old steps at a day's midnight."""
    return list(_entries(artifact, latest, day))


def _entries(
    artifact: TransformerArtifact, latest: Mapping[str, RequestBatch], day: date
) -> Iterator[Entry]:
    users = sorted(latest)
    for first in range(0, len(users), 256):  # users at a time: bounds memory
        some = users[first : first + 256]
        batch = _at_midnight(concat_batches(latest[user] for user in some), day)
        inputs = inputs_from_batch(batch, artifact.feature_set, artifact.config.history)
        digests = history_digests(inputs, range(len(some)))
        for place, (user, digest) in enumerate(zip(some, digests, strict=True)):
            if len(old_rows(inputs, place)):
                values = encode_old_steps(artifact.model, inputs, place)
                yield Entry(user=user, history=digest, values=values)


def encode_old_steps(
    model: RankingTransformer, inputs: ModelInputs, request: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """[step, value] of a request's old segment, computed without padding."""
    rows = old_rows(inputs, request)
    with torch.inference_mode():
        state = model.encode_old(
            *(
                torch.from_numpy(values[rows]).unsqueeze(0)
                for values in (
                    inputs.step_real,
                    inputs.step_codes,
                    inputs.step_age_hours,
                    inputs.step_weight,
                )
            )
        )
    return values_of_state(state)


def _at_midnight(batch: RequestBatch, day: date) -> RequestBatch:
    """The same requests as if they had come when the day begins."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    place = batch.records.schema.get_field_index("logged_at")
    times = pa.array([midnight] * batch.num_requests, type=TIMESTAMP)
    return batch_from_records(
        batch.records.set_column(place, batch.records.schema.field(place), times)
    )
