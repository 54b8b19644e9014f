"""Each feature kind against values worked out by hand from docs/features.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from replay.errors import LogError
from replay.request import RequestBatch
from replay.trace import Array
from tests.builders import SCHEMA, a_candidate, a_request, a_step, at, batch_of, random_batch
from tests.cpp_serving.opened import opened, with_feature

NAN = math.nan


def values_of(folder: Path, feature: dict[str, Any], batch: RequestBatch) -> Array:
    stack = with_feature(folder, feature)
    return stack.score(batch, capture=["features.f"])["features.f"]


def candidates_with(field: str, values: Sequence[Any]) -> RequestBatch:
    return batch_of(
        a_request(candidates=[a_candidate(i + 1, **{field: v}) for i, v in enumerate(values)])
    )


def requests_with(part: str, field: str, values: Sequence[Any]) -> RequestBatch:
    return batch_of(
        *(a_request(f"r-{i}", **{part: {field: value}}) for i, value in enumerate(values))
    )


def assert_same(found: Array, expected: Sequence[float]) -> None:
    wanted = np.array(expected, dtype=np.float64).astype(np.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


def test_number_rounds_once_and_misses_what_is_not_finite(tmp_path: Path) -> None:
    batch = candidates_with("price", [0.1, None, NAN, math.inf, -math.inf, -0.0, 1e300])

    with np.errstate(over="ignore"):
        assert_same(
            values_of(tmp_path, {"kind": "number", "source": "candidate.price"}, batch),
            [0.1, NAN, NAN, NAN, NAN, -0.0, 1e300],
        )


def test_number_of_int64_and_bool(tmp_path: Path) -> None:
    counts = candidates_with("clicks", [2**24 + 1, -1, None])
    flags = candidates_with("fresh", [True, False, None])

    assert_same(
        values_of(tmp_path, {"kind": "number", "source": "candidate.clicks"}, counts),
        [2**24 + 1, -1, NAN],
    )
    assert_same(
        values_of(tmp_path, {"kind": "number", "source": "candidate.fresh"}, flags), [1, 0, NAN]
    )


def test_log1p_misses_null_and_negative(tmp_path: Path) -> None:
    batch = candidates_with("price", [0.0, 1.0, -0.5, None, NAN, -0.0])

    assert_same(
        values_of(tmp_path, {"kind": "log1p", "source": "candidate.price"}, batch),
        [0.0, math.log(2.0), NAN, NAN, NAN, -0.0],
    )


@pytest.mark.parametrize(
    ("time", "offset", "hour", "weekday"),
    [
        ("2019-11-30 15:00", 540, 0, 6),  # Saturday afternoon in UTC is Sunday in Tokyo
        ("2019-11-30 14:59:59.999999", 540, 23, 5),
        ("1970-01-01 00:00", 0, 0, 3),
        ("1969-12-31 23:59:59.999999", 0, 23, 2),
        ("1923-02-28 14:59:59.999999", 540, 23, 2),
        ("1970-01-01 03:29:59.999999", -210, 23, 2),  # half an hour before midnight in St. John's
        ("2024-02-29 12:00", 1440, 12, 4),
    ],
)
def test_hour_and_weekday_floor_in_local_time(
    tmp_path: Path, time: str, offset: int, hour: int, weekday: int
) -> None:
    batch = batch_of(a_request(context={"page_at": at(time)}))
    parameters = {"source": "context.page_at", "utc_offset_minutes": offset}

    assert_same(values_of(tmp_path / "h", {"kind": "hour", **parameters}, batch), [hour])
    assert_same(values_of(tmp_path / "w", {"kind": "weekday", **parameters}, batch), [weekday])


def test_recency_is_log1p_of_hours_and_never_negative(tmp_path: Path) -> None:
    batch = batch_of(
        a_request("a", logged_at=at("2019-11-30 12:00"),
                  user={"last_visit_at": at("2019-11-30 10:30")}),
        a_request("b", logged_at=at("2019-11-30 12:00"),
                  user={"last_visit_at": at("2019-11-30 12:00:00.000001")}),
        a_request("c", user={"last_visit_at": None}),
        a_request("d", logged_at=datetime(9999, 12, 31, tzinfo=UTC),
                  user={"last_visit_at": datetime(1, 1, 1, tzinfo=UTC)}),
    )  # fmt: skip

    assert_same(
        values_of(
            tmp_path,
            {"kind": "recency", "since": "user.last_visit_at", "until": "logged_at"},
            batch,
        ),
        [math.log1p(1.5), 0.0, NAN, math.log1p(3652058 * 24)],
    )


def test_rate_is_smoothed_by_its_prior(tmp_path: Path) -> None:
    batch = batch_of(
        a_request(
            candidates=[
                a_candidate(1, clicks=3, impressions=100),
                a_candidate(2, clicks=0, impressions=0),
                a_candidate(3, clicks=None, impressions=100),
                a_candidate(4, clicks=3, impressions=None),
                a_candidate(5, clicks=3, impressions=-50),
            ]
        )
    )

    assert_same(
        values_of(
            tmp_path,
            {"kind": "rate", "events": "candidate.clicks", "trials": "candidate.impressions",
             "prior": 0.03, "weight": 50.0},
            batch,
        ),
        [(3 + 0.03 * 50.0) / 150.0, 0.03, NAN, NAN, math.inf],
    )  # fmt: skip


def test_tokens_are_runs_between_ascii_blanks(tmp_path: Path) -> None:
    texts = ["", " ", "a", " a  b\t\n\v\f\rc ", "a\xa0b", "靴 と", "a\u2003b", None, "a\x1cb\x1fc"]

    assert_same(
        values_of(
            tmp_path,
            {"kind": "tokens", "source": "candidate.title"},
            candidates_with("title", texts),
        ),
        [0, 0, 1, 3, 1, 2, 1, NAN, 1],
    )


def test_history_kinds_look_at_the_logged_steps(tmp_path: Path) -> None:
    batch = batch_of(
        a_request("none"),
        a_request("two", logged_at=at("2019-11-30 12:00"), history=[
            a_step(category="shoes", at=at("2019-11-30 11:00")),
            a_step(category=None, at=at("2019-11-30 09:00"))]),
        a_request("last-null", history=[a_step(), a_step(at=None)]),
    )  # fmt: skip
    feature = {"kind": "history_matches", "field": "category", "source": "candidate.category"}

    assert_same(
        values_of(tmp_path / "c", {"kind": "history_count"}, batch), [0, math.log(3), math.log(3)]
    )
    assert_same(
        values_of(tmp_path / "r", {"kind": "history_recency", "until": "logged_at"}, batch),
        [NAN, math.log1p(3.0), NAN],
    )
    assert_same(values_of(tmp_path / "m", feature, batch), [0, 1, 2])


def test_history_matches_compares_ids_exactly_and_misses_a_null_source(tmp_path: Path) -> None:
    history = [
        a_step(advertiser_id=2**62 + 1),
        a_step(advertiser_id=2**62),
        a_step(advertiser_id=None),
    ]
    batch = batch_of(
        a_request(
            history=history,
            candidates=[
                a_candidate(1, advertiser_id=2**62 + 1),
                a_candidate(2, advertiser_id=2**62 + 2),
                a_candidate(3, advertiser_id=None),
            ],
        )
    )
    feature = {
        "kind": "history_matches", "field": "advertiser_id", "source": "candidate.advertiser_id",
    }  # fmt: skip

    assert_same(values_of(tmp_path, feature, batch), [1, 0, NAN])


def test_bucket_counts_edges_up_to_the_value(tmp_path: Path) -> None:
    values = [-2.0, -1.5, 0.0, -0.0, math.nextafter(10.0, 0), 10.0, 11.0, None, NAN, math.inf]
    feature = {"kind": "bucket", "source": "candidate.price", "edges": [-1.5, 0.0, 10.0]}

    found = values_of(tmp_path, feature, candidates_with("price", values))

    assert found.dtype == np.int32
    assert found.tolist() == [1, 2, 3, 3, 3, 4, 4, 0, 0, 0]


def test_hash_is_murmur3_of_utf8(tmp_path: Path) -> None:
    """Of the published values: "a" is 0x7FA09EA6 and "aaaa" 0x5A97808A under this seed."""
    feature = {
        "kind": "hash", "sources": ["candidate.title"], "seed": 0x9747B28C, "buckets": 1001,
        "normalise": "none",
    }  # fmt: skip

    found = values_of(tmp_path, feature, candidates_with("title", ["a", "aaaa", "π" * 8, "", None]))

    assert found.dtype == np.int32
    assert found.tolist() == [
        1 + 0x7FA09EA6 % 1000,
        1 + 0x5A97808A % 1000,
        1 + 0xD58063C1 % 1000,
        1 + 0xEBB6C228 % 1000,
        0,
    ]


def test_hash_lowers_ascii_alone(tmp_path: Path) -> None:
    feature = {
        "kind": "hash", "sources": ["candidate.title"], "seed": 1, "buckets": 99991,
        "normalise": "lower",
    }  # fmt: skip
    texts = ["KÖLN", "kÖln", "köln", "İ", "i"]

    upper, lower, umlaut, dotted, plain = values_of(
        tmp_path, feature, candidates_with("title", texts)
    )

    assert upper == lower
    assert len({upper, umlaut, dotted, plain}) == 4


def test_hash_joins_decimal_text_and_bool_by_one_byte(tmp_path: Path) -> None:
    """The cross of 7, "a" and true is the hash of "7", 0x1f, "a", 0x1f, "1"."""
    common = {"kind": "hash", "seed": 3, "buckets": 99991, "normalise": "none"}
    cross = {**common, "sources": ["candidate.clicks", "candidate.category", "candidate.fresh"]}
    whole = {**common, "sources": ["candidate.title"]}
    rows = [
        a_candidate(1, clicks=7, category="a", fresh=True, title="7\x1fa\x1f1"),
        a_candidate(2, clicks=-(2**63), category="", fresh=False, title=f"-{2**63}\x1f\x1f0"),
    ]

    crossed = values_of(tmp_path / "c", cross, batch_of(a_request(candidates=rows)))
    joined = values_of(tmp_path / "w", whole, batch_of(a_request(candidates=rows)))
    missing = values_of(
        tmp_path / "m", cross, batch_of(a_request(candidates=[a_candidate(1, fresh=None)]))
    )

    assert crossed.tolist() == joined.tolist()
    assert missing.tolist() == [0]


def test_ids_never_pass_through_a_float(tmp_path: Path) -> None:
    ids = [2**62 + 1, 2**24 + 1, 2**24, None, 0]
    feature = {"kind": "id", "source": "candidate.advertiser_id",
               "vocabulary": [0, 2**24 + 1, 2**62, 2**62 + 1]}  # fmt: skip
    stack = with_feature(tmp_path, feature)

    trace = stack.score(candidates_with("advertiser_id", ids), capture=["features.f", "encoded.f"])

    assert trace["features.f"].dtype == np.int64
    assert trace["features.f"].tolist() == [2**62 + 1, 2**24 + 1, 2**24, -1, 0]
    assert trace["encoded.f"].tolist() == [4, 2, 0, 0, 1]


def test_columns_follow_the_cardinalities_before_them(tmp_path: Path) -> None:
    features = (
        {"name": "b", "kind": "bucket", "source": "candidate.price", "edges": [1.0]},
        {"name": "n", "kind": "number", "source": "candidate.price"},
        {"name": "h", "kind": "hash", "sources": ["user.segment"], "seed": 0, "buckets": 5,
         "normalise": "none"},
        {"name": "i", "kind": "id", "source": "candidate.ad_id", "vocabulary": [9]},
    )  # fmt: skip
    stack = opened(tmp_path, features=features, num_trees=1, depth=1)
    batch = batch_of(a_request(user={"segment": None}, candidates=[a_candidate(9, price=1.0)]))

    trace = stack.score(batch, capture=["encoded.b", "encoded.h", "encoded.i"])

    assert [trace[f"encoded.{name}"].tolist() for name in "bhi"] == [[2], [3], [9]]


def test_a_null_struct_has_null_fields(tmp_path: Path) -> None:
    record = a_request(candidates=[a_candidate(1)], history=[a_step()])
    record["context"] = None
    features = (
        {"name": "slot", "kind": "number", "source": "context.slot"},
        {"name": "device", "kind": "hash", "sources": ["context.device"], "seed": 0, "buckets": 9,
         "normalise": "none"},
    )  # fmt: skip
    stack = opened(tmp_path, features=features, num_trees=1, depth=1)

    trace = stack.score(batch_of(record), capture=["features.slot", "features.device"])

    assert np.isnan(trace["features.slot"]).all()
    assert trace["features.device"].tolist() == [0]


def test_a_slice_of_a_record_batch_gives_its_own_rows(tmp_path: Path) -> None:
    """Slices begin inside their buffers: offsets count at every level."""
    stack = opened(tmp_path)
    whole = random_batch(9, 4, seed=3)
    names = list(stack.checkpoints)
    for start, stop in ((0, 9), (1, 4), (5, 9), (8, 9), (3, 3)):
        sliced = stack.scorer.trace(whole.records.slice(start, stop - start), names, {})
        compact = stack.score(whole.slice(start, stop), capture=names)
        for name in names:
            assert sliced[name].tobytes() == compact[name].tobytes(), name


def test_slices_inside_structs_and_lists_count_too(tmp_path: Path) -> None:
    """Children with offsets of their own, under parents with theirs."""
    stack = opened(tmp_path)
    whole = random_batch(6, 4, seed=8)
    rebuilt = {}
    for field in SCHEMA:
        column = whole.records.column(field.name)
        if pa.types.is_struct(field.type):
            children = [pa.concat_arrays([c.slice(0, 2), c]).slice(2) for c in column.flatten()]
            column = pa.StructArray.from_arrays(children, fields=list(field.type))
        rebuilt[field.name] = pa.concat_arrays([column.slice(4), column]).slice(2)
    batch = pa.RecordBatch.from_pydict(rebuilt, schema=SCHEMA)
    names = list(stack.checkpoints)

    shifted = stack.scorer.trace(batch, names, {})

    expected = stack.score(whole, capture=names)
    for name in names:
        assert shifted[name].tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        ({"kind": "number", "source": "candidate.cost"}, "candidate.bid_micros"),
        ({"kind": "number", "source": "candidate.title"}, "utf8"),
        ({"kind": "hour", "source": "context.slot", "utc_offset_minutes": 0}, "int64"),
        ({"kind": "tokens", "source": "candidate.price"}, "float64"),
        ({"kind": "id", "source": "candidate.title", "vocabulary": [1]}, "utf8"),
        ({"kind": "hash", "sources": ["candidate.price"], "seed": 0, "buckets": 4,
          "normalise": "none"}, "float64"),
        ({"kind": "history_matches", "field": "category", "source": "candidate.ad_id"}, "utf8"),
    ],
)  # fmt: skip
def test_an_absent_field_or_another_type_is_named(
    tmp_path: Path, feature: dict[str, Any], says: str
) -> None:
    with pytest.raises(LogError, match=says) as raised:
        values_of(tmp_path, feature, batch_of(a_request()))

    path = feature.get("source") or feature["sources"][0]
    assert path in str(raised.value) or "history.category" in str(raised.value)
    assert raised.value.fix


def test_a_hash_of_a_candidate_and_its_request_is_no_other_requests(tmp_path: Path) -> None:
    """Values come again within a request, and with another text in the next one."""
    stack = with_feature(
        tmp_path,
        {"kind": "hash", "sources": ["user.segment", "candidate.advertiser_id"], "seed": 7,
         "buckets": 1 << 16, "normalise": "none"},
    )  # fmt: skip
    advertisers = [1, 2, 1, 2**40, None, 1, -5] * 60
    segments = ["a", "b", None, "a"]
    batch = batch_of(
        *(
            a_request(
                f"r-{i}",
                user={"segment": segment},
                candidates=[a_candidate(ad, advertiser_id=of) for ad, of in enumerate(advertisers)],
            )
            for i, segment in enumerate(segments)
        )
    )

    whole = stack.score(batch, capture=["features.f"])["features.f"]

    for i in range(len(segments)):
        for place in range(14):
            row = batch_of(
                a_request(
                    "one",
                    user={"segment": segments[i]},
                    candidates=[a_candidate(advertiser_id=advertisers[place])],
                )
            )
            alone = stack.score(row, capture=["features.f"])["features.f"]
            assert whole[i * len(advertisers) + place] == alone[0]
    assert whole[0] == whole[2] != whole[len(advertisers)]
