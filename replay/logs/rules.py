"""The rules a row may break, each by whole columns; details are worded only for rows rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Rule = Callable[["Columns"], Iterator["Finding"]]

_MICROSECONDS_PER_DAY = 86_400_000_000
_LONGEST_VALUE = 80  # characters of a value that a detail shows
_LISTS = ("candidates", "history")
# What a whole log may lack and a single row may not.
_ALL_OR_NONE = ("bid_micros", "served_rank", "served_pctr", "served_features")


@dataclass(frozen=True, eq=False)
class Columns:
    """A shard in canonical types, compact: lists start at offset 0."""

    records: pa.RecordBatch
    day: date

    def __getitem__(self, name: str) -> pa.Array:
        return self.records.column(name)

    @cached_property
    def offsets(self) -> dict[str, Ints]:
        """List column to [request + 1] offsets into its values."""
        return {name: self[name].offsets.to_numpy().astype(np.int64) for name in _LISTS}

    @cached_property
    def request_of_candidate(self) -> Ints:
        return np.repeat(np.arange(len(self.records)), np.diff(self.offsets["candidates"]))

    @cached_property
    def ad_ids(self) -> pa.Array:
        return pc.struct_field(self["candidates"].values, "ad_id")

    def candidate_field(self, name: str) -> pa.Array | None:
        """[candidate] values, null where the candidate itself is; None where the log has none."""
        values = self["candidates"].values
        if values.type.get_field_index(name) < 0:
            return None
        return pc.struct_field(values, name)

    def owners(self, list_name: str, places: Ints) -> tuple[Ints, Ints]:
        """The requests that own list values, and the values' indices within them."""
        offsets = self.offsets[list_name]
        rows = np.searchsorted(offsets, places, side="right") - 1
        return rows, places - offsets[rows]


@dataclass(frozen=True, eq=False)
class Finding:
    """Values that break a rule.

    Attributes:
        rows: [value] the request, from 0; a request may stand several times, in any order.
        detail: Says what is wrong with the i-th of them.
    """

    rows: Ints
    detail: Callable[[int], str]

    def first_by_row(self) -> Iterator[tuple[int, int]]:
        """Each row once, ascending, with the place of its first value here."""
        rows, firsts = np.unique(self.rows, return_index=True)
        yield from zip(rows.tolist(), firsts.tolist(), strict=True)


def safe_text(value: pa.Scalar) -> str | None:
    """A string value as text, with bytes that are not UTF-8 escaped; None for null."""
    if not value.is_valid:
        return None
    data: bytes = value.as_buffer().to_pybytes()
    return data.decode("utf-8", errors="backslashreplace")


def _missing_field(columns: Columns) -> Iterator[Finding]:
    for name in ("request_id", "logged_at", "context", "user", "history", "candidates"):
        yield Finding(_places_of_null(columns[name]), _says(f"{name} is null"))
    for name, singular in (("history", "history"), ("candidates", "candidate")):
        rows, indices = columns.owners(name, _places_of_null(columns[name].values))
        yield Finding(rows, _says_index(f"{singular}[{{}}] is null", indices))
    rows, indices = columns.owners("candidates", _places_of_null(columns.ad_ids))
    yield Finding(rows, _says_index("candidate[{}].ad_id is null", indices))
    for name in _ALL_OR_NONE:
        values = columns.candidate_field(name)
        if values is not None:
            yield _missing_beside(columns, name, _places_of_null(values))


def _missing_beside(columns: Columns, name: str, places: Ints) -> Finding:
    rows, indices = columns.owners("candidates", places)

    def detail(i: int) -> str:
        ad_id = _shown(columns.ad_ids[int(places[i])])
        return f"candidate[{indices[i]}].{name} is null (ad_id {ad_id})"

    return Finding(rows, detail)


def _no_candidates(columns: Columns) -> Iterator[Finding]:
    is_empty = np.diff(columns.offsets["candidates"]) == 0
    yield Finding(np.flatnonzero(is_empty), _says("candidates is empty"))


def _duplicate_ad_id(columns: Columns) -> Iterator[Finding]:
    ad_ids = columns.ad_ids
    known = _numbered(ad_ids)
    request = columns.request_of_candidate
    order = np.lexsort((known, request))
    request, known = request[order], known[order]
    is_repeat = (request[1:] == request[:-1]) & (known[1:] == known[:-1])
    places = np.sort(order[1:][is_repeat])
    rows, indices = columns.owners("candidates", places)
    yield Finding(
        rows,
        lambda i: f"candidate[{indices[i]}].ad_id repeats {_shown(ad_ids[int(places[i])])}",
    )


