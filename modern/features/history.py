"""Real features of the logged history and of text: counts and ages over ragged rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modern.features.columns import (
    Columns,
    Times,
    axis_of,
    bytes_of,
    plain,
    wrong_type,
)
from modern.features.numeric import log_hours_between
from modern.features.spec import RealSpec, Source
from replay.errors import LogError

COMPARED = (pa.string(), pa.int64(), pa.bool_())  # a float is seldom equal to another
SPACES = np.frombuffer(b" \t\n\v\f\r", np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens(RealSpec):
    """How many runs of bytes other than white space a text has."""

    kind: ClassVar[str] = "tokens"
    exact: ClassVar[bool] = True

    source: Source

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        column = columns.batch.column(self.source)
        if not pa.types.is_string(column.type):
            raise wrong_type(self.source, column.type, "text")
        texts = columns.texts(self.source, self.axis)
        counts = tokens_of(*bytes_of(texts.distinct)).astype(np.float64)
        return np.append(counts, np.nan)[texts.codes]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCount(RealSpec):
    """log1p of the number of logged steps."""

    kind: ClassVar[str] = "history_count"

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    def values(self, columns: Columns) -> NDArray[np.float64]:
        steps = np.diff(columns.batch.keys.step_offsets)
        logs: NDArray[np.float64] = np.log1p(steps.astype(np.float64))
        return logs


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRecency(RealSpec):
    """log1p of the hours since the last logged step; missing without one."""

    kind: ClassVar[str] = "history_recency"

    until: Source

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.until,)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        offsets = columns.batch.keys.step_offsets
        steps = columns.times("history.at", "step")
        some = np.diff(offsets) > 0
        micros, valid = np.zeros(len(some), np.int64), np.zeros(len(some), np.bool_)
        last = offsets[1:][some] - 1
        micros[some], valid[some] = steps.micros[last], steps.valid[last]
        if self.axis == "candidate":
            rows = columns.request_of()
            micros, valid = micros[rows], valid[rows]
        until = columns.times(self.until, self.axis)
        return log_hours_between(Times(micros=micros, valid=valid), until)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryMatches(RealSpec):
    """How many steps of the request's history hold the source's value in a field."""

    kind: ClassVar[str] = "history_matches"
    exact: ClassVar[bool] = True

    field: str
    source: Source

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        keys = columns.batch.keys
        steps = columns.batch.column(f"history.{self.field}")
        values = columns.batch.column(self.source)
        step_codes, value_codes, size = _shared_codes(steps, values, f"history.{self.field}")
        if axis_of(self.source) != self.axis:
            value_codes = value_codes[columns.request_of()]
        known = step_codes >= 0
        seen, counts = np.unique(
            keys.request_of("step")[known] * size + step_codes[known], return_counts=True
        )
        wanted = keys.request_of(self.axis) * size + value_codes
        places = np.minimum(np.searchsorted(seen, wanted), max(len(seen) - 1, 0))
        matches = np.zeros(len(wanted), np.float64)
        if len(seen):
            matches = np.where(seen[places] == wanted, counts[places], 0).astype(np.float64)
        return np.where(value_codes < 0, np.nan, matches)


def tokens_of(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """[text], the number of maximal runs of bytes that are no white space.

    Args:
        data: The bytes of all texts.
        offsets: [text + 1]; text i is data[offsets[i]:offsets[i + 1]].
    """
    filled = ~np.isin(data, SPACES)
    begins = filled.copy()
    begins[1:] &= ~filled[:-1]
    firsts = offsets[:-1][np.diff(offsets) > 0]
    begins[firsts] = filled[firsts]
    running = np.concatenate([[0], np.cumsum(begins)])
    counts: NDArray[np.int64] = running[offsets[1:]] - running[offsets[:-1]]
    return counts


def _shared_codes(
    steps: pa.Array, values: pa.Array, path: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Codes of two columns that are equal where their values are; -1 where missing; their number."""
    if steps.type not in COMPARED or steps.type != values.type:
        raise LogError(
            f"the log's field {path!r} is {steps.type}, and it is compared with a {values.type}.",
            where="the log's schema, and a history_matches feature in the artifact's features.json",
            fix="replay a log written like the one the model was trained on: both sides text, "
            "int64 or bool",
        )
    encoded = pa.concat_arrays([steps, values]).dictionary_encode()
    codes = plain(encoded.indices.cast(pa.int64()), -1)
    return codes[: len(steps)], codes[len(steps) :], len(encoded.dictionary)
