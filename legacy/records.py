"""Logged requests as nested Python records, cut to the fields that a feature set reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from legacy.feature_set import Feature
from replay.errors import ConfigError
from replay.request import RequestBatch

# One field's path to its value; "history" and "candidates" hold lists of such rows. Times
# are microseconds since 1970.
Row = dict[str, Any]

_NUMERIC = ("int64", "double", "bool")
_TEXTUAL = ("string", "int64", "bool")
_TIMES = ("timestamp[us, tz=UTC]",)
_TYPES: Mapping[str, tuple[str, ...]] = {
    "number": _NUMERIC,
    "log1p": _NUMERIC,
    "rate": _NUMERIC,
    "bucket": _NUMERIC,
    "hour": _TIMES,
    "weekday": _TIMES,
    "recency": _TIMES,
    "history_recency": _TIMES,
    "tokens": ("string",),
    "hash": _TEXTUAL,
    "history_matches": _TEXTUAL,
    "id": ("int64",),
}


def records_from_batch(batch: RequestBatch, features: Iterable[Feature]) -> list[Row]:
    """The requests with every field that these features read, under its full path.

    Raises:
        LogError: The log lacks a field.
        ConfigError: A field has a type that its feature can not be computed from.
    """
    paths: dict[str, None] = {}
    for feature in features:
        paths.update(dict.fromkeys(feature.sources))
        paths.update(dict.fromkeys(history_paths(feature)))
        _check_types(batch, feature)
    columns = {path: _plain(batch.column(path)) for path in paths}
    names = ["history", "candidates"]
    arrays = [
        _nested(columns, "history", batch.keys.step_offsets),
        _nested(columns, "candidate", batch.keys.candidate_offsets),
    ]
    for path, column in columns.items():
        if not path.startswith(("history.", "candidate.")):
            names.append(path)
            arrays.append(column)
    records: list[Row] = pa.RecordBatch.from_arrays(arrays, names).to_pylist()
    return records


def check_type(batch: RequestBatch, path: str, allowed: tuple[str, ...], says: str) -> None:
    """Refuse a field of a type that can not be computed from.

    `says` names what wants to be computed, for the error.

    Raises:
        LogError: The log lacks the field.
        ConfigError: The field has another type.
    """
    found = str(batch.column(path).type)
    if found not in allowed:
        raise ConfigError(
            f"{says} can not be computed from {path!r}, which is {found}.",
            where="the feature set, and the log's schema",
            fix=f"name a field of type {' or '.join(allowed)}",
        )


def history_paths(feature: Feature) -> tuple[str, ...]:
    """The fields of the history that a feature reads."""
    if feature.kind == "history_recency":
        return ("history.at",)
    if feature.kind == "history_matches":
        return (f"history.{feature.parameters['field']}",)
    return ()


def _check_types(batch: RequestBatch, feature: Feature) -> None:
    says = f"feature {feature.name!r} ({feature.kind})"
    for path in (*feature.sources, *history_paths(feature)):
        check_type(batch, path, _TYPES[feature.kind], says)
    if feature.kind == "history_matches":
        path = history_paths(feature)[0]
        check_type(batch, path, (str(batch.column(feature.sources[0]).type),), says)


def _plain(column: pa.Array) -> pa.Array:
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def _nested(
    columns: Mapping[str, pa.Array], top: str, offsets: np.ndarray[Any, np.dtype[np.int64]]
) -> pa.ListArray:
    """Lists of rows by offsets; rows without any field where nothing is read of them."""
    own = {path: column for path, column in columns.items() if path.startswith(f"{top}.")}
    if own:
        rows = pa.StructArray.from_arrays(list(own.values()), list(own))
    else:
        rows = pa.array([{}] * int(offsets[-1]), type=pa.struct([]))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), rows)
