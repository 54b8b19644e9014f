"""A small log whose every string can be made bytes that are not UTF-8."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

DAY = date(2026, 3, 1)
MOMENT = pa.timestamp("us", tz="UTC")

Record = dict[str, Any]


def a_candidate(ad_id: int | bytes | None = 1, **fields: Any) -> Record:
    return {
        "ad_id": ad_id,
        "bid_micros": 1000,
        "served_rank": 0,
        "served_pctr": 0.5,
        "served_features": {"age": None, "word": b"w"},
        "title": b"t",
        "click": None,
    } | fields


def a_record(number: int = 0, **fields: Any) -> Record:
    """A valid request; text is bytes here."""
    return {
        "request_id": f"r{number}".encode(),
        "logged_at": datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number),
        "context": {"device": b"mobile"},
        "user": {"tags": [b"a", None], "age": 3},
        "history": [{"ad_id": 5, "action": b"click", "at": None}],
        "candidates": [a_candidate(1), a_candidate(2**24 + 1, click=1)],
    } | fields


def records(number: int) -> list[Record]:
    return [a_record(i) for i in range(number)]


def schema_of(*, ad_id: pa.DataType | None = None, text: pa.DataType | None = None) -> pa.Schema:
    text = text or pa.string()
    features = pa.struct({"age": pa.float64(), "word": text})
    candidate = {
        "ad_id": ad_id or pa.int64(),
        "bid_micros": pa.int64(),
        "served_rank": pa.int64(),
        "served_pctr": pa.float64(),
        "served_features": features,
        "title": text,
        "click": pa.int64(),
    }
    step = {"ad_id": pa.int64(), "action": text, "at": MOMENT}
    return pa.schema(
        {
            "request_id": text,
            "logged_at": MOMENT,
            "context": pa.struct({"device": text}),
            "user": pa.struct({"tags": pa.list_(text), "age": pa.int64()}),
            "history": pa.list_(pa.struct(step)),
            "candidates": pa.list_(pa.struct(candidate)),
        }
    )


def table_of(rows: list[Record], *, ad_id: pa.DataType | None = None) -> pa.Table:
    """The rows as a log's table; their bytes become text unread, as a careless writer's would."""
    is_text = ad_id is not None and pa.types.is_string(ad_id)
    ad_id_as_bytes = pa.binary() if is_text else ad_id
    table = pa.Table.from_pylist(
        deepcopy(rows), schema=schema_of(ad_id=ad_id_as_bytes, text=pa.binary())
    )
    target = schema_of(ad_id=ad_id)
    columns = [_unread(table.column(f.name).combine_chunks(), f.type) for f in target]
    return pa.Table.from_arrays(columns, schema=target)


def _unread(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks else pa.array([], values.type)
    if pa.types.is_string(kind) and pa.types.is_binary(values.type):
        return values.view(kind)
    mask = values.is_null() if values.null_count else None
    if pa.types.is_struct(kind):
        fields = [_unread(values.field(i), f.type) for i, f in enumerate(kind)]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=mask)
    if pa.types.is_list(kind):
        inner = _unread(values.values, kind.value_type)
        return pa.ListArray.from_arrays(values.offsets, inner, type=kind, mask=mask)
    return values
