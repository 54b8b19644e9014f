"""A request made as small as it can be while something stays true of it: delta debugging."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parity.tolerance import Mask
from replay.request import RequestBatch, batch_from_records

T = TypeVar("T", bound=Hashable)
# Of many smaller forms, which hold; None where it does not, else its cost: less is better.
Trial = Callable[[Sequence[tuple[T, ...]]], Sequence[int | None]]

# What is made smaller, in this order, and how much of it has to stay.
_PARTS = {"candidates": 1, "steps": 0, "fields": 0}
# Parts of the first cut. Two would take fewer rows and, trials being batches, more of them.
_PIECES = 4

# What every row of a log has (docs/formats.md): never made null.
_REQUIRED = {
    "history": {"ad_id", "action", "at"},
    "candidate": {
        *("ad_id", "bid_micros"),
        *("served_rank", "served_pctr", "served_features"),
    },
}
_COLUMNS = {"candidate": "candidates", "history": "history", "context": "context", "user": "user"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A smaller form of a request.

    Attributes:
        candidates: Places of the candidates that are left; at least one.
        steps: Places of the history's steps that are left.
        fields: Optional fields that keep their values; the others are null.
    """

    candidates: tuple[int, ...]
    steps: tuple[int, ...]
    fields: tuple[str, ...]


Judge = Callable[[Sequence[Variant]], Sequence[int | None]]


def whole(request: RequestBatch) -> Variant:
    """A request as it is; of a batch, the first."""
    return Variant(
        candidates=tuple(range(request.keys.num_candidates)),
        steps=tuple(range(request.keys.num_rows("step"))),
        fields=optional_fields(request),
    )


def shrink(request: RequestBatch, judge: Judge) -> Variant:
    """The smallest form that still holds: no single candidate, step or field can be left out.

    Candidates go first, since they are many, then steps, then fields. A form is never taken at a
    higher cost than the one it was made from. The judge sees many forms at once, and may bound
    the effort by refusing what goes beyond it.

    Args:
        request: One request; as a whole it holds.
        judge: Says of each form whether it holds, by its cost; None where it does not.
    """
    best = whole(request)
    while True:
        before = best
        for part, least in _PARTS.items():
            trial = _trial(judge, best, part)
            best = replace(best, **{part: ddmin(getattr(best, part), trial, least=least)})
        if best == before:
            return best


def _trial(judge: Judge, base: Variant, part: str) -> Trial[Any]:
    """Tries forms of a request that differ in one part from a form that holds."""
    (most,) = judge([base])

    def trial(forms: Sequence[tuple[Any, ...]]) -> Sequence[int | None]:
        costs = judge([replace(base, **{part: form}) for form in forms])
        return [cost if cost is not None and most is not None and cost <= most else None
                for cost in costs]  # fmt: skip

    return trial


def ddmin(items: Sequence[T], trial: Trial[T], *, least: int = 0) -> tuple[T, ...]:
    """A part of the items that holds, from which none can be left out alone.

    Zeller and Hildebrandt 2002, "Simplifying and isolating failure-inducing input", with two
    changes for trials that come in batches: nothing and each item alone are tried first, and
    parts that can each be left out are left out together as far as that holds.

    Args:
        items: All of them hold.
        trial: Judges many parts at once.
        least: Items that have to stay.
    """
    kept = tuple(items)
    small: list[tuple[T, ...]] = [()] if least == 0 else []
    small += [(item,) for item in kept]
    if len(kept) > least:
        found = _cheapest(small, trial(small))
        if found is not None:
            return found
    pieces = _PIECES
    while len(kept) > max(least, 1):
        parts = _split(kept, pieces)
        without = [_without(kept, part) for part in parts]
        alone = [part for part in parts if len(part) > 1]
        costs = trial([*alone, *without])
        found = _cheapest(alone, costs[: len(alone)])
        can_go = [
            part for part, cost in zip(parts, costs[len(alone) :], strict=True) if cost is not None
        ]
        if found is not None:
            kept, pieces = found, _PIECES
        elif can_go:
            kept = _all_at_once(kept, can_go, trial)
            pieces = max(pieces - len(can_go), 2)
        elif len(parts) == len(kept):
            break
        else:
            pieces = 2 * pieces
    return kept


