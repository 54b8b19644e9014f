"""What comparing one shard leaves behind: small, and merged exactly in any order."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from parity.compare.counts import (
    CheckpointCounts,
    FieldCounts,
    GapSums,
    SampledRequest,
    added,
    json_from_kept,
    kept_from_json,
)
from parity.compare.precision import PrecisionSums
from parity.judge.metrics.outcomes import (
    OF_LABELLED,
    OF_REQUESTS,
    Outcomes,
    SliceColumn,
    joined,
)
from parity.judge.report import Rejected
from replay.errors import LogError

_MAGIC = b"PARITYSR"
_HEADER = struct.Struct("<8sIIQ")  # magic, version, CRC-32 of the rest, length of the JSON
_VERSION = 2
# Of each reason, so many rejected or failed requests are shown.
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept; results that merge share it. See `Plan`."""

    examples: int = 5
    per_place: int = 16
    probed: int = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardResult:
    """The comparison of one shard, or of several merged.

    Attributes:
        limits: How much is kept of examples and samples.
        shards: Ids of the shards in it, ascending; none is counted twice.
        read: Rows read: compared + rejected + failed + not_sampled.
        compared: Requests that both stacks scored.
        not_sampled: Valid requests outside the sample.
        candidates: Of the compared requests.
        requests_differing: Compared requests with a difference at any screened checkpoint.
        rejected: Reason to rows that validation refused.
        failed: "<side> <kind>" to requests on which a stack failed.
        refusals: The first few of each reason, rejected and failed.
        checkpoints: Screened checkpoint to its counts.
        diverging: Checkpoint to the first requests in which divergence begins there: it
            differs and none of its aligned ancestors does.
        differing: The first requests in which anything differs.
        agreeing: The first requests in which nothing differs, as control.
        gap: Of the outputs.
        precision: How another precision moves the outputs, where the plan asks for it.
        served: Served field to its counts.
        served_unmatched: Served fields that the reference does not compute.
        outcomes: Shard id to the evidence for metrics.
    """

    limits: Limits
    shards: tuple[str, ...] = ()
    read: int = 0
    compared: int = 0
    not_sampled: int = 0
    candidates: int = 0
    requests_differing: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    refusals: tuple[Rejected, ...] = ()
    checkpoints: Mapping[str, CheckpointCounts] = field(default_factory=dict)
    diverging: Mapping[str, tuple[SampledRequest, ...]] = field(default_factory=dict)
    differing: tuple[SampledRequest, ...] = ()
    agreeing: tuple[SampledRequest, ...] = ()
    gap: GapSums = field(default_factory=GapSums)
    precision: PrecisionSums = field(default_factory=PrecisionSums)
    served: Mapping[str, FieldCounts] = field(default_factory=dict)
    served_unmatched: tuple[str, ...] = ()
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)

    @property
    def reconciles(self) -> bool:
        """Whether every row that was read is accounted for, once."""
        refused = sum(self.rejected.values()) + sum(self.failed.values())
        return self.read == self.compared + self.not_sampled + refused

    def merge(self, other: ShardResult) -> ShardResult:
        """Both results as one. Associative, commutative and exact.

        Raises:
            LogError: A shard stands in both.
        """
        twice = sorted(set(self.shards) & set(other.shards))
        if twice:
            raise LogError(
                f"shard {twice[0]!r} was counted twice.",
                where="the shard results of a run",
                fix="merge each shard's result once",
            )
        assert self.limits == other.limits, "results of one run share their limits"
        kept = self.limits.examples
        return ShardResult(
            limits=self.limits,
            shards=tuple(sorted(self.shards + other.shards)),
            read=self.read + other.read,
            compared=self.compared + other.compared,
            not_sampled=self.not_sampled + other.not_sampled,
            candidates=self.candidates + other.candidates,
            requests_differing=self.requests_differing + other.requests_differing,
            rejected=added(self.rejected, other.rejected),
            failed=added(self.failed, other.failed),
            refusals=first_refusals(self.refusals + other.refusals),
            checkpoints={
                name: self.checkpoints.get(name, CheckpointCounts()).merge(
                    other.checkpoints.get(name, CheckpointCounts()), examples=kept
                )
                for name in sorted({*self.checkpoints, *other.checkpoints})
            },
            diverging={
                name: tuple(
                    sorted(self.diverging.get(name, ()) + other.diverging.get(name, ()))[
                        : self.limits.per_place
                    ]
                )
                for name in sorted({*self.diverging, *other.diverging})
            },
            differing=tuple(sorted(self.differing + other.differing)[: self.limits.probed]),
            agreeing=tuple(sorted(self.agreeing + other.agreeing)[: self.limits.probed]),
            gap=self.gap.merge(other.gap),
            precision=self.precision.merge(other.precision),
            served={
                name: self.served.get(name, FieldCounts()).merge(
                    other.served.get(name, FieldCounts()), examples=kept
                )
                for name in sorted({*self.served, *other.served})
            },
            served_unmatched=tuple(sorted({*self.served_unmatched, *other.served_unmatched})),
            outcomes=dict(sorted({**self.outcomes, **other.outcomes}.items())),
        )

    def all_outcomes(self) -> Outcomes | None:
        """The evidence of every shard, in the order of their ids; None without any."""
        parts = [self.outcomes[shard] for shard in sorted(self.outcomes)]
        return joined(parts) if parts else None

    def to_bytes(self) -> bytes:
        """The result as bytes that depend on nothing but its content; no pickles."""
        arrays: list[bytes] = []
        layout: list[list[Any]] = []
        for shard, evidence in sorted(self.outcomes.items()):
            values = [np.ascontiguousarray(getattr(evidence, n), dtype=_ARRAYS[n]) for n in _ARRAYS]
            arrays += [value.tobytes() for value in values]
            slices = sorted(evidence.slices.items())
            arrays += [one.codes.astype(_CODES).tobytes() for _, one in slices]
            named = [[name, one.named, list(one.values)] for name, one in slices]
            layout.append([shard, evidence.top_k, [len(value) for value in values], named])
        text = json.dumps(
            {**_json_from_result(self), "outcomes": layout}, sort_keys=True, separators=(",", ":")
        ).encode()
        body = b"".join((text, *arrays))
        return _HEADER.pack(_MAGIC, _VERSION, zlib.crc32(body), len(text)) + body


