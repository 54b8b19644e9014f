"""Requests with their candidates and histories, columnar: what every stack is asked to score."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from replay.errors import LogError
from replay.trace import BatchKeys

TIMESTAMP = pa.timestamp("us", tz="UTC")


def canonical_type(kind: pa.DataType) -> pa.DataType:
    """The one Arrow type in which stacks see a kind of value.

    bool, int64, float64, utf8, timestamp[us, UTC], and structs and lists of these: a stack
    reads six types, whatever a log was written with.

    Raises:
        LogError: The type has no canonical form (a union, a decimal, a duration).
    """
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, canonical_type(f.type)) for f in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("item", canonical_type(kind.value_type)))
    if pa.types.is_dictionary(kind):
        return canonical_type(kind.value_type)
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if pa.types.is_integer(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return TIMESTAMP
    raise LogError(
        f"a log field of type {kind} can not be read.",
        where="the log's schema",
        fix="write it as bool, integer, float, string, timestamp with a time zone, "
        "or a struct or list of these",
    )


@dataclass(frozen=True, eq=False)
class RequestBatch:
    """One row per request, in canonical Arrow types, sliced to itself (offset 0 everywhere).

    Columns: `request_id` utf8, `logged_at` timestamp[us, UTC], `context` struct, `user`
    struct, `history` list of struct, `candidates` list of struct with `ad_id` (int64 or
    utf8). Further fields of the structs are the log's own (docs/formats.md).

    Build one with `batch_from_records`.
    """

    records: pa.RecordBatch

    @property
    def num_requests(self) -> int:
        return int(self.records.num_rows)

    @property
    def num_candidates(self) -> int:
        return int(self.keys.num_candidates)

    @cached_property
    def keys(self) -> BatchKeys:
        """The row labels of the batch."""
        candidates = self.records.column("candidates")
        return BatchKeys(
            request_ids=self.records.column("request_id"),
            ad_ids=candidates.values.field("ad_id"),
            candidate_offsets=_offsets(candidates),
            step_offsets=_offsets(self.records.column("history")),
        )

    def column(self, path: str) -> pa.Array:
        """The values of a logged field, one per row of its axis.

        Args:
            path: `logged_at`, `context.<field>`, `user.<field>` (one per request),
                `candidate.<field>` (one per candidate) or `history.<field>` (one per step).

        Raises:
            LogError: The log has no such field; it offers those there are.
        """
        top, _, field = path.partition(".")
        column = {"candidate": "candidates"}.get(top, top)
        if column not in self.records.schema.names:
            raise self._unknown(path, self.records.schema.names)
        values = self.records.column(column)
        if not field:
            return values
        struct = values.values if pa.types.is_list(values.type) else values
        if not pa.types.is_struct(struct.type) or struct.type.get_field_index(field) < 0:
            known = (
                [f"{top}.{f.name}" for f in struct.type] if pa.types.is_struct(struct.type) else []
            )
            raise self._unknown(path, known)
        child = struct.field(field)
        if struct.null_count:
            return pc.if_else(struct.is_valid(), child, pa.scalar(None, child.type))
        return child

    def take(self, requests: Iterable[int] | NDArray[np.int64]) -> RequestBatch:
        """The requests at these places, in this order."""
        indices = pa.array(np.asarray(list(requests), dtype=np.int64))
        return RequestBatch(self.records.take(indices))

    def slice(self, start: int, stop: int) -> RequestBatch:
        """The requests start:stop, in their order."""
        return self.take(range(start, min(stop, self.num_requests)))

    def _days(self) -> str:
        if "logged_at" not in self.records.schema.names or not self.num_requests:
            return ""
        return f" {pc.min(self.records.column('logged_at')).as_py().date()}"

    def _unknown(self, path: str, known: Iterable[str]) -> LogError:
        return LogError(
            f"the log has no field {path!r} (known: {', '.join(known) or 'none'}).",
            where=f"the fields of the logged day{self._days()}",
            fix="name a logged field, or replay a log that has it",
        )


def batch_from_records(records: pa.RecordBatch | pa.Table) -> RequestBatch:
    """Cast records into the canonical types, as one compact batch.

    The rows are taken as they are: `replay.logs.schema` decides which rows are valid.

    Raises:
        LogError: A column has a type with no canonical form, or a value that does not fit
            it (an unsigned integer above 2^63).
    """
    table = pa.Table.from_batches([records]) if isinstance(records, pa.RecordBatch) else records
    target = pa.schema([pa.field(f.name, canonical_type(f.type)) for f in table.schema])
    try:
        table = table.cast(target) if table.schema != target else table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LogError(
            f"the log's values do not fit the canonical types: {error}.",
            where="the log's columns",
            fix="integers fit in int64, times in microseconds since 1970",
        ) from error
    combined = table.combine_chunks()
    columns = [
        column.chunk(0) if column.num_chunks == 1 else pa.array([], column.type)
        for column in combined.columns
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=target)
    # Slices and row groups may start inside their buffers; a taken batch never does.
    return RequestBatch(batch.take(pa.array(np.arange(batch.num_rows, dtype=np.int64))))


def concat_batches(batches: Iterable[RequestBatch]) -> RequestBatch:
    """The requests of several batches of one schema, one after another."""
    return batch_from_records(pa.Table.from_batches([batch.records for batch in batches]))


def _offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    offsets: NDArray[np.int64] = lists.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    assert lists.null_count == 0 and offsets[0] == 0, "lists of a batch are compact and never null"
    return offsets
