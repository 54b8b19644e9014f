"""Each kind of docs/features.md, against values worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from legacy.feature_set import Feature, feature_set_from_json
from legacy.features import Extractor
from legacy.hashing import murmur3
from replay.errors import ConfigError, LogError
from tests.builders import Record, a_candidate, a_request, a_step, at, batch_of

NAN = float("nan")


def feature(kind: str, **parameters: Any) -> Feature:
    value = {
        "format": "parity.features/1",
        "money": None,
        "features": [{"name": "f", "kind": kind, **parameters}],
    }
    if kind == "id":
        value["training_id"] = "t"
    return feature_set_from_json(value, where="test", trained=kind == "id").features[0]


def extract(of: Feature, *records: Record, **options: Any) -> np.ndarray:
    return Extractor([of], **options).extract(batch_of(*records), ["f"])["f"]


def user_value(kind: str, value: Any, field: str = "age_days", **parameters: Any) -> float:
    of = feature(kind, source=f"user.{field}", **parameters)
    return float(extract(of, a_request(user={field: value}))[0])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(19.5, 19.5), (-0.0, -0.0), (None, NAN), (NAN, NAN), (math.inf, NAN), (-math.inf, NAN),
     (16777217.0, 16777216.0), (0.1, 0.10000000149011612), (1e39, math.inf)],
)  # fmt: skip
def test_a_number_is_rounded_once_to_float32(value: float | None, expected: float) -> None:
    found = user_value("number", value)

    np.testing.assert_equal(found, expected)
    assert math.copysign(1, found) == math.copysign(1, expected) or math.isnan(expected)


def test_a_large_integer_is_first_a_float64() -> None:
    # 2^24 + 1 lies midway; 2^53 + 1 is no float64, and rounds there to 2^53 first.
    assert user_value("number", 2**24 + 1, "clicks") == 2**24
    assert user_value("number", 2**53 + 1, "clicks") == 2**53


def test_a_bool_is_0_or_1() -> None:
    assert user_value("number", True, "member") == 1.0
    assert user_value("number", False, "member") == 0.0
    assert math.isnan(user_value("number", None, "member"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (1, 0.6931471805599453), (100, 4.61512051684126), (-1, NAN), (None, NAN)],
)
def test_log1p_of_a_count(value: int | None, expected: float) -> None:
    np.testing.assert_equal(user_value("log1p", value, "clicks"), np.float32(expected))


@pytest.mark.parametrize(
    ("when", "offset", "hour", "weekday"),
    [
        ("2019-11-30 15:00", 540, 0, 6),  # Sunday has begun in Tokyo
        ("2019-11-30 14:59:59.999999", 540, 23, 5),
        ("2019-11-30 00:00", 0, 0, 5),
        ("2019-11-30 00:00", -210, 20, 4),  # Newfoundland: half past eight on Friday
        ("1970-01-01 00:00", 0, 0, 3),  # a Thursday
        ("1969-12-31 23:59:59.999999", 0, 23, 2),
        ("1923-02-28 14:59:59.999999", 540, 23, 2),  # a Wednesday
    ],
)
def test_hour_and_weekday_are_local_and_floor_before_1970(
    when: str, offset: int, hour: int, weekday: int
) -> None:
    request = a_request(logged_at=at(when))

    assert extract(feature("hour", source="logged_at", utc_offset_minutes=offset), request) == hour
    assert (
        extract(feature("weekday", source="logged_at", utc_offset_minutes=offset), request)
        == weekday
    )


def test_hour_and_weekday_of_no_time_are_missing() -> None:
    for kind in ("hour", "weekday"):
        assert math.isnan(user_value(kind, None, "last_visit_at", utc_offset_minutes=0))


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2019-11-30 14:30", math.log(2.0)),
        ("2019-11-30 15:30", 0.0),
        ("2019-11-30 16:30", 0.0),  # the future counts as now
        ("2019-11-30 15:29:59.999999", math.log1p(1 / 3.6e9)),
        (None, NAN),
    ],
)
def test_recency_is_log1p_of_hours(since: str | None, expected: float) -> None:
    of = feature("recency", since="candidate.last_clicked_at", until="logged_at")
    candidate = a_candidate(last_clicked_at=at(since) if since else None)

    found = extract(of, a_request(candidates=[candidate]))

    np.testing.assert_equal(found[0], np.float32(expected))


@pytest.mark.parametrize(
    ("events", "trials", "expected"),
    [
        (3, 100, (3 + 0.5) / 110),
        (0, 0, 0.05),
        (None, 100, NAN),
        (3, None, NAN),
        (3, -10, math.inf),  # as floating point divides, not as Python does
    ],
)
def test_a_rate_is_smoothed_towards_its_prior(
    events: int | None, trials: int | None, expected: float
) -> None:
    of = feature("rate", events="user.clicks", trials="user.impressions", prior=0.05, weight=10.0)

    found = extract(of, a_request(user={"clicks": events, "impressions": trials}))

    np.testing.assert_equal(found[0], np.float32(expected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("red running shoes", 3), ("", 0), (" \t\n\v\f\r", 0), ("a\tb\nc\vd\fe\rf", 6),
     ("a\xa0b\u2003c", 1), ("a\x1cb\x1fc", 1), ("靴 と 鞄", 3), (None, NAN)],
)  # fmt: skip
def test_tokens_are_runs_between_ascii_white_space(text: str | None, expected: float) -> None:
    np.testing.assert_equal(user_value("tokens", text, "segment"), expected)


def test_history_count_is_log1p_of_steps() -> None:
    found = extract(feature("history_count"), a_request(), a_request(history=[a_step()] * 3))

    np.testing.assert_array_equal(found, np.float32([0.0, math.log(4.0)]))


def test_history_recency_looks_at_the_last_logged_step() -> None:
    of = feature("history_recency", until="logged_at")
    old, new = a_step(at=at("2019-11-30 08:30")), a_step(at=at("2019-11-30 14:30"))

    found = extract(
        of,
        a_request(history=[old, new]),
        a_request(history=[new, old]),
        a_request(history=[new, a_step(at=None)]),
        a_request(),
    )

    np.testing.assert_array_equal(found, np.float32([math.log(2), math.log(8), NAN, NAN]))


def test_history_matches_counts_equal_steps_and_null_matches_nothing() -> None:
    of = feature("history_matches", field="category", source="candidate.category")
    steps = [a_step(category=c) for c in ("shoes", "hats", None, "shoes")]
    candidates = [a_candidate(i, category=c) for i, c in enumerate(("shoes", "bags", None))]

    found = extract(of, a_request(history=steps, candidates=candidates))

    np.testing.assert_array_equal(found, np.float32([2, 0, NAN]))


def test_history_matches_compares_ids_exactly() -> None:
    of = feature("history_matches", field="advertiser_id", source="candidate.advertiser_id")
    steps = [a_step(advertiser_id=i) for i in (2**62 + 1, 2**62, None)]

    found = extract(of, a_request(history=steps, candidates=[a_candidate(advertiser_id=2**62 + 1)]))

    assert found == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [(9.999999, 1), (10.0, 2), (10.000001, 2), (20.0, 3), (1e300, 3), (-1e300, 1), (None, 0),
     (NAN, 0), (math.inf, 0), (-math.inf, 0)],
)  # fmt: skip
def test_an_edge_belongs_to_the_bucket_above_it(value: float | None, expected: int) -> None:
    assert user_value("bucket", value, edges=[10.0, 20]) == expected


def test_buckets_compare_in_float64() -> None:
    assert user_value("bucket", 0.1, edges=[0.1, 0.2]) == 2
    assert user_value("bucket", float(np.nextafter(0.1, 0)), edges=[0.1, 0.2]) == 1


def hash_of(text: str, seed: int = 7, buckets: int = 1 << 20) -> int:
    return 1 + murmur3(text.encode(), seed) % (buckets - 1)


def hashed(*sources: str, normalise: str = "none") -> Feature:
    return feature("hash", sources=list(sources), seed=7, buckets=1 << 20, normalise=normalise)


def test_a_hash_joins_its_sources_by_one_byte() -> None:
    of = hashed("user.segment", "candidate.advertiser_id", "candidate.fresh")
    request = a_request(
        user={"segment": "Ä"},
        candidates=[a_candidate(1, advertiser_id=-5, fresh=True), a_candidate(2, fresh=False)],
    )

    found = extract(of, request)

    assert found.dtype == np.int32
    assert found.tolist() == [hash_of("Ä\x1f-5\x1f1"), hash_of(f"Ä\x1f{2**40 + 1}\x1f0")]


def test_a_hash_is_missing_when_any_source_is() -> None:
    of = hashed("user.segment", "candidate.title")
    candidates = [a_candidate(1, title=None), a_candidate(2, title="")]

    assert extract(of, a_request(candidates=candidates)).tolist() == [0, hash_of("a\x1f")]
    assert extract(of, a_request(user={"segment": None})).tolist() == [0]


def test_a_hash_lowers_before_it_hashes() -> None:
    of = hashed("user.segment", normalise="lower")

    assert extract(of, a_request(user={"segment": "SHOES İ"})) == hash_of("shoes İ")


def test_ids_never_pass_through_a_float() -> None:
    of = feature("id", source="candidate.advertiser_id", vocabulary=[1])
    ids = [2**53 + 1, 2**62 + 1, 0, None]
    candidates = [a_candidate(i, advertiser_id=own) for i, own in enumerate(ids)]

    found = extract(of, a_request(candidates=candidates))

    assert found.dtype == np.int64
    assert found.tolist() == [2**53 + 1, 2**62 + 1, 0, -1]


def test_request_features_have_one_value_a_request_and_others_one_a_candidate() -> None:
    records = [a_request("r-1", num_candidates=3), a_request("r-2", num_candidates=1)]

    assert len(extract(feature("number", source="context.slot"), *records)) == 2
    assert len(extract(feature("number", source="candidate.price"), *records)) == 4
    assert len(extract(hashed("context.slot", "candidate.ad_id"), *records)) == 4


def test_a_strict_edge_belongs_to_the_bucket_below_it() -> None:
    of = feature("bucket", source="user.age_days", edges=[10.0, 20.0])
    records = [a_request(user={"age_days": x}) for x in (5.0, 10.0, 15.0, 20.0, None)]

    assert extract(of, *records).tolist() == [1, 2, 2, 3, 0]
    assert extract(of, *records, strict_edges={"f"}).tolist() == [1, 1, 2, 2, 0]


def test_a_log_without_the_field_is_refused_by_name() -> None:
    with pytest.raises(LogError, match=r"user\.shoe_size.*user\.age_days"):
        extract(feature("number", source="user.shoe_size"), a_request())


@pytest.mark.parametrize(
    "of",
    [
        feature("number", source="candidate.title"),
        feature("hour", source="candidate.price", utc_offset_minutes=0),
        feature("tokens", source="candidate.ad_id"),
        feature("id", source="candidate.title", vocabulary=[]),
        hashed("candidate.price"),
        feature("history_matches", field="category", source="candidate.ad_id"),
    ],
)
def test_a_field_of_another_type_is_refused(of: Feature) -> None:
    with pytest.raises(ConfigError, match=r"'f'.* can not be computed from"):
        extract(of, a_request())
