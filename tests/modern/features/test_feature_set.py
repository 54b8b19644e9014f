"""Every kind of docs/features.md against numbers worked by hand, and the laws of columns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modern.features.feature_set import (
    KINDS,
    compute_features,
    feature_set_from_json,
    open_feature_set,
)
from replay.errors import ArtifactError, ConfigError, LogError
from replay.request import RequestBatch
from tests.artifacts import FEATURES
from tests.builders import (
    SCHEMA,
    a_candidate,
    a_request,
    a_step,
    at,
    batch_of,
    random_batch,
)

NAN = math.nan


def a_set(*entries: Mapping[str, Any], money: str | None = None) -> Any:
    return feature_set_from_json(
        {
            "format": "parity.features/1",
            "training_id": "0" * 32,
            "money": money,
            "features": [dict(entry) for entry in entries],
        },
        where="tests",
    )


def one(batch: RequestBatch, **entry: Any) -> Any:
    """The values of a single feature."""
    return compute_features(batch, a_set({"name": "f"} | entry))["f"]


def with_price(*prices: float | None) -> RequestBatch:
    rows = [a_candidate(ad_id, price=price) for ad_id, price in enumerate(prices)]
    return batch_of(a_request(candidates=rows))


def with_titles(*titles: str | None) -> RequestBatch:
    rows = [a_candidate(ad_id, title=title) for ad_id, title in enumerate(titles)]
    return batch_of(a_request(candidates=rows))


def logged_at(*texts: str) -> RequestBatch:
    return batch_of(*(a_request(f"r{i}", logged_at=at(t)) for i, t in enumerate(texts)))


def assert_float32(found: Any, wanted: list[float]) -> None:
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.asarray(wanted, np.float32))


def test_a_number_is_rounded_once_and_what_is_not_finite_is_missing() -> None:
    batch = with_price(0.1, None, NAN, math.inf, -math.inf, -0.0)

    found = one(batch, kind="number", source="candidate.price")

    assert_float32(found, [0.1, NAN, NAN, NAN, NAN, -0.0])
    assert np.signbit(found[5])


def test_integers_and_booleans_become_numbers() -> None:
    rows = [a_candidate(1, impressions=2**53 + 1, fresh=True), a_candidate(2, fresh=None)]
    batch = batch_of(a_request(candidates=rows))

    assert_float32(one(batch, kind="number", source="candidate.impressions"), [2.0**53, 100.0])
    assert_float32(one(batch, kind="number", source="candidate.fresh"), [1.0, NAN])


def test_log1p_is_missing_below_zero() -> None:
    batch = with_price(0.0, 1.0, 19.0, -0.5, None, 1e-10)

    found = one(batch, kind="log1p", source="candidate.price")

    assert_float32(found, [0.0, 0.6931471805599453, 2.995732273553991, NAN, NAN, 1e-10])


@pytest.mark.parametrize(
    ("time", "offset", "hour", "weekday"),
    [
        ("2019-11-30 15:30", 540, 0, 6),  # Sunday, half past midnight in Tokyo
        ("2019-11-30 14:59:59.999999", 540, 23, 5),
        ("2019-11-30 15:30", 0, 15, 5),
        ("1970-01-01 00:00", 0, 0, 3),
        ("1969-12-31 23:59:59.999999", 0, 23, 2),
        ("1970-01-01 00:00", -210, 20, 2),  # half past eight in Newfoundland, still Wednesday
        ("1923-02-28 14:59:59.999999", 540, 23, 2),
        ("2100-03-01 00:00", 0, 0, 0),
    ],
)
def test_the_local_clock_floors_before_1970_too(
    time: str, offset: int, hour: int, weekday: int
) -> None:
    batch = logged_at(time)
    clock = {"source": "logged_at", "utc_offset_minutes": offset}

    assert_float32(one(batch, kind="hour", **clock), [hour])
    assert_float32(one(batch, kind="weekday", **clock), [weekday])


def test_hour_of_a_missing_time_is_missing() -> None:
    batch = batch_of(a_request(context={"page_at": None}))

    found = one(batch, kind="hour", source="context.page_at", utc_offset_minutes=0)

    assert_float32(found, [NAN])


def test_recency_counts_hours_and_never_less_than_none() -> None:
    rows = [
        a_candidate(1, last_clicked_at=at("2019-11-29 09:30")),  # 30 hours before
        a_candidate(2, last_clicked_at=at("2019-12-01 00:00")),  # after the request
        a_candidate(3, last_clicked_at=None),
    ]
    batch = batch_of(a_request(logged_at=at("2019-11-30 15:30"), candidates=rows))

    found = one(batch, kind="recency", since="candidate.last_clicked_at", until="logged_at")

    assert_float32(found, [3.4339872044851463, 0.0, NAN])


def test_a_rate_is_drawn_to_its_prior() -> None:
    rows = [
        a_candidate(1, clicks=3, impressions=100),
        a_candidate(2, clicks=0, impressions=0),
        a_candidate(3, clicks=None, impressions=100),
        a_candidate(4, clicks=3, impressions=None),
    ]

    found = one(
        batch_of(a_request(candidates=rows)),
        kind="rate",
        events="candidate.clicks",
        trials="candidate.impressions",
        prior=0.25,
        weight=50.0,
    )

    assert_float32(found, [15.5 / 150, 0.25, NAN, NAN])


def test_tokens_are_parted_by_six_bytes_and_by_no_other_space() -> None:
    batch = with_titles(
        "", "a", "  two  words ", "a\tb\nc\vd\fe\rf", "a\xa0b\u2003c", " ", None, "x"
    )

    assert_float32(one(batch, kind="tokens", source="candidate.title"), [0, 1, 2, 6, 1, 0, NAN, 1])


def test_history_is_counted_dated_and_matched() -> None:
    steps = [
        a_step(1, category="hats", at=at("2019-11-30 01:00")),
        a_step(2, category=None, at=at("2019-11-30 02:00")),
        a_step(3, category="shoes", at=at("2019-11-30 05:30")),
        a_step(4, category="shoes", at=at("2019-11-30 05:30")),
    ]
    rows = [a_candidate(i, category=c) for i, c in enumerate(["shoes", "hats", "bags", None])]
    batch = batch_of(
        a_request("r0", history=steps, candidates=rows, logged_at=at("2019-11-30 15:30")),
        a_request("r1", candidates=[a_candidate(9, category="shoes")]),
        a_request("r2", history=[a_step(5, at=None, category="shoes")]),
    )

    count = one(batch, kind="history_count")
    age = one(batch, kind="history_recency", until="logged_at")
    matches = one(batch, kind="history_matches", field="category", source="candidate.category")

    assert_float32(count, [1.6094379124341003, 0.0, 0.6931471805599453])
    assert_float32(age, [2.3978952727983707, NAN, NAN])  # 10 hours
    assert_float32(matches, [2, 1, 0, NAN, 0, 1])


def test_ids_of_steps_are_matched_beyond_what_a_float_can_hold() -> None:
    steps = [a_step(advertiser_id=2**62 + 1), a_step(advertiser_id=2**62)]
    rows = [a_candidate(1, advertiser_id=2**62 + 1), a_candidate(2, advertiser_id=2**62 + 2)]
    batch = batch_of(a_request(history=steps, candidates=rows))

    found = one(
        batch, kind="history_matches", field="advertiser_id", source="candidate.advertiser_id"
    )

    assert_float32(found, [1, 0])


def test_a_request_value_is_matched_with_the_steps_of_its_own_request() -> None:
    batch = batch_of(
        a_request("r0", user={"segment": "shoes"}, history=[a_step(), a_step()]),
        a_request("r1", user={"segment": "hats"}, history=[a_step()]),
    )

    found = one(batch, kind="history_matches", field="category", source="user.segment")

    assert_float32(found, [2, 0])


def test_a_bucket_is_reached_at_its_edge() -> None:
    below = float(np.nextafter(10.0, 0))
    batch = with_price(None, NAN, math.inf, -2.0, -1.5, -0.0, below, 10.0, 1e9)

    found = one(batch, kind="bucket", source="candidate.price", edges=[-1.5, 0.0, 10.0])

    assert found.dtype == np.int32
    assert found.tolist() == [0, 0, 0, 1, 2, 3, 3, 4, 4]


def test_a_hash_is_murmur3_of_the_utf8_bytes_taken_as_unsigned() -> None:
    # Known answers for seed 0: "hello" 0x248bfa47, "test" 0xba6bd213 (negative as int32), "" 0.
    batch = with_titles("hello", "test", "", None)

    found = one(
        batch, kind="hash", sources=["candidate.title"], seed=0, buckets=11, normalise="none"
    )

    assert found.dtype == np.int32
    assert found.tolist() == [1 + 0x248BFA47 % 10, 1 + 0xBA6BD213 % 10, 1, 0]


def test_sources_of_a_hash_are_joined_by_one_byte_and_written_plainly() -> None:
    rows = [
        a_candidate(1, title="ab\x1f-7\x1f1", advertiser_id=-7, fresh=True),
        a_candidate(2, title="ab\x1f-7\x1f0", advertiser_id=-7, fresh=False),
        a_candidate(3, title="ab", advertiser_id=None, fresh=True),
    ]
    batch = batch_of(a_request(user={"segment": "ab"}, candidates=rows))
    common = {"kind": "hash", "seed": 7, "buckets": 2**31 - 1, "normalise": "none"}

    crossed = one(
        batch, sources=["user.segment", "candidate.advertiser_id", "candidate.fresh"], **common
    )
    written = one(batch, sources=["candidate.title"], **common)

    assert crossed.tolist() == [written[0], written[1], 0]
    assert written[0] != written[1]


def test_lower_maps_ascii_letters_only() -> None:
    batch = with_titles("KÖLN@[`{", "kÖln@[`{", "köln@[`{")
    entry = {"kind": "hash", "sources": ["candidate.title"], "seed": 0, "buckets": 2**31 - 1}

    lowered = one(batch, normalise="lower", **entry)
    plain = one(batch, normalise="none", **entry)

    assert lowered[0] == lowered[1] == plain[1]
    assert lowered[2] == plain[2] != lowered[1]


def test_ids_pass_through_untouched_and_are_coded_by_their_place() -> None:
    ids = [2**24 + 1, 2**62 + 1, None, 5, 2**62]
    rows = [a_candidate(place, advertiser_id=value) for place, value in enumerate(ids)]
    entry = {
        "name": "f",
        "kind": "id",
        "source": "candidate.advertiser_id",
        "vocabulary": [7, 2**24 + 1, 2**62 + 1],
    }
    features = a_set(entry)

    values = compute_features(batch_of(a_request(candidates=rows)), features)["f"]
    codes = features.discrete[0].codes(values)

    assert values.dtype == np.int64
    assert values.tolist() == [2**24 + 1, 2**62 + 1, -1, 5, 2**62]
    assert codes.tolist() == [2, 3, 0, 0, 0]
    assert features.discrete[0].cardinality == 4


def test_columns_of_the_category_block_follow_one_another() -> None:
    features = a_set(
        {"name": "b", "kind": "bucket", "source": "candidate.price", "edges": [1, 2]},
        {"name": "n", "kind": "number", "source": "candidate.price"},
        {"name": "h", "kind": "hash", "sources": ["user.segment"], "seed": 0, "buckets": 16,
         "normalise": "none"},
        {"name": "i", "kind": "id", "source": "candidate.ad_id", "vocabulary": [1, 2]},
    )  # fmt: skip

    assert dict(features.first_columns) == {"b": 0, "h": 4, "i": 20}
    assert features.num_columns == 23
    assert [f.name for f in features.real] == ["n"]
    assert features.axis("h") == "request"
    assert features.axis("i") == "candidate"


def test_a_request_value_stands_beside_each_candidate_in_a_cross() -> None:
    batch = batch_of(
        a_request("r0", user={"clicks": 1}, num_candidates=2),
        a_request("r1", user={"clicks": 9}, num_candidates=1),
    )

    found = one(
        batch,
        kind="rate",
        events="user.clicks",
        trials="candidate.impressions",
        prior=0.0,
        weight=100.0,
    )

    assert_float32(found, [0.005, 0.005, 0.045])


def test_only_named_features_are_computed() -> None:
    assert list(compute_features(random_batch(2), a_set(*FEATURES), names=["slot"])) == ["slot"]
    with pytest.raises(ConfigError, match="slott"):
        compute_features(random_batch(2), a_set(*FEATURES), names=["slott"])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_rows_move_with_their_requests(seed: int, data: st.DataObject) -> None:
    """A permuted or sliced batch holds the same values as the whole one, row by row."""
    batch, features = random_batch(6, seed=seed), a_set(*FEATURES)
    chosen = data.draw(st.lists(st.integers(0, 5), unique=True))

    whole = compute_features(batch, features)
    part = compute_features(batch.take(chosen), features)

    offsets = batch.keys.candidate_offsets
    rows = {
        "request": np.asarray(chosen, np.int64),
        "candidate": np.concatenate(
            [np.arange(0), *(np.arange(offsets[r], offsets[r + 1]) for r in chosen)]
        ),
    }
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][rows[features.axis(name)]], name)


def test_an_empty_batch_has_empty_columns_of_the_declared_types() -> None:
    features = a_set(*FEATURES)

    for name, values in compute_features(random_batch(2).take([]), features).items():
        assert values.shape == (0,)
        assert values.dtype == features[name].dtype


def test_every_kind_of_the_page_is_known() -> None:
    page = (Path(__file__).parents[3] / "docs" / "features.md").read_text()
    tables = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| `")]
    kinds = {cell.strip("`") for cell in tables}

    assert set(KINDS) <= kinds
    assert {entry["kind"] for entry in FEATURES} == set(KINDS)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "numbr", "source": "candidate.price"}, "numbr"),
        ({"kind": "number"}, "lacks parameters: source"),
        ({"kind": "number", "source": "candidate.price", "edge": 1}, "unknown parameters: edge"),
        ({"kind": "number", "source": "candidate."}, "no source"),
        ({"kind": "number", "source": "history.at"}, "no source"),
        ({"kind": "number", "source": 3}, "no text"),
        ({"kind": "hour", "source": "logged_at", "utc_offset_minutes": 1440}, "a day or more"),
        ({"kind": "hour", "source": "logged_at", "utc_offset_minutes": True}, "no integer"),
        ({"kind": "bucket", "source": "user.x", "edges": [2, 1]}, "do not ascend"),
        ({"kind": "bucket", "source": "user.x", "edges": [1, 1.0]}, "do not ascend"),
        ({"kind": "rate", "events": "user.x", "trials": "user.y", "prior": 0.1, "weight": 0},
         "weight"),
        ({"kind": "bucket", "source": "user.x", "edges": ["1"]}, "no finite number"),
        ({"kind": "bucket", "source": "user.x", "edges": 1}, "no list"),
        ({"kind": "id", "source": "user.x", "vocabulary": [1, 1]}, "does not ascend"),
        ({"kind": "id", "source": "user.x", "vocabulary": [-1]}, "negative"),
        ({"kind": "id", "source": "user.x", "vocabulary": [2**63]}, "int64"),
        ({"kind": "hash", "sources": [], "seed": 0, "buckets": 4, "normalise": "none"}, "0 sources"),
        ({"kind": "hash", "sources": ["user.x"], "seed": -1, "buckets": 4, "normalise": "none"},
         "unsigned"),
        ({"kind": "hash", "sources": ["user.x"], "seed": 0, "buckets": 1, "normalise": "none"},
         "1 buckets"),
        ({"kind": "hash", "sources": ["user.x"], "seed": 0, "buckets": 4, "normalise": "upper"},
         "upper"),
    ],
)  # fmt: skip
def test_a_feature_that_breaks_a_rule_is_refused_by_its_place(
    entry: dict[str, Any], said: str
) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        a_set({"name": "f"} | entry)

    assert "features[0]" in caught.value.where


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "parity.features/2"}, "parity.features/2"),
        ({"training_id": "F" * 32}, "32 lowercase"),
        ({"money": "user.bid"}, "no field of the candidate"),
        ({"features": []}, "no features"),
        ({"features": [{"name": "f", "kind": "history_count"}] * 2}, "two features"),
    ],
)
def test_a_set_that_breaks_a_rule_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "features.json"
    whole = {
        "format": "parity.features/1",
        "training_id": "0" * 32,
        "money": None,
        "features": [{"name": "f", "kind": "history_count"}],
    }
    path.write_text(json.dumps(whole))
    assert open_feature_set(path).features[0].name == "f"

    path.write_text(json.dumps(whole | change))

    with pytest.raises(ArtifactError, match=said):
        open_feature_set(path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": NaN}', "\xff"])
def test_a_file_that_is_no_feature_set_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "features.json"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(ArtifactError, match=r"can not be read|the format is"):
        open_feature_set(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        open_feature_set(tmp_path / "features.json")


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "number", "source": "candidate.title"},
        {"kind": "hour", "source": "context.slot", "utc_offset_minutes": 0},
        {"kind": "tokens", "source": "candidate.price"},
        {"kind": "id", "source": "candidate.price", "vocabulary": []},
        {"kind": "hash", "sources": ["candidate.price"], "seed": 0, "buckets": 4,
         "normalise": "none"},
        {"kind": "history_matches", "field": "category", "source": "candidate.ad_id"},
        {"kind": "history_matches", "field": "at", "source": "logged_at"},
        {"kind": "number", "source": "candidate.prize"},
    ],
)  # fmt: skip
def test_a_log_of_other_fields_or_types_is_refused(entry: dict[str, Any]) -> None:
    with pytest.raises(LogError, match=r"the log"):
        one(batch_of(a_request()), **entry)


def test_a_field_inside_a_missing_struct_is_missing() -> None:
    table = pa.Table.from_pylist([a_request("r0"), a_request("r1") | {"user": None}], schema=SCHEMA)
    from replay.request import batch_from_records

    found = one(batch_from_records(table), kind="number", source="user.age_days")

    assert_float32(found, [400.0, NAN])