def from_bytes(payload: bytes) -> ShardResult:
    """The result that `ShardResult.to_bytes` wrote.

    Raises:
        LogError: The bytes are damaged, cut short, or of another version.
    """
    head, body = payload[: _HEADER.size], payload[_HEADER.size :]
    if len(head) == _HEADER.size:
        magic, version, crc, length = _HEADER.unpack(head)
        if magic == _MAGIC and version == _VERSION and crc == zlib.crc32(body):
            return _result_from_json(json.loads(body[:length]), body[length:])
    raise LogError(
        f"a shard result of {len(payload)} bytes is damaged, or of another version.",
        where="the run's journal",
        fix="delete the run's folder and replay again",
    )


def merge_results(results: Iterable[ShardResult], limits: Limits) -> ShardResult:
    """All results as one; the empty one when there are none.

    Raises:
        LogError: A shard is counted twice.
    """
    total = ShardResult(limits=limits)
    for result in results:
        total = total.merge(result)
    return total


def first_refusals(refusals: Iterable[Rejected]) -> tuple[Rejected, ...]:
    """The first few of each reason, by where they stand."""
    kept: dict[str, list[Rejected]] = {}
    for one in sorted(refusals, key=lambda r: (r.reason, r.where, r.request_id or "", r.detail)):
        shown = kept.setdefault(one.reason, [])
        if len(shown) < _SHOWN:
            shown.append(one)
    return tuple(one for shown in kept.values() for one in shown)


_ARRAYS: Mapping[str, str] = {**OF_LABELLED, **OF_REQUESTS}
_CODES = "<i4"
_PLAIN = (
    "read",
    "compared",
    "not_sampled",
    "candidates",
    "requests_differing",
    "rejected",
    "failed",
)


def _json_from_result(result: ShardResult) -> dict[str, Any]:
    return {
        **{name: getattr(result, name) for name in _PLAIN},
        "limits": _plain(result.limits),
        "shards": list(result.shards),
        "refusals": [_plain(one) for one in result.refusals],
        "checkpoints": {name: _counts(one) for name, one in result.checkpoints.items()},
        "diverging": {
            name: [_plain(one) for one in sampled] for name, sampled in result.diverging.items()
        },
        "differing": [_plain(one) for one in result.differing],
        "agreeing": [_plain(one) for one in result.agreeing],
        "gap": _plain(result.gap),
        "precision": _plain(result.precision)
        | {"sizes": [list(item) for item in sorted(result.precision.sizes.items())]},
        "served": {name: _counts(one) for name, one in result.served.items()},
        "served_unmatched": list(result.served_unmatched),
    }


def _result_from_json(value: Mapping[str, Any], arrays: bytes) -> ShardResult:
    return ShardResult(
        **{name: value[name] for name in _PLAIN},
        limits=Limits(**value["limits"]),
        shards=tuple(value["shards"]),
        refusals=tuple(Rejected(**one) for one in value["refusals"]),
        checkpoints={
            name: CheckpointCounts(
                **{
                    **one,
                    "histogram": {int(bucket): count for bucket, count in one["histogram"]},
                    "examples": tuple(map(kept_from_json, one["examples"])),
                }
            )
            for name, one in value["checkpoints"].items()
        },
        diverging={
            name: tuple(SampledRequest(**one) for one in sampled)
            for name, sampled in value["diverging"].items()
        },
        differing=tuple(SampledRequest(**one) for one in value["differing"]),
        agreeing=tuple(SampledRequest(**one) for one in value["agreeing"]),
        gap=GapSums(**value["gap"]),
        precision=PrecisionSums(
            **{
                **value["precision"],
                "sizes": {int(bucket): count for bucket, count in value["precision"]["sizes"]},
            }
        ),
        served={
            name: FieldCounts(**{**one, "examples": tuple(map(kept_from_json, one["examples"]))})
            for name, one in value["served"].items()
        },
        served_unmatched=tuple(value["served_unmatched"]),
        outcomes=_outcomes(value["outcomes"], arrays),
    )


def _outcomes(layout: list[list[Any]], arrays: bytes) -> dict[str, Outcomes]:
    found: dict[str, Outcomes] = {}
    at = 0
    for shard, top_k, lengths, named in layout:
        values = {}
        for (name, dtype), length in zip(_ARRAYS.items(), lengths, strict=True):
            values[name] = np.frombuffer(arrays, dtype=dtype, count=length, offset=at)
            at += values[name].nbytes
        slices = {}
        for field_name, is_named, texts in named:
            codes = np.frombuffer(arrays, dtype=_CODES, count=len(values["label"]), offset=at)
            at += codes.nbytes
            slices[field_name] = SliceColumn(values=tuple(texts), codes=codes, named=is_named)
        found[shard] = Outcomes(**values, top_k=top_k, slices=slices)
    return found


def _plain(record: Any) -> dict[str, Any]:
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _counts(counts: CheckpointCounts | FieldCounts) -> dict[str, Any]:
    plain = _plain(counts) | {"examples": [json_from_kept(one) for one in counts.examples]}
    if isinstance(counts, CheckpointCounts):
        plain["histogram"] = [list(item) for item in sorted(counts.histogram.items())]
    return plain
