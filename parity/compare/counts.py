"""Counts and examples of one place, that merge exactly and in any order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from parity.judge.report import Example

Key = TypeVar("Key", int, str)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class SampledRequest:
    """A request to look at again: `row` is its place in the shard's valid requests.

    Ordered by hash, so that the first few of all shards are the first few of each, merged.
    """

    request_hash: int
    shard: str
    row: int
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An example and what orders it among others."""

    request_hash: int
    shard: str
    row: int
    example: Example

    @property
    def key(self) -> tuple[int, str, int]:
        return self.request_hash, self.shard, self.row


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldCounts:
    """Rows of a served field against the replay of the reference."""

    rows: int = 0
    differing: int = 0
    examples: tuple[Kept, ...] = ()

    def merge(self, other: FieldCounts, *, examples: int) -> FieldCounts:
        """Both parts together."""
        return FieldCounts(
            rows=self.rows + other.rows,
            differing=self.differing + other.differing,
            examples=first_kept((*self.examples, *other.examples), examples),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointCounts:
    """What the screen counted at one checkpoint; `histogram` as `difference.histogram` gives it."""

    rows: int = 0
    differing: int = 0
    requests_differing: int = 0
    missing_reference: int = 0
    missing_challenger: int = 0
    missing_mismatch: int = 0
    nonfinite: int = 0
    max_difference: float = 0.0
    histogram: Mapping[int, int] = field(default_factory=dict)
    examples: tuple[Kept, ...] = ()

    def merge(self, other: CheckpointCounts, *, examples: int) -> CheckpointCounts:
        """Both parts together."""
        return CheckpointCounts(
            rows=self.rows + other.rows,
            differing=self.differing + other.differing,
            requests_differing=self.requests_differing + other.requests_differing,
            missing_reference=self.missing_reference + other.missing_reference,
            missing_challenger=self.missing_challenger + other.missing_challenger,
            missing_mismatch=self.missing_mismatch + other.missing_mismatch,
            nonfinite=self.nonfinite + other.nonfinite,
            max_difference=max(self.max_difference, other.max_difference),
            histogram=added(self.histogram, other.histogram),
            examples=first_kept((*self.examples, *other.examples), examples),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GapSums:
    """How far outputs part: exact sums in units of 2^-1074 (see `exact_sum`), and moved ranks."""

    logit_sum: int = 0
    logit_rows: int = 0
    pctr_sum: int = 0
    pctr_rows: int = 0
    rank_flips: int = 0
    near_ties: int = 0

    def merge(self, other: GapSums) -> GapSums:
        """Both parts together."""
        return GapSums(
            **{name: getattr(self, name) + getattr(other, name) for name in GapSums.__slots__}
        )


def first_kept(kept: Iterable[Kept], limit: int) -> tuple[Kept, ...]:
    """The first `limit` examples by request hash."""
    return tuple(sorted(kept, key=lambda one: one.key)[:limit])


def added(left: Mapping[Key, int], right: Mapping[Key, int]) -> dict[Key, int]:
    """Counts of both, by key in ascending order."""
    total = dict(left)
    for key, count in right.items():
        total[key] = total.get(key, 0) + count
    return dict(sorted(total.items()))


def json_from_kept(kept: Kept) -> list[Any]:
    """One example as plain JSON values; `kept_from_json` is its inverse."""
    one = kept.example
    values = [one.request_id, one.ad_id, one.reference, one.challenger]
    return [kept.request_hash, kept.shard, kept.row, *values]


def kept_from_json(value: list[Any]) -> Kept:
    """The example that `json_from_kept` wrote."""
    request_hash, shard, row, request_id, ad_id, reference, challenger = value
    return Kept(
        request_hash=request_hash,
        shard=shard,
        row=row,
        example=Example(
            request_id=request_id, ad_id=ad_id, reference=reference, challenger=challenger
        ),
    )
