"""For whom: the smallest condition on logged fields under which a cause shows itself more often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from parity.explain.probe import Probe
from parity.explain.slice_conditions import Condition, conditions
from parity.explain.slice_tests import p_value
from parity.judge.report import Cause
from parity.tolerance import Floats, Mask
from replay.checkpoint import RowAxis
from replay.request import RequestBatch

# A rate that leaves out less than this is everywhere.
EVERYWHERE = 0.99
LEVEL = 0.05
# Conditions carried from the half where they are found to the half that confirms them.
CARRIED = 8
# The first of a conjunction is one of so many conditions that explain most by themselves.
BEAM = 12
# Of the uncertainty (entropy) about which rows differ, what a condition has to take away to be
# worth a person's time, and what a second condition has to take away beyond the first.
WORTH = 0.05
SECOND = 0.1
_BITS = np.array([number.bit_count() for number in range(256)], dtype=np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Where a cause concentrates, on a sample of the requests.

    Attributes:
        text: For a report.
        conditions: The phrases that have to hold together; none when it is everywhere.
        rate_inside, rate_outside: Share of the sampled rows that differ; None where there are none.
        rows_inside: Sampled rows that meet the conditions.
        requests_inside: Sampled requests with such a row.
        requests: Sampled requests.
        p_value: The larger of two: on all sampled requests, times `tried`; on the half that did
            not choose it, times the conditions tested there. None when it is everywhere.
        tried: Conditions and conjunctions that were looked at.
    """

    text: str
    conditions: tuple[str, ...]
    rate_inside: float
    rate_outside: float | None
    rows_inside: int
    requests_inside: int
    requests: int
    p_value: float | None = None
    tried: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """The sample's rows, and which half each belongs to."""

    differs: Mask
    request_of: NDArray[np.int64]
    searched: Mask

    def p_value(self, condition: Mask, among: Mask) -> float:
        return p_value(condition[among], self.differs[among], self.request_of[among])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """A condition, or two that hold together, and what it explains on the half it was found on."""

    parts: tuple[Condition, ...]
    explained: float

    @property
    def mask(self) -> Mask:
        mask = self.parts[0].mask
        return mask if len(self.parts) == 1 else mask & self.parts[1].mask


def with_slices(causes: Sequence[Cause], found: Probe, *, seed: int = 0) -> tuple[Cause, ...]:
    """The causes of a probe, each with the slice of the sample in which it shows more often."""
    known: dict[RowAxis, list[Condition]] = {}
    told = []
    for cause in causes:
        axis = found.alignment[cause.checkpoint].rows
        if axis not in known:
            known[axis] = conditions(found.batch, axis)
        differs = found.local[cause.checkpoint].differs
        one = find_slice(differs, axis, found.batch, seed=seed, known=known[axis])
        told.append(replace(cause, slice=None if one is None else one.text))
    return tuple(told)


def find_slice(
    differs: Mask,
    axis: RowAxis,
    batch: RequestBatch,
    *,
    seed: int = 0,
    known: Sequence[Condition] | None = None,
) -> Slice | None:
    """The smallest condition under which rows differ more often.

    It is found on one half of the requests, which are drawn by their ids, and confirmed on the
    other. A conjunction of two is given only where each part adds much to the other. Whatever the
    order of the requests, the answer is the same.

    Args:
        differs: [row] of the axis, such as a cause's local difference on the probe's sample. That
            sample has diverging and agreeing requests in equal parts, so its rates are the
            sample's and not the day's.
        axis: What the rows are.
        batch: The sample.
        seed: Draws the halves.
        known: The sample's conditions along the axis, where several causes share them.

    Returns:
        The slice; one without conditions where (nearly) every row differs; None where nothing
        differs, or nothing holds.
    """
    if not differs.any():
        return None
    request_of = batch.keys.request_of(axis)
    requests = batch.num_requests
    rate = float(differs.mean())
    if rate >= EVERYWHERE:
        return Slice(
            text="every request",
            conditions=(),
            rate_inside=rate,
            rate_outside=None,
            rows_inside=len(differs),
            requests_inside=len(np.unique(request_of)),
            requests=requests,
        )
    searched = _searched_half(differs, request_of, batch, seed)
    rows = _Rows(differs=differs, request_of=request_of, searched=searched[request_of])
    singles, pairs, tried = _search(conditions(batch, axis) if known is None else known, rows)
    carried = [*singles[:CARRIED], *pairs[:1]]
    held: dict[int, list[tuple[float, float, _Found]]] = {1: [], 2: []}
    for one in carried:
        p = _confirmed(one, rows, tried=tried, tested=len(carried))
        if p is not None:
            held[len(one.parts)].append((_explained_by(one.mask, differs), p, one))
    # max keeps the first of equals, which is the plainer one
    best = max(held[1], key=lambda found: found[0], default=None)
    for two in held[2]:
        if best is None or two[0] >= best[0] + SECOND:
            best = two
    if best is None:
        return None
    return _described(best[2], best[1], rows, axis, requests=requests, tried=tried)


def _searched_half(
    differs: Mask, request_of: NDArray[np.int64], batch: RequestBatch, seed: int
) -> Mask:
    """[request]: one half of those with a differing row and one half of the others, by their ids."""
    has = np.zeros(batch.num_requests, dtype=np.bool_)
    has[request_of[differs]] = True
    ids = batch.keys.request_ids.to_pylist()
    drawn = [blake2b(f"{seed}:{name}".encode(), digest_size=8).hexdigest() for name in ids]
    order = sorted(range(len(ids)), key=lambda place: (bool(has[place]), drawn[place], ids[place]))
    searched = np.zeros(batch.num_requests, dtype=np.bool_)
    searched[order[::2]] = True
    return searched