def optional_fields(request: RequestBatch) -> tuple[str, ...]:
    """Paths of the fields of a request that may be null and are not."""
    found = []
    for top, column in _COLUMNS.items():
        kind = request.records.schema.field(column).type
        for field in kind.value_type if pa.types.is_list(kind) else kind:
            path = f"{top}.{field.name}"
            values = request.column(path)
            if field.name not in _REQUIRED.get(top, ()) and values.null_count < len(values):
                found.append(path)
    return tuple(found)


def batch_of(
    request: RequestBatch, variants: Sequence[Variant], *, renamed: bool = True
) -> RequestBatch:
    """The forms of a request as a batch, one after another.

    Args:
        request: One request.
        variants: Its forms.
        renamed: Give each an id of its own, `<id>~<place>`; else all have the request's.
    """
    records = request.records
    first = pa.array(np.zeros(len(variants), dtype=np.int64))
    columns: dict[str, pa.Array] = {
        name: records.column(name).take(first) for name in records.schema.names
    }
    if renamed:
        name = records.column("request_id")[0].as_py()
        ids = [f"{name}~{place}" for place in range(len(variants))]
        columns["request_id"] = pa.array(ids, pa.string())
    optional = optional_fields(request)
    for top in ("context", "user"):
        columns[top] = _nulled(columns[top], top, optional, [(one, 1) for one in variants])
    for top, column in (("candidate", "candidates"), ("history", "history")):
        places = [one.candidates if top == "candidate" else one.steps for one in variants]
        counts = [len(kept) for kept in places]
        flat = np.array([place for kept in places for place in kept], dtype=np.int64)
        values = records.column(column).values.take(pa.array(flat))
        values = _nulled(values, top, optional, zip(variants, counts, strict=True))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        columns[column] = pa.ListArray.from_arrays(
            pa.array(offsets), values, type=records.schema.field(column).type
        )
    return batch_from_records(
        pa.RecordBatch.from_arrays(list(columns.values()), schema=records.schema)
    )


def _nulled(
    values: pa.StructArray, top: str, optional: Iterable[str], of: Iterable[tuple[Variant, int]]
) -> pa.StructArray:
    """A struct whose fields are null in the rows of the variants that do not keep them."""
    rows = list(of)
    counts = np.array([count for _, count in rows], dtype=np.int64)
    children: list[pa.Array] = []
    for place, field in enumerate(values.type):
        child = values.field(place)
        if f"{top}.{field.name}" in optional:
            kept = np.array([f"{top}.{field.name}" in one.fields for one, _ in rows])
            child = _only_where(np.repeat(kept, counts), child)
        children.append(child)
    if not children:
        return values
    return pa.StructArray.from_arrays(children, fields=list(values.type))


def _only_where(kept: Mask, values: pa.Array) -> pa.Array:
    places: NDArray[np.int64] = np.arange(len(values), dtype=np.int64)
    return pc.take(values, pa.array(places, mask=~kept))


def _cheapest(parts: Sequence[tuple[T, ...]], costs: Sequence[int | None]) -> tuple[T, ...] | None:
    """The part that holds at the least cost; of equals the smallest, then the first."""
    holding = [
        (cost, len(part), place)
        for place, (part, cost) in enumerate(zip(parts, costs, strict=True))
        if cost is not None
    ]
    return parts[min(holding)[2]] if holding else None


def _all_at_once(
    kept: tuple[T, ...], parts: Sequence[tuple[T, ...]], trial: Trial[T]
) -> tuple[T, ...]:
    """Without the first of the parts, and without as many more as can go together with it."""
    gone = [_without(kept, [item for part in parts[: n + 1] for item in part])
            for n in range(len(parts))]  # fmt: skip
    if len(gone) == 1:
        return gone[0]
    costs = trial(gone[1:])
    together = [form for form, cost in zip(gone[1:], costs, strict=True) if cost is not None]
    return together[-1] if together else gone[0]


def _without(items: tuple[T, ...], part: Iterable[T]) -> tuple[T, ...]:
    gone = set(part)
    return tuple(item for item in items if item not in gone)


def _split(items: tuple[T, ...], pieces: int) -> list[tuple[T, ...]]:
    count = min(pieces, len(items))
    edges = [len(items) * place // count for place in range(count + 1)]
    return [items[a:b] for a, b in pairwise(edges)]
