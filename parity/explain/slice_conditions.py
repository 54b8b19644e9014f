"""Conditions over logged fields, as a person would say them, with the rows that meet each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parity.tolerance import Floats, Mask
from replay.checkpoint import RowAxis
from replay.request import RequestBatch

Level = Literal["request", "row"]

# A condition that fewer requests meet can not be confirmed on half of them.
MIN_REQUESTS = 3
# Values of one field that are tried, those of the most requests first: a probe has 128 requests.
MAX_VALUES = 64
# Cuts of a real field: every twentieth of its values.
QUANTILES = 20
# Whole numbers with so few values are cut at each of them.
MAX_STEPS = 40
_LONGEST_VALUE = 40  # characters of a value that a phrase shows
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition:
    """Something that holds for some rows.

    Attributes:
        level: "request" when it speaks of whole requests, "row" when of single rows.
        phrase: Follows the noun: "without history", "whose price is missing".
        mask: [row] of the axis.
    """

    level: Level
    phrase: str
    mask: Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Field:
    """A logged field on its own row axis.

    Attributes:
        label: As phrases call it.
        values: [row], scalars.
        request_of: [row] to its request.
    """

    level: Level
    label: str
    values: pa.Array
    request_of: NDArray[np.int64]


def conditions(batch: RequestBatch, axis: RowAxis) -> list[Condition]:
    """Every condition on a sample, plainer ones first; of several with the same rows one stands.

    They depend on what was logged alone, never on what differs: history length, hour of
    `logged_at`, and of each scalar field of context, user and the axis' own struct whether it is
    missing, which value it has, and on which side of a cut it lies.
    """
    request_of = batch.keys.request_of(axis)
    found: dict[bytes, Condition | None] = {}
    for level, phrase, own in _phrases(batch, axis):
        mask = own[request_of] if level == "request" else own
        rows = np.packbits(mask).tobytes()
        if rows not in found:
            usable = all(
                _requests(side, batch, request_of) >= MIN_REQUESTS for side in (mask, ~mask)
            )
            found[rows] = Condition(level=level, phrase=phrase, mask=mask) if usable else None
    return [one for one in found.values() if one is not None]


def _requests(mask: Mask, batch: RequestBatch, request_of: NDArray[np.int64]) -> int:
    hit = np.zeros(batch.num_requests, dtype=np.bool_)
    hit[request_of[mask]] = True
    return int(np.count_nonzero(hit))


def _phrases(batch: RequestBatch, axis: RowAxis) -> Iterator[tuple[Level, str, Mask]]:
    fields = list(_fields(batch, axis))
    steps = np.diff(batch.keys.step_offsets)
    yield "request", "without history", steps == 0
    yield "request", "with history", steps > 0
    for one in fields:
        missing = _missing(one.values)
        yield one.level, f"whose {one.label} is missing", missing
        yield one.level, f"whose {one.label} is given", ~missing
    for one in fields:
        for phrase, mask in _by_value(one):
            yield one.level, phrase, mask
    hours = (batch.column("logged_at").cast(pa.int64()).to_numpy() // _HOUR_US) % 24
    for hour in np.unique(hours)[1:]:
        yield "request", f"logged before {hour:02d}:00 UTC", hours < hour
        yield "request", f"logged from {hour:02d}:00 UTC on", hours >= hour
    candidates = np.diff(batch.keys.candidate_offsets)
    for counts, noun in ((steps, "history steps"), (candidates, "candidates")):
        for cut in _cuts(counts.astype(np.float64), whole=True):
            yield "request", f"with fewer than {cut:g} {noun}", counts < cut
            yield "request", f"with at least {cut:g} {noun}", counts >= cut
    logged_at = batch.column("logged_at").cast(pa.int64()).to_numpy()
    for one in fields:
        for phrase, mask in _by_size(one, logged_at):
            yield one.level, phrase, mask


def _fields(batch: RequestBatch, axis: RowAxis) -> Iterator[_Field]:
    """Scalar fields of the request, and of the rows themselves."""
    own: dict[RowAxis, tuple[str, ...]] = {"candidate": ("candidate",), "step": ("history",)}
    for top in (*own.get(axis, ()), "context", "user"):
        column = "candidates" if top == "candidate" else top
        kind = batch.records.schema.field(column).type
        struct = kind.value_type if pa.types.is_list(kind) else kind
        is_row = top in {"candidate", "history"}
        for field in struct:
            if pa.types.is_nested(field.type):
                continue  # served features: what production made of the fields beside them
            yield _Field(
                level="row" if is_row else "request",
                label=field.name if is_row else f"{top}.{field.name}",
                values=batch.column(f"{top}.{field.name}"),
                request_of=batch.keys.request_of(axis if is_row else "request"),
            )


def _missing(values: pa.Array) -> Mask:
    """NaN counts as missing, as it does for features."""
    found: Mask = pc.is_null(values, nan_is_null=True).to_numpy(zero_copy_only=False)
    return found


def _by_value(field: _Field) -> Iterator[tuple[str, Mask]]:
    """Equality with the values that most requests have, exactly: ids never become floats."""
    if pa.types.is_timestamp(field.values.type):
        return
    encoded = field.values.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    known = np.flatnonzero((codes >= 0) & ~_missing(field.values))
    size = len(encoded.dictionary)
    if size == 0:
        return
    pairs = np.unique(field.request_of[known] * size + codes[known])
    requests = np.bincount(pairs % size, minlength=size)
    shown = {
        code: _shown(encoded.dictionary[code]) for code in np.flatnonzero(requests >= MIN_REQUESTS)
    }
    by_count = sorted(shown, key=lambda code: (-requests[code], shown[code]))
    for code in by_count[:MAX_VALUES]:
        mask = codes == code
        yield f"whose {field.label} is {shown[code]}", mask
        yield f"whose {field.label} is not {shown[code]}", ~mask


def _by_size(field: _Field, logged_at: NDArray[np.int64]) -> Iterator[tuple[str, Mask]]:
    """Either side of a cut; a missing value lies on neither side. Ids have no sizes."""
    kind, label = field.values.type, field.label
    if label == "ad_id" or label.endswith("_id"):
        return
    if pa.types.is_timestamp(kind):
        times = field.values.cast(pa.int64())
        since = pc.subtract(pa.array(logged_at[field.request_of]), times)
        hours = _floats(since) / _HOUR_US
        for cut in _cuts(hours, whole=False):
            yield f"whose {label} is less than {cut:.4g} h before logged_at", hours < cut
            yield f"whose {label} is at least {cut:.4g} h before logged_at", hours >= cut
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = _floats(field.values)
        for cut in _cuts(values, whole=pa.types.is_integer(kind)):
            yield f"whose {label} is below {cut:.6g}", values < cut
            yield f"whose {label} is at least {cut:.6g}", values >= cut


def _floats(values: pa.Array) -> Floats:
    """[row] float64, NaN where missing; good enough for sizes."""
    floats: Floats = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return floats


def _cuts(values: Floats, *, whole: bool) -> Floats:
    """Values that split the others: each of a few whole numbers, else quantiles."""
    usable = values[np.isfinite(values)]
    distinct = np.unique(usable)
    if len(distinct) > (MAX_STEPS if whole else QUANTILES):
        shares = np.arange(1, QUANTILES) / QUANTILES
        distinct = np.unique([distinct[0], *np.quantile(usable, shares, method="higher")])
    return distinct[1:]  # below the smallest there is nothing


def _shown(value: pa.Scalar) -> str:
    plain = value.as_py()
    text = f"{plain:.6g}" if isinstance(plain, float) else repr(plain)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
