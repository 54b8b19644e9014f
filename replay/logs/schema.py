"""What a logged request has to be: a bad row is rejected with its reason, a bad file is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from replay.errors import LogError
from replay.logs.rules import RULES, Columns, safe_text
from replay.request import RequestBatch, batch_from_records


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A row that was read and will not be scored.

    Attributes:
        request_id: None where it is null; bytes that are not UTF-8 are escaped.
        reason: One of docs/formats.md; of several, the first in that table.
        where: "path#row_group row 17", rows counted from 0.
        detail: The field and its value.
    """

    request_id: str | None
    reason: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValidatedShard:
    """A shard after validation: read == batch.num_requests + len(rejections)."""

    batch: RequestBatch
    read: int
    rejections: tuple[Rejection, ...]


def validate(table: pa.Table, *, day: date | None, where: str) -> ValidatedShard:
    """Split a table of requests into those that can be scored and those that can not.

    Args:
        table: As read, in any Arrow types that have a canonical form.
        day: The UTC day of the partition; None takes requests of any day.
        where: Names the shard in errors and rejections.

    Raises:
        LogError: A required column is absent, or a column has another type than docs/formats.md
            says; no row of such a file can be read.
    """
    check_schema(table.schema, where=where)
    try:
        batch = batch_from_records(table)
    except LogError as error:
        raise LogError(error.what, where=where, fix=error.fix) from error
    columns = Columns(batch.records, day or date(1970, 1, 1))
    found: dict[int, Rejection] = {}
    rules = (one for one in RULES if day is not None or one[0] != "wrong_date")
    for reason, rule in rules:
        for finding in rule(columns):
            for row, place in finding.first_by_row():
                if row not in found:
                    found[row] = Rejection(
                        request_id=safe_text(batch.records.column("request_id")[row]),
                        reason=reason,
                        where=f"{where} row {row}",
                        detail=finding.detail(place),
                    )
    is_valid = np.ones(batch.num_requests, dtype=np.bool_)
    is_valid[list(found)] = False
    return ValidatedShard(
        batch=batch.take(np.flatnonzero(is_valid)) if found else batch,
        read=batch.num_requests,
        rejections=tuple(found[row] for row in sorted(found)),
    )


_Kind = Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list_of_struct(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return is_list and bool(pa.types.is_struct(kind.value_type))


def _is_aware(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz is not None)


def _is_id(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind)) or _is_text(kind)


_REQUIRED: tuple[tuple[str, _Kind, str], ...] = (
    ("request_id", _is_text, "string"),
    ("logged_at", _is_aware, "timestamp[us, UTC]"),
    ("context", pa.types.is_struct, "struct"),
    ("user", pa.types.is_struct, "struct"),
    ("history", _is_list_of_struct, "list of struct"),
    ("history.ad_id", _is_id, "int64 or string"),
    ("history.action", _is_text, "string"),
    ("history.at", _is_aware, "timestamp[us, UTC]"),
    ("candidates", _is_list_of_struct, "list of struct"),
    ("candidates.ad_id", _is_id, "int64 or string"),
)
_OPTIONAL: tuple[tuple[str, _Kind, str], ...] = (
    ("candidates.bid_micros", pa.types.is_integer, "int64"),
    ("candidates.served_rank", pa.types.is_integer, "int64"),
    ("candidates.served_pctr", pa.types.is_floating, "float64"),
    ("candidates.served_features", pa.types.is_struct, "struct"),
    ("candidates.click", pa.types.is_integer, "int64"),
)


def check_schema(schema: pa.Schema, *, where: str) -> None:
    """Refuse a schema that no request can be read from.

    Raises:
        LogError: Naming the field, what it is and what it has to be.
    """
    for path in _repeated_names(schema):
        raise LogError(
            f"the log has two fields called {path!r}.", where=where, fix="rename or drop one"
        )
    for path, is_kind, says in _REQUIRED:
        kind = _type_at(schema, path)
        if kind is None:
            raise LogError(
                f"the log has no field {path!r} ({says}).",
                where=where,
                fix="write it as docs/formats.md describes",
            )
        _check_kind(path, kind, is_kind, says, where)
    for path, is_kind, says in _OPTIONAL:
        kind = _type_at(schema, path)
        if kind is not None:
            _check_kind(path, kind, is_kind, says, where)


def _check_kind(path: str, kind: pa.DataType, is_kind: _Kind, says: str, where: str) -> None:
    if not is_kind(kind):
        raise LogError(
            f"the field {path!r} is {kind}, not {says}.",
            where=where,
            fix="write it as docs/formats.md describes",
        )


def _type_at(schema: pa.Schema, path: str) -> pa.DataType | None:
    top, _, field = path.partition(".")
    index = schema.get_field_index(top)
    if index < 0:
        return None
    kind = schema.field(index).type
    if not field:
        return kind
    struct = kind.value_type
    place = struct.get_field_index(field)
    return struct.field(place).type if place >= 0 else None


def _repeated_names(schema: pa.Schema) -> Iterator[str]:
    """Names that stand twice in the schema or in a struct of it: nobody could tell them apart."""
    front = [("", list(schema))]
    while front:
        prefix, fields = front.pop()
        seen: set[str] = set()
        for field in fields:
            if field.name in seen:
                yield prefix + field.name
            seen.add(field.name)
            kind = field.type
            while pa.types.is_list(kind) or pa.types.is_large_list(kind):
                kind = kind.value_type
            if pa.types.is_struct(kind):
                front.append((f"{prefix}{field.name}.", list(kind)))
