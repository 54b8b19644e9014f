"""Look the old segments of a batch up in a store; whatever is refused is counted and computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modern.features.columns import integers
from modern.transformer.history import MICROS_PER_DAY, requests_of
from modern.transformer.history_store import Entry, HistoryStore, RefusedEntryError, history_digests
from modern.transformer.inputs import ModelInputs
from replay.errors import ConfigError
from replay.request import RequestBatch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OldSegments:
    """Old segments that need not be computed.

    Attributes:
        entries: Request to what is kept of its user, or None where it has no old step.
    """

    entries: Mapping[int, Entry | None]

    def covers(self, num_requests: int) -> NDArray[np.bool_]:
        """[request] whether its old segment is here."""
        covered = np.zeros(num_requests, dtype=np.bool_)
        covered[list(self.entries)] = True
        return covered

    def recent_of(self, inputs: ModelInputs) -> ModelInputs:
        """The inputs without the old steps that are here."""
        covered = self.covers(len(inputs))[requests_of(inputs.step_offsets)]
        kept = ~(covered & (inputs.step_old == 1))
        return replace(inputs, step_place=np.where(kept, inputs.step_place, -1).astype(np.int32))


def look_up(
    store: HistoryStore, batch: RequestBatch, inputs: ModelInputs, counts: Counter[str]
) -> OldSegments:
    """The entries of a batch's requests.

    Args:
        store: Of a day.
        batch: Whose users and days these are.
        inputs: What the model reads of it.
        counts: `used`, `nothing_old` and the reasons of refusal are counted here.
    """
    entries: dict[int, Entry | None] = {}
    has_old = np.bincount(
        requests_of(inputs.step_offsets)[(inputs.step_old == 1) & (inputs.step_place >= 0)],
        minlength=len(inputs),
    )
    users = user_ids(batch, store.user_path)
    days = integers(batch.column("logged_at")) // MICROS_PER_DAY
    for request in range(len(inputs)):
        user = users[request]
        if not has_old[request]:
            entries[request] = None
            counts["nothing_old"] += 1
        elif user is None:
            counts["absent"] += 1
        else:
            (digest,) = history_digests(inputs, [request])
            try:
                entries[request] = store.entry(user, day=_day(days[request]), history=digest)
                counts["used"] += 1
            except RefusedEntryError as refused:
                counts[refused.reason] += 1
    return OldSegments(entries=entries)


def user_ids(batch: RequestBatch, user_path: str) -> list[str | None]:
    """[request] the user's id as text; None where it is not logged.

    Raises:
        LogError: The log has no such field.
        ConfigError: The field holds no ids.
    """
    column = batch.column(user_path)
    if not (pa.types.is_int64(column.type) or pa.types.is_string(column.type)):
        raise ConfigError(
            f"{user_path!r} is {column.type}, no id.", where="--user", fix="name an int64 or text"
        )
    ids: list[str | None] = column.cast(pa.string()).to_pylist()
    return ids


def _day(days_since_1970: int) -> date:
    return datetime.fromtimestamp(int(days_since_1970) * 86_400, UTC).date()
