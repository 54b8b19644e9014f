"""Logged fields as numpy columns: one conversion for each field of a batch, shared by features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from replay.checkpoint import RowAxis
from replay.errors import LogError
from replay.request import RequestBatch

SOURCES = ("logged_at", "context.", "user.", "candidate.")


def axis_of(path: str) -> RowAxis:
    """The rows a source has one value for each of."""
    if path.startswith("candidate."):
        return "candidate"
    return "step" if path.startswith("history.") else "request"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Times:
    """Points in time.

    Attributes:
        micros: [row], int64, microseconds since 1970 in UTC; 0 where missing.
        valid: [row], False where missing.
    """

    micros: NDArray[np.int64]
    valid: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Texts:
    """Values written as text, each distinct one once.

    Attributes:
        codes: [row], int64, place in `distinct`; -1 where missing.
        distinct: utf8 array without nulls.
    """

    codes: NDArray[np.int64]
    distinct: pa.StringArray


class Columns:
    """The fields of one batch, converted on first use and kept for the next feature."""

    def __init__(self, batch: RequestBatch) -> None:
        self.batch = batch
        self._reals: dict[str, NDArray[np.float64]] = {}
        self._times: dict[str, Times] = {}
        self._texts: dict[str, Texts] = {}
        self._request_of: dict[RowAxis, NDArray[np.int64]] = {}

    def request_of(self, axis: RowAxis = "candidate") -> NDArray[np.int64]:
        """[row] of an axis to the place of its request."""
        if axis not in self._request_of:
            self._request_of[axis] = self.batch.keys.request_of(axis)
        return self._request_of[axis]

    def real(self, path: str, axis: RowAxis) -> NDArray[np.float64]:
        """A number for each row of the axis; NaN where it is null, NaN or infinite.

        Raises:
            LogError: The field holds no numbers.
        """
        if path not in self._reals:
            self._reals[path] = self._read_real(path)
        values = self._reals[path]
        return values if axis_of(path) == axis else values[self.request_of(axis)]

    def times(self, path: str, axis: RowAxis) -> Times:
        """A time for each row of the axis.

        Raises:
            LogError: The field holds no times.
        """
        if path not in self._times:
            column = self.batch.column(path)
            if not pa.types.is_timestamp(column.type):
                raise wrong_type(path, column.type, "a timestamp")
            self._times[path] = Times(micros=integers(column), valid=validity(column))
        times = self._times[path]
        if axis_of(path) == axis:
            return times
        rows = self.request_of(axis)
        return Times(micros=times.micros[rows], valid=times.valid[rows])

    def texts(self, path: str, axis: RowAxis) -> Texts:
        """A text for each row of the axis: int64 in decimal, bool as 0 or 1.

        Raises:
            LogError: The field holds neither text nor int64 nor bool.
        """
        if path not in self._texts:
            self._texts[path] = self._read_texts(path)
        texts = self._texts[path]
        if axis_of(path) == axis:
            return texts
        return Texts(codes=texts.codes[self.request_of(axis)], distinct=texts.distinct)

    def _read_real(self, path: str) -> NDArray[np.float64]:
        column = self.batch.column(path)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int64())
        if pa.types.is_int64(column.type):
            values = integers(column).astype(np.float64)
        elif pa.types.is_float64(column.type):
            values = plain(column, 0.0).astype(np.float64, copy=True)
        else:
            raise wrong_type(path, column.type, "a number (int64, float64 or bool)")
        values[~(validity(column) & np.isfinite(values))] = np.nan
        return values

    def _read_texts(self, path: str) -> Texts:
        column = self.batch.column(path)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int64())
        if not (pa.types.is_int64(column.type) or pa.types.is_string(column.type)):
            raise wrong_type(path, column.type, "text, int64 or bool (a float has no one spelling)")
        return texts_from_values(column)


def texts_from_values(column: pa.Array) -> Texts:
    """Each distinct value once, as text, with every row's place among them."""
    encoded = column.dictionary_encode()
    codes = plain(encoded.indices.cast(pa.int64()), -1)
    return Texts(codes=codes, distinct=encoded.dictionary.cast(pa.string()))


def validity(column: pa.Array) -> NDArray[np.bool_]:
    """[row], False where the value is null."""
    if not column.null_count:
        return np.ones(len(column), dtype=np.bool_)
    valid: NDArray[np.bool_] = column.is_valid().to_numpy(zero_copy_only=False)
    return valid


def integers(column: pa.Array) -> NDArray[np.int64]:
    """[row], the values of an int64, bool or timestamp column; 0 where null."""
    return plain(column.cast(pa.int64()), 0).astype(np.int64, copy=False)


def plain(column: pa.Array, null: float) -> NDArray[np.int64]:
    """[row], the values of a column of numbers in its own dtype, `null` where it is null."""
    filled = pc.fill_null(column, pa.scalar(null, column.type)) if column.null_count else column
    values: NDArray[np.int64] = filled.to_numpy(zero_copy_only=False)
    return values


def bytes_of(texts: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The UTF-8 bytes of all texts, one after another, and the [text + 1] offsets of each."""
    _, offsets_buffer, data_buffer = texts.buffers()
    if not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.zeros(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return data, offsets.astype(np.int64)


def wrong_type(path: str, found: pa.DataType, wanted: str) -> LogError:
    """The error for a field whose type a feature can not read."""
    return LogError(
        f"the log's field {path!r} is {found}, and a feature of this model reads {wanted} there.",
        where="the log's schema, and 'source' in the artifact's features.json",
        fix="replay a log written like the one the model was trained on",
    )
