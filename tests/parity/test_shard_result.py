from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.compare.counts import CheckpointCounts, FieldCounts, GapSums, Kept, SampledRequest
from parity.judge.metrics.outcomes import Outcomes, SliceColumn
from parity.judge.report import Example, Rejected
from parity.shard_result import Limits, ShardResult, from_bytes, merge_results
from replay.errors import LogError

LIMITS = Limits(examples=2, per_place=3, probed=2)
NAMES = st.sampled_from(["features.a", "features.b", "logit"])
COUNTS = st.integers(0, 50)
HASHES = st.integers(0, 2**64 - 1)
VALUES = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False))


@st.composite
def kept(draw, shard: str) -> tuple[Kept, ...]:
    rows = draw(st.lists(st.integers(0, 9), max_size=2, unique=True))
    found = [
        Kept(
            request_hash=draw(HASHES),
            shard=shard,
            row=row,
            example=Example(
                request_id=f"{shard}-{row}",
                ad_id=draw(st.sampled_from([None, "7"])),
                reference=draw(VALUES),
                challenger=draw(VALUES),
            ),
        )
        for row in rows
    ]
    return tuple(sorted(found, key=lambda one: one.key))


@st.composite
def sampled(draw, shard: str, limit: int) -> tuple[SampledRequest, ...]:
    rows = draw(st.lists(st.integers(0, 9), max_size=limit, unique=True))
    return tuple(
        sorted(
            SampledRequest(
                request_hash=draw(HASHES), shard=shard, row=row, request_id=f"{shard}-{row}"
            )
            for row in rows
        )
    )


@st.composite
def counts(draw, shard: str) -> CheckpointCounts:
    return CheckpointCounts(
        **{
            name: draw(COUNTS)
            for name in CheckpointCounts.__slots__
            if name not in {"max_difference", "histogram", "examples"}
        },
        max_difference=draw(st.floats(0, 1e9)),
        histogram=dict(
            sorted(draw(st.dictionaries(st.integers(0, 2**17), COUNTS, max_size=3)).items())
        ),
        examples=draw(kept(shard)),
    )


@st.composite
def evidence(draw) -> Outcomes:
    labelled, requests = draw(st.integers(0, 3)), draw(st.integers(0, 3))

    def array(size: int, of, dtype):
        return np.array(draw(st.lists(of, min_size=size, max_size=size)), dtype)

    return Outcomes(
        request_hash=array(labelled, HASHES, np.uint64),
        label=array(labelled, st.integers(0, 1), np.int8),
        p_reference=array(labelled, st.floats(0, 1), np.float64),
        p_challenger=array(labelled, st.floats(0, 1), np.float64),
        top_k_overlap=array(requests, st.floats(0, 1), np.float64),
        rank_correlation=array(requests, st.just(math.nan), np.float64),
        bid_flips=array(requests, st.floats(0, 1), np.float64),
        value_reference=array(requests, st.floats(0, 1e9), np.float64),
        slices={
            name: SliceColumn(
                values=("no", "se"), codes=array(labelled, st.integers(0, 1), np.int32), named=named
            )
            for name, named in draw(
                st.sampled_from([{}, {"user.country": True, "x": False}])
            ).items()
        },
        top_k=3,
    )


@st.composite
def results(draw, shard: str) -> ShardResult:
    reasons = st.dictionaries(st.sampled_from(["wrong_date", "missing_field"]), COUNTS, max_size=2)
    names = draw(st.lists(NAMES, max_size=3, unique=True).map(sorted))
    return ShardResult(
        limits=LIMITS,
        shards=(shard,),
        read=draw(COUNTS),
        compared=draw(COUNTS),
        not_sampled=draw(COUNTS),
        candidates=draw(COUNTS),
        requests_differing=draw(COUNTS),
        rejected=dict(sorted(draw(reasons).items())),
        failed=draw(st.sampled_from([{}, {"challenger hung": 2}])),
        refusals=tuple(
            Rejected(request_id=None, reason="wrong_date", where=f"{shard} row {row}", detail="")
            for row in range(draw(st.integers(0, 3)))
        ),
        checkpoints={name: draw(counts(shard)) for name in names},
        diverging={name: draw(sampled(shard, 3)) for name in names},
        differing=draw(sampled(shard, 2)),
        agreeing=draw(sampled(shard, 2)),
        gap=GapSums(**{name: draw(st.integers(0, 2**1100)) for name in GapSums.__slots__}),
        served={"pctr": FieldCounts(rows=draw(COUNTS), differing=1, examples=draw(kept(shard)))},
        served_unmatched=draw(st.sampled_from([(), ("features.x",)])),
        outcomes={shard: draw(evidence())},
    )


THREE = st.tuples(results("a"), results("b"), results("c"))


@settings(max_examples=40, deadline=None)
@given(THREE)
def test_merging_gives_the_same_bytes_in_any_order_and_grouping(parts) -> None:
    a, b, c = parts
    expected = a.merge(b).merge(c).to_bytes()

    assert a.merge(b.merge(c)).to_bytes() == expected
    assert c.merge(a).merge(b).to_bytes() == expected
    assert merge_results([b, c, a], LIMITS).to_bytes() == expected


@settings(max_examples=40, deadline=None)
@given(results("a"))
def test_bytes_give_the_result_back(result) -> None:
    payload = result.to_bytes()

    back = from_bytes(payload)

    assert back.to_bytes() == payload
    assert back.checkpoints == result.checkpoints
    assert back.gap == result.gap
    assert back.refusals == result.refusals
    evidence = back.outcomes["a"]
    expected = result.outcomes["a"]
    assert np.array_equal(evidence.p_reference, expected.p_reference)
    assert {
        name: (one.values, one.named, one.codes.tolist()) for name, one in evidence.slices.items()
    } == {
        name: (one.values, one.named, one.codes.tolist()) for name, one in expected.slices.items()
    }


@settings(max_examples=20, deadline=None)
@given(results("a"))
def test_the_empty_result_adds_nothing(result) -> None:
    assert ShardResult(limits=LIMITS).merge(result).to_bytes() == result.to_bytes()


def test_a_shard_is_never_counted_twice() -> None:
    one = ShardResult(limits=LIMITS, shards=("date=2019-11-30/part-0.parquet#1",))

    with pytest.raises(LogError, match=r"part-0\.parquet#1' was counted twice"):
        one.merge(one)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "longer"])
def test_damaged_bytes_are_refused(damage: str) -> None:
    payload = ShardResult(limits=LIMITS, shards=("a",), read=3).to_bytes()
    broken = {
        "cut": payload[:-1],
        "flipped": payload[:40] + bytes([payload[40] ^ 1]) + payload[41:],
        "empty": b"",
        "longer": payload + b"x",
    }[damage]

    with pytest.raises(LogError, match="is damaged"):
        from_bytes(broken)


def test_a_result_stays_small_however_many_requests_differ() -> None:
    many = tuple(
        SampledRequest(request_hash=n, shard="a", row=n, request_id=str(n)) for n in range(3)
    )
    total = ShardResult(limits=LIMITS, shards=("a",), diverging={"x": many}, agreeing=many[:2])
    for shard in "bcdefgh":
        total = total.merge(
            ShardResult(limits=LIMITS, shards=(shard,), diverging={"x": many}, agreeing=many[:2])
        )

    assert len(total.diverging["x"]) == LIMITS.per_place
    assert len(total.agreeing) == LIMITS.probed


def test_outcomes_of_no_shard_are_none() -> None:
    assert ShardResult(limits=LIMITS).all_outcomes() is None
