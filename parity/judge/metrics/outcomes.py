"""What happened to labelled candidates, and what both sides had said about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A field that the plan does not name is a slice when it has at most so many values in the day:
# segments, devices and categories have fewer, ids and counters more.
MAX_VALUES = 20

# The arrays of each kind of row, and how they are written.
OF_LABELLED: Mapping[str, str] = MappingProxyType(
    {"request_hash": "<u8", "label": "<i1", "p_reference": "<f8", "p_challenger": "<f8"}
)
OF_REQUESTS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        (
            "top_k_overlap",
            "rank_correlation",
            "bid_flips",
            "value_reference",
            "value_challenger",
            "label_value_reference",
            "label_value_challenger",
        ),
        "<f8",
    )
)


def _none() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceColumn:
    """The values of one logged field.

    Attributes:
        values: Its distinct values as text, ascending.
        codes: [labelled candidate] int32, the place of each in `values`.
        named: Whether the plan asks for the field, however many values it has.
    """

    values: tuple[str, ...]
    codes: NDArray[np.int32]
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """The evidence for metrics, gathered over a replay, in any order.

    Arrays of requests are empty where a log or a stack can not give them: without bids there is
    no money, without ranks no overlap.

    Attributes:
        request_hash: [labelled candidate] uint64, the hash of its request.
        label: [labelled candidate] int8, 1 when clicked, else 0.
        p_reference: [labelled candidate], probability of a click.
        p_challenger: The same of the challenger.
        slices: Logged field, such as "user.segment", to its values.
        top_k_overlap: [request], share of the reference's first k candidates that are among
            the challenger's first k.
        rank_correlation: [request], correlation of both sides' ranks; NaN where a request
            has a single candidate.
        bid_flips: [request], share of the bids in the reference's first k that the challenger's
            first k lack; NaN where those bids sum to zero.
        value_reference: [request], mean eCPM in millionths of the reference's first k, by its p.
        value_challenger: [request], the same of the challenger's first k, by the reference's p.
        label_value_reference: [request], the same with the label in place of a probability, of the
            first k of the labelled candidates; NaN where there are no more than k of these.
        label_value_challenger: [request], the same of the challenger's first k of them.
        top_k: The k of all these.
    """

    request_hash: NDArray[np.uint64]
    label: NDArray[np.int8]
    p_reference: Floats
    p_challenger: Floats
    top_k_overlap: Floats
    rank_correlation: Floats
    top_k: int
    slices: Mapping[str, SliceColumn] = field(default_factory=dict)
    bid_flips: Floats = field(default_factory=_none)
    value_reference: Floats = field(default_factory=_none)
    value_challenger: Floats = field(default_factory=_none)
    label_value_reference: Floats = field(default_factory=_none)
    label_value_challenger: Floats = field(default_factory=_none)

    @property
    def num_labelled(self) -> int:
        return len(self.label)

    @property
    def clicks(self) -> int:
        return int(np.count_nonzero(self.label == 1))

    def sorted(self) -> Outcomes:
        """The same evidence in an order that depends on nothing but its values."""
        rows = np.lexsort((self.p_challenger, self.p_reference, self.label, self.request_hash))
        filled = [name for name in OF_REQUESTS if len(getattr(self, name))]
        arrays = {name: getattr(self, name)[rows] for name in OF_LABELLED}
        arrays |= {name: getattr(self, name) for name in OF_REQUESTS}
        if filled:
            requests = np.lexsort([getattr(self, name) for name in reversed(filled)])
            arrays |= {name: getattr(self, name)[requests] for name in filled}
        slices = {
            name: SliceColumn(values=one.values, codes=one.codes[rows], named=one.named)
            for name, one in sorted(self.slices.items())
        }
        return Outcomes(**arrays, top_k=self.top_k, slices=slices)


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """The evidence of several shards as one, in their order; there is at least one."""
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (*OF_LABELLED, *OF_REQUESTS)
    }
    labelled = [part for part in parts if part.num_labelled]
    return Outcomes(**arrays, top_k=parts[0].top_k, slices=_joined_slices(labelled))


def _joined_slices(parts: Sequence[Outcomes]) -> dict[str, SliceColumn]:
    """The fields that every shard with labels has; one of too many values in all is no slice."""
    found: dict[str, SliceColumn] = {}
    names = set.intersection(*(set(part.slices) for part in parts)) if parts else set()
    for name in sorted(names):
        columns = [part.slices[name] for part in parts]
        values = tuple(sorted({value for column in columns for value in column.values}))
        named = any(column.named for column in columns)
        if named or len(values) <= MAX_VALUES:
            found[name] = SliceColumn(values=values, codes=_recoded(columns, values), named=named)
    return found


def _recoded(columns: Iterable[SliceColumn], values: tuple[str, ...]) -> NDArray[np.int32]:
    place = {value: code for code, value in enumerate(values)}
    return np.concatenate(
        [
            np.array([place[value] for value in column.values], dtype=np.int32)[column.codes]
            for column in columns
        ]
    )


assert {f.name for f in fields(Outcomes)} == {*OF_LABELLED, *OF_REQUESTS, "top_k", "slices"}