def _search(known: Sequence[Condition], rows: _Rows) -> tuple[list[_Found], list[_Found], int]:
    """Conditions and conjunctions by what they explain on the searched half, and how many."""
    if not known:
        return [], [], 0
    differs = rows.differs[rows.searched]
    packed = np.stack([np.packbits(one.mask[rows.searched]) for one in known])
    apart = np.packbits(differs)
    single = _explained(packed, apart, len(differs), int(differs.sum()))
    order = _best_first(single)
    singles = [
        _Found(parts=(known[place],), explained=float(single[place]))
        for place in order
        if single[place] >= WORTH
    ]
    pairs: list[_Found] = []
    tried = len(known)
    for turn, first in enumerate(order[:BEAM]):
        both = _explained(packed & packed[first], apart, len(differs), int(differs.sum()))
        both[order[: turn + 1]] = 0.0  # itself, and pairs that were looked at
        tried += len(known) - turn - 1
        second = int(_best_first(both)[0])
        parts = sorted((first, second))
        pairs.append(
            _Found(parts=tuple(known[place] for place in parts), explained=float(both[second]))
        )
    pairs = sorted((one for one in pairs if one.explained >= WORTH), key=lambda one: -one.explained)
    return singles, pairs, tried


def _best_first(explained: Floats) -> list[int]:
    """Places by what they explain; of equals the plainer condition, which stands first."""
    return [int(place) for place in np.argsort(-explained, kind="stable")]


def _explained(masks: NDArray[np.uint8], apart: NDArray[np.uint8], rows: int, count: int) -> Floats:
    """[condition]: the part of the entropy of `differs` that it takes away; 0 where it differs less.

    Counts are whole numbers, so the order of the rows can not move a bit of it.
    """
    inside = _BITS[masks].sum(axis=1, dtype=np.int64)
    hits = _BITS[masks & apart].sum(axis=1, dtype=np.int64)
    whole = rows * float(_entropy(np.array([count]), np.array([rows]))[0])
    if whole == 0.0:
        return np.zeros(len(masks))
    left = inside * _entropy(hits, inside) + (rows - inside) * _entropy(count - hits, rows - inside)
    more = hits * rows > count * inside
    return np.where(more, 1.0 - left / whole, 0.0)


def _explained_by(mask: Mask, differs: Mask) -> float:
    """The same of one condition on all rows."""
    packed = np.packbits(mask)[np.newaxis]
    return float(_explained(packed, np.packbits(differs), len(differs), int(differs.sum()))[0])


def _entropy(hits: NDArray[np.int64], of: NDArray[np.int64]) -> Floats:
    """Bits per row of a set of rows of which some differ."""
    share = hits / np.maximum(of, 1)
    found = np.zeros(len(share))
    mixed = (share > 0.0) & (share < 1.0)
    p = share[mixed]
    found[mixed] = -(p * np.log2(p) + (1.0 - p) * np.log2(1.0 - p))
    return found


def _confirmed(one: _Found, rows: _Rows, *, tried: int, tested: int) -> float | None:
    """Its corrected p-value; None where it does not hold on the half that did not choose it.

    Of a conjunction each part has to hold among the rows that meet the other.
    """
    everywhere = np.ones_like(rows.searched)
    other = ~rows.searched
    found = [
        tried * rows.p_value(one.mask, everywhere),
        tested * rows.p_value(one.mask, other),
    ]
    for part, beside in zip(one.parts, one.parts[::-1], strict=True):
        if part is not beside:
            found.append(tested * rows.p_value(part.mask, other & beside.mask))
    p = min(1.0, max(found))
    return p if p <= LEVEL else None


def _described(
    one: _Found, p: float, rows: _Rows, axis: RowAxis, *, requests: int, tried: int
) -> Slice:
    inside = one.mask
    rates = float(rows.differs[inside].mean()), float(rows.differs[~inside].mean())
    who = _who(one.parts, axis)
    text = (
        f"{'only ' if rates[1] == 0.0 else ''}{who}: {_percent(rates[0])} differ there, "
        f"{_percent(rates[1])} elsewhere ({requests} requests sampled)"
    )
    return Slice(
        text=text,
        conditions=tuple(part.phrase for part in one.parts),
        rate_inside=rates[0],
        rate_outside=rates[1],
        rows_inside=int(inside.sum()),
        requests_inside=len(np.unique(rows.request_of[inside])),
        requests=requests,
        p_value=p,
        tried=tried,
    )


def _who(parts: Iterable[Condition], axis: RowAxis) -> str:
    """Nouns with their conditions: rows first, then the requests they are in."""
    noun = {"candidate": "candidates", "step": "history steps"}.get(axis, "requests")
    of_rows = [part.phrase for part in parts if part.level == "row"]
    of_requests = [part.phrase for part in parts if part.level == "request"]
    text = f"{noun} {' and '.join(of_rows)}" if of_rows else ""
    if of_requests:
        text += f"{', in ' if text else ''}requests {' and '.join(of_requests)}"
    return text


def _percent(share: float) -> str:
    """Never rounded to 0 % or 100 % when it is not."""
    shown = f"{100 * share:.0f} %"
    if shown == "100 %" and share < 1.0:
        return "> 99 %"
    return "< 1 %" if shown == "0 %" and share > 0.0 else shown