def _duplicate_request_id(columns: Columns) -> Iterator[Finding]:
    ids = columns["request_id"]
    _, first = np.unique(_numbered(ids), return_index=True)
    is_repeat = np.ones(len(ids), dtype=np.bool_)
    is_repeat[first] = False
    rows = np.flatnonzero(is_repeat)
    yield Finding(rows, lambda i: f"request_id repeats {_shown(ids[int(rows[i])])}")


def _wrong_date(columns: Columns) -> Iterator[Finding]:
    times = _int64(columns["logged_at"])
    midnight = (columns.day - date(1970, 1, 1)).days
    rows = np.flatnonzero(times // _MICROSECONDS_PER_DAY != midnight)
    # numpy words every time, also those beyond Python's year 9999.
    yield Finding(rows, lambda i: f"logged_at is {times[rows[i]].astype('datetime64[us]')}Z")


def _invalid_text(columns: Columns) -> Iterator[Finding]:
    rows = np.arange(len(columns.records))
    for field in columns.records.schema:
        yield from _broken_texts(columns[field.name], rows, _singular(field.name))


def _invalid_label(columns: Columns) -> Iterator[Finding]:
    clicks = columns.candidate_field("click")
    if clicks is not None:
        values = _int64(clicks)
        places = np.flatnonzero((values != 0) & (values != 1))
        rows, indices = columns.owners("candidates", places)
        yield Finding(rows, lambda i: f"candidate[{indices[i]}].click is {values[places[i]]}")


# In the order of the table in docs/formats.md: a row gets the first reason that holds.
RULES: tuple[tuple[str, Rule], ...] = (
    ("missing_field", _missing_field),
    ("no_candidates", _no_candidates),
    ("duplicate_ad_id", _duplicate_ad_id),
    ("duplicate_request_id", _duplicate_request_id),
    ("wrong_date", _wrong_date),
    ("invalid_text", _invalid_text),
    ("invalid_label", _invalid_label),
)


def _broken_texts(values: pa.Array, rows: Ints, path: str) -> Iterator[Finding]:
    """Visit the strings of a column, which belong to these rows, and those nested in it."""
    if pa.types.is_string(values.type):
        places = _places_of_broken_text(values)
        if len(places):
            yield Finding(
                rows[places],
                lambda i: f"{path} is {_shown(values[int(places[i])])}, not UTF-8",
            )
    elif pa.types.is_struct(values.type):
        for field in values.type:
            child = pc.struct_field(values, field.name)
            yield from _broken_texts(child, rows, f"{path}.{field.name}")
    elif pa.types.is_list(values.type):
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy()
        yield from _broken_texts(values.flatten(), np.repeat(rows, lengths), path)


def _places_of_broken_text(values: pa.Array) -> Ints:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        texts = values.cast(pa.binary()).to_pylist()
        is_broken = [text is not None and not _is_utf8(text) for text in texts]
        return np.flatnonzero(is_broken)
    return np.array([], dtype=np.int64)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _places_of_null(values: pa.Array) -> Ints:
    if values.null_count == 0:
        return np.array([], dtype=np.int64)
    return np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))


def _numbered(values: pa.Array) -> Ints:
    """[value] integers that are equal where the values are, for sorting; a null is like no other.

    Null ids are rejected by an earlier rule; here they only must not repeat each other.
    """
    codes: Ints
    if pa.types.is_integer(values.type):
        if values.null_count == 0:
            codes = values.to_numpy()
            return codes
        codes = np.unique(_int64(values), return_inverse=True)[1].astype(np.int64)
    else:
        codes = _int64(values.cast(pa.binary()).dictionary_encode().indices)
    is_null = values.is_null().to_numpy(zero_copy_only=False)
    return np.where(is_null, -1 - np.arange(len(values)), codes)


def _int64(values: pa.Array) -> Ints:
    """The values as int64, 0 in place of null."""
    if values.null_count:
        values = pc.fill_null(values.cast(pa.int64()), 0)
    array: Ints = values.cast(pa.int64()).to_numpy()
    return array


def _says(text: str) -> Callable[[int], str]:
    return lambda _: text


def _says_index(template: str, indices: Ints) -> Callable[[int], str]:
    return lambda i: template.format(indices[i])


def _singular(column: str) -> str:
    return "candidate" if column == "candidates" else column


def _shown(value: pa.Scalar) -> str:
    """A value as a detail shows it: quoted text, with control characters and bad bytes escaped."""
    plain: Any
    if pa.types.is_string(value.type) and value.is_valid:
        data: bytes = value.as_buffer().to_pybytes()
        plain = data.decode("utf-8") if _is_utf8(data) else data
    else:
        plain = value.as_py()
    text = repr(plain)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
