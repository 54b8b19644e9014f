"""Which slice each labelled candidate belongs to: its logged fields of few values, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parity.judge.metrics.outcomes import MAX_VALUES, SliceColumn
from replay.errors import ConfigError
from replay.request import RequestBatch

MISSING = "(missing)"
HISTORY = "history length"
# Longer text is no segment, and a report has to stay readable.
MAX_TEXT = 60
# What happened is no slice: a group chosen by its outcome has another rate of it by construction.
# Nor is what the candidate is known by, or what production made of it.
_NOT_SLICES = frozenset({"ad_id", "bid_micros", "click", "conversion", "view_ms"})
_HISTORY_EDGES = (1, 10, 100)
_HISTORY_NAMES = ("0", "1-9", "10-99", "100 or more")


def slice_columns(
    batch: RequestBatch, labelled: NDArray[np.int64], named: Sequence[str] = ()
) -> dict[str, SliceColumn]:
    """The slices of labelled candidates by field; a field with one value is kept for other shards.

    Args:
        batch: The requests.
        labelled: Places among its candidates.
        named: Fields that the plan asks for; they may have any number of values.
    """
    request = batch.keys.request_of("candidate")[labelled]
    steps = np.diff(batch.keys.step_offsets)[request]
    found = {
        HISTORY: SliceColumn(
            values=_HISTORY_NAMES,
            codes=np.digitize(steps, _HISTORY_EDGES).astype(np.int32),
        )
    }
    for path, kind in fields_of(batch.records.schema):
        if not (path in named or (_is_discrete(kind) and _may_be_slice(path))):
            continue
        rows = labelled if path.startswith("candidate.") else request
        column = _column(batch.column(path).take(pa.array(rows)), named=path in named)
        if column is not None:
            found[path] = column
    return found


def fields_of(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Paths and types of the scalar fields of context, user and candidates."""
    for top, column in (("context", "context"), ("user", "user"), ("candidate", "candidates")):
        kind = schema.field(column).type
        struct = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
        for one in struct:
            if not pa.types.is_nested(one.type):
                yield f"{top}.{one.name}", one.type


def check_named(schema: pa.Schema, named: Sequence[str]) -> None:
    """Refuse slices that a log can not give, before anything is replayed.

    Raises:
        ConfigError: The log has no such field, or one without discrete values.
    """
    kinds = dict(fields_of(schema))
    for path in named:
        if path not in kinds or not _is_discrete(kinds[path]):
            usable = ", ".join(name for name, kind in kinds.items() if _is_discrete(kind))
            what = f"is a {kinds[path]}" if path in kinds else "is no field of the log"
            raise ConfigError(
                f"the slice {path!r} {what} (usable: {usable or 'none'}).",
                where="the plan's slices",
                fix="name a logged field of text, whole numbers or true and false",
            )


def _may_be_slice(path: str) -> bool:
    name = path.partition(".")[2]
    return name not in _NOT_SLICES and not name.startswith(("served_", "true_"))


def _is_discrete(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_dictionary(kind)
    )


def _column(values: pa.Array, *, named: bool) -> SliceColumn | None:
    encoded = values.dictionary_encode()
    if not named and len(encoded.dictionary) > MAX_VALUES:
        return None
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    texts = [_text(value) for value in encoded.dictionary.to_pylist()]
    if (codes < 0).any():
        texts.append(MISSING)
        codes = np.where(codes < 0, len(texts) - 1, codes)
    ordered = sorted(set(texts))
    place = np.array([ordered.index(text) for text in texts], dtype=np.int32)
    return SliceColumn(values=tuple(ordered), codes=place[codes], named=named)


def _text(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
