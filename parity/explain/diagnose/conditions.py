"""Differences that no function of the value settles, but the place where they occur does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from parity.explain.diagnose.evidence import Evidence
from parity.explain.diagnose.hypothesis import Hypothesis, Scored
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.sampling import differing_rows, held_back
from parity.explain.diagnose.score import MIN_BITS, flags
from parity.explain.diagnose.wording import number
from parity.tolerance import Mask
from replay.trace import Array

# Of the differing rows, so many have to lie where the condition holds.
_INSIDE = 0.6
# A value of a parent is an edge when so many of its rows differ.
_EDGE = 0.9
# Not every row with such a value comes by a split there.
_EDGE_RATE = 0.3
_MOST_EDGES = 24
_REST = 0.05
# Of the longer histories, so many have to differ; and so many lengths are tried.
_TRUNCATED = 0.7
_LENGTHS = 64
_SIDE = "a value on the threshold goes the other way: <= for <, or thresholds that are not float32"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Condition:
    """[row] where a fault shows, if it is this one; `bits` say which."""

    kind: str
    says: str
    meaning: str
    holds: Mask
    bits: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """All rows of the evidence: of a wide checkpoint the sample holds only a few.

    Attributes:
        differs: [row], any of its cells.
        fitted: [row], not held back.
    """

    evidence: Evidence
    differs: Mask
    fitted: Mask

    @property
    def parents(self) -> dict[str, Array]:
        """The real-valued columns that the checkpoint is computed from."""
        return {
            name: self.evidence.others[name]
            for name in self.evidence.parents
            if self.evidence.others[name].ndim == 1 and self.evidence.others[name].dtype.kind == "f"
        }


def best_condition(sample: Sample) -> Scored | None:
    """The condition that says most of which rows differ; None when none earns its bits."""
    evidence = sample.evidence
    differs = differing_rows(evidence)
    held = held_back(evidence.requests, differs)
    rows = _Rows(evidence=evidence, differs=differs, fitted=~held)
    k = int(differs[held].sum())
    conditions = list(_conditions(rows, sample))
    best: Scored | None = None
    for one in conditions:
        inside, there = one.holds[held], differs[held]
        met = int((inside & there).sum())
        if met < _INSIDE * k or not 0 < inside.sum() < len(inside):
            continue
        with_it = flags(int(inside.sum()), met) + flags(int((~inside).sum()), k - met)
        bits = flags(len(inside), k) - with_it - one.bits - math.log2(len(conditions))
        if bits >= MIN_BITS and (best is None or bits > best.bits):
            best = _scored(sample, one, bits, met / k)
    return best


def _conditions(rows: _Rows, sample: Sample) -> Iterator[_Condition]:
    if rows.evidence.stage == "tree":
        yield from _missing(rows)
        yield from _at_thresholds(rows)
        yield from _at_parents_values(rows)
    if rows.evidence.stage in {"feature", "encoding"} and _one_step(sample):
        yield from _at_edges(rows)
    yield from _long_histories(rows)


def _missing(rows: _Rows) -> Iterator[_Condition]:
    masks = {name: np.isnan(values) for name, values in rows.parents.items()}
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if len(masks) > 1:
        masks["a feature"] = np.logical_or.reduce(list(masks.values()))
    for name, mask in masks.items():
        yield _Condition(
            kind="missing_direction",
            says=f"leaves differ only where {name} is missing",
            meaning="a missing value goes the other way at a split",
            holds=mask,
        )


def _at_thresholds(rows: _Rows) -> Iterator[_Condition]:
    # Of a split that was x <= t, the threshold is the number below the declared one.
    hits = [
        np.isin(values, np.concatenate([points, np.nextafter(points, np.float32(-np.inf))]))
        for name, values in rows.parents.items()
        if name in rows.evidence.thresholds
        for points in (rows.evidence.thresholds[name],)
    ]
    if hits:
        yield _Condition(
            kind="threshold_side",
            says="leaves differ only where a feature equals a split's threshold",
            meaning=_SIDE,
            holds=np.logical_or.reduce(hits),
        )


def _at_edges(rows: _Rows) -> Iterator[_Condition]:
    """A code moves by one where a column has one of a few values, and hardly elsewhere."""
    differs, fitted = rows.differs, rows.fitted
    for name, column in {**rows.evidence.others, **rows.evidence.context}.items():
        if column.dtype.kind not in "fi" or column.ndim > 1:
            continue
        values, place = np.unique(column, return_inverse=True)
        count_of = np.bincount(place[fitted], minlength=len(values))
        hits = np.bincount(place[fitted & differs], minlength=len(values))
        edges = (hits >= 2) & (hits >= _EDGE * count_of) & np.isfinite(values)
        count = int(edges.sum())
        if not 0 < count <= max(8, len(values) // 8):
            continue
        yield _Condition(
            kind="bucket_edge_side",
            says=f"the code moves by one only where {name} is {_listed(values[edges])}",
            meaning="a value on a bucket's edge falls on the other side",
            holds=edges[place],
            bits=count * math.log2(len(values)),
        )


def _at_parents_values(rows: _Rows) -> Iterator[_Condition]:
    """Leaves differ where a feature has one of a few values: those at which a tree splits.

    The values are collected one by one, each time the one that most of what is left has.
    """
    columns = {
        name: np.unique(values, return_inverse=True) for name, values in rows.parents.items()
    }
    known = sum(len(values) for values, _ in columns.values())
    left, holds = rows.differs & rows.fitted, np.zeros(len(rows.differs), dtype=np.bool_)
    goal = int(_REST * left.sum())
    found: list[str] = []
    while int(left.sum()) > goal and len(found) < _MOST_EDGES:
        best: tuple[int, str, int] | None = None
        for name, (values, place) in columns.items():
            hits = np.bincount(place[left], minlength=len(values))
            count_of = np.bincount(place[rows.fitted & ~holds], minlength=len(values))
            worth = np.where(hits > _EDGE_RATE * count_of, hits, 0) * np.isfinite(values)
            at = int(np.argmax(worth))
            if worth[at] >= 2 and (best is None or worth[at] > best[0]):
                best = int(worth[at]), name, at
        if best is None:
            break
        _, name, at = best
        values, place = columns[name]
        found.append(f"{name} is {number(float(values[at]))}")
        holds |= place == at
        left &= ~holds
    if not found:
        return
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    yield _Condition(
        kind="threshold_side",
        says=f"leaves differ only where {' or '.join(found[:3])}{more}",
        meaning=_SIDE,
        holds=holds,
        bits=len(found) * math.log2(max(known, 2)),
    )


def _listed(values: Array) -> str:
    shown = ", ".join(number(float(value)) for value in values[:4])
    return shown + (", ..." if len(values) > 4 else "")


def _one_step(sample: Sample) -> bool:
    """Whether the code moves by one, and to one side."""
    cells = sample.finite
    if not sample.is_whole or not len(cells):
        return False
    apart = sample.challenger[cells] - sample.reference[cells]
    return bool(max(np.mean(apart == 1), np.mean(apart == -1)) >= _EDGE)


def _long_histories(rows: _Rows) -> Iterator[_Condition]:
    """Rows differ where histories are longer than some length: the one that parts them best."""
    lengths = rows.evidence.context.get("history_length")
    if lengths is None:
        return
    ours, there = lengths[rows.fitted], rows.differs[rows.fitted]
    known = np.unique(ours)
    longest, best = 0.0, 0.0
    for length in known[:: max(len(known) // _LENGTHS, 1)]:
        inside = ours > length
        share = float(there[inside].mean()) if inside.any() else 0.0
        apart = share - float(there[~inside].mean())
        if length >= 1.0 and share >= _TRUNCATED and apart > best:
            longest, best = float(length), apart
    if best:
        yield _Condition(
            kind="history_truncated",
            says=f"differs where the history is longer than {number(longest)}, and hardly elsewhere",
            meaning="histories are truncated: there, or at the other end",
            holds=lengths > longest,
            bits=math.log2(len(known)),
        )


def _scored(sample: Sample, condition: _Condition, bits: float, support: float) -> Scored:
    inside = sample.from_rows(condition.holds[sample.rows])
    return Scored(
        hypothesis=Hypothesis(
            kind=condition.kind, says=condition.says, meaning=condition.meaning, bits=condition.bits
        ),
        bits=bits,
        support=support,
        rows=float(np.mean(sample.differs[sample.held])),
        everywhere=False,
        moves=float(np.mean(sample.differs[sample.held])),
        explained=sample.differs & inside,
        predicted=sample.reference,
    )
