from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from modern.training.data import (
    Days,
    LabelledRequests,
    choose_days,
    labelled_requests,
    only_labelled,
    place_of_requests,
    requests_from_batch,
    split_rows,
    text_of_days,
)
from modern.transformer.inputs import inputs_from_batch
from replay.errors import ConfigError, LogError
from replay.logs.parquet import open_day, write_day
from tests.builders import (
    CANDIDATE,
    SCHEMA,
    a_candidate,
    a_request,
    at,
    batch_of,
    random_batch,
    table_of,
)
from tests.modern.small_transformer import CONFIG, feature_set

DAYS = tuple(date(2019, 11, day) for day in (24, 25, 26, 27))


def test_by_default_the_last_day_is_left_for_the_replay_and_the_one_before_held_out() -> None:
    assert choose_days(DAYS) == Days(train=DAYS[:2], held_out=DAYS[2:3])


def test_days_can_be_named_and_those_the_log_lacks_are_left_out() -> None:
    one = choose_days(DAYS, train=(DAYS[1], DAYS[1]), held_out=(DAYS[3], DAYS[3]))
    long = choose_days(
        DAYS, train=(date(2019, 1, 1), DAYS[1]), held_out=(DAYS[2], date(2020, 1, 1))
    )

    assert one == Days(train=(DAYS[1],), held_out=(DAYS[3],))
    assert long == Days(train=DAYS[:2], held_out=DAYS[2:])
    assert text_of_days(DAYS) == "2019-11-24:2019-11-27"
    assert text_of_days(DAYS[:1]) == "2019-11-24"


NEW_YEAR = date(2020, 1, 1)


@pytest.mark.parametrize(
    ("logged", "named", "says"),
    [
        (DAYS[:2], {}, "2 days"),
        ((), {}, "0 days"),
        (DAYS, {"held_out": (NEW_YEAR, NEW_YEAR)}, "no day from 2020-01-01"),
        (DAYS, {"train": (NEW_YEAR, NEW_YEAR)}, "none"),
        (DAYS, {"held_out": (DAYS[0], DAYS[0])}, "held-out"),
        (DAYS, {"train": (DAYS[0], DAYS[3]), "held_out": (DAYS[2], DAYS[2])}, "held-out"),
        (DAYS, {"train": (DAYS[1], DAYS[0])}, "held-out"),
    ],
)
def test_days_that_make_no_training_are_refused(
    logged: tuple[date, ...], named: dict[str, tuple[date, date]], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        choose_days(logged, **named)


def test_the_held_out_days_are_never_trained_on() -> None:
    for first in DAYS[1:]:
        assert not {*choose_days(DAYS, held_out=(first, DAYS[3])).train} & {
            *DAYS[DAYS.index(first) :]
        }


def test_leaving_out_unlabelled_candidates_changes_no_feature_of_the_others() -> None:
    features = feature_set()
    batch = random_batch(num_requests=40)
    labelled = batch.column("candidate.click").is_valid().to_numpy(zero_copy_only=False)
    whole = inputs_from_batch(batch, features, CONFIG.history)

    rows = requests_from_batch(batch, features, CONFIG)

    assert 0 < labelled.sum() < len(labelled)
    np.testing.assert_array_equal(rows.inputs.candidate_real, whole.candidate_real[labelled])
    np.testing.assert_array_equal(rows.inputs.candidate_codes, whole.candidate_codes[labelled])
    kept = np.unique(batch.keys.request_of("candidate")[labelled])
    read = whole.take(kept).without_unread()
    np.testing.assert_array_equal(rows.inputs.request_real, read.request_real)
    np.testing.assert_array_equal(rows.inputs.step_codes, read.step_codes)
    assert (rows.inputs.step_place >= 0).all() and (whole.step_place < 0).any()
    clicks = batch.column("candidate.click").to_numpy(zero_copy_only=False)[labelled]
    np.testing.assert_array_equal(rows.click, clicks == 1)


def test_a_request_without_labels_is_left_out_whole() -> None:
    batch = batch_of(
        a_request("none", num_candidates=3),
        a_request("one", candidates=[a_candidate(1), a_candidate(2, click=0)]),
    )

    found = only_labelled(batch)

    assert found.keys.request_ids.to_pylist() == ["one"]
    assert found.keys.ad_ids.to_pylist() == [2]


def test_rows_know_their_day_and_request() -> None:
    batch = batch_of(
        a_request("early", logged_at=at("2019-11-30 00:00"), candidates=[a_candidate(1, click=1)]),
        a_request(
            "before",
            logged_at=at("2019-11-29 23:59:59.999999"),
            candidates=[a_candidate(1, click=0)],
        ),
    )

    rows = requests_from_batch(batch, feature_set(), CONFIG)

    assert [date.fromordinal(day) for day in rows.day] == [date(2019, 11, 30), date(2019, 11, 29)]
    assert list(rows.request_ids) == ["early", "before"]
    assert list(rows.click) == [True, False]


def test_the_rows_of_days_stand_in_the_order_of_the_log(tmp_path: Path) -> None:
    for day in (24, 25):
        records = [
            a_request(
                f"r-{day}-{i}",
                logged_at=at(f"2019-11-{day} 10:00"),
                candidates=[a_candidate(1, click=0), a_candidate(2), a_candidate(3, click=1)],
            )
            for i in range(3)
        ]
        write_day(tmp_path, date(2019, 11, day), [table_of(*records)], schema=SCHEMA)

    rows = labelled_requests([open_day(tmp_path, day) for day in DAYS[:2]], feature_set(), CONFIG)

    expected = [f"r-{day}-{i}" for day in (24, 25) for i in range(3)]
    assert list(rows.request_ids) == expected
    assert len(rows) == 12


def test_a_rejected_request_is_no_row(tmp_path: Path) -> None:
    table = table_of(
        a_request("good", logged_at=at("2019-11-24 10:00"), candidates=[a_candidate(1, click=0)]),
        a_request("other day", candidates=[a_candidate(1, click=0)]),
    )
    write_day(tmp_path, DAYS[0], [table], schema=SCHEMA)

    rows = labelled_requests([open_day(tmp_path, DAYS[0])], feature_set(), CONFIG)

    assert list(rows.request_ids) == ["good"]


def test_days_without_a_label_are_refused(tmp_path: Path) -> None:
    table = table_of(a_request(logged_at=at("2019-11-24 10:00")))
    write_day(tmp_path, DAYS[0], [table], schema=SCHEMA)

    with pytest.raises(LogError, match="labelled"):
        labelled_requests([open_day(tmp_path, DAYS[0])], feature_set(), CONFIG)


def test_a_log_without_the_field_of_labels_is_refused_by_name() -> None:
    unlabelled = pa.struct([field for field in CANDIDATE if field.name != "click"])
    schema = pa.schema(
        [f if f.name != "candidates" else f.with_type(pa.list_(unlabelled)) for f in SCHEMA]
    )
    record = a_request()
    record["candidates"] = [
        {k: v for k, v in c.items() if k != "click"} for c in record["candidates"]
    ]

    with pytest.raises(LogError, match=r"candidate\.click"):
        only_labelled(batch_of(record, schema=schema))


def test_a_requests_place_depends_on_its_id_and_the_seed_alone() -> None:
    ids = np.array(["a", "b", "a", "ü"], dtype=np.object_)

    found = place_of_requests(ids, seed=7)

    assert found[0] == found[2] != found[1]
    assert ((found >= 0) & (found < 1)).all()
    np.testing.assert_array_equal(place_of_requests(ids[::-1], seed=7), found[::-1])
    assert not np.array_equal(place_of_requests(ids, seed=8), found)


def some_requests(num_requests: int, *, days: int, click: bool = True) -> LabelledRequests:
    """One labelled candidate each; its advertiser's place tells the requests apart."""
    rng = np.random.default_rng(0)
    batch = batch_of(
        *(a_request(f"r-{i}", candidates=[a_candidate(1, click=0)]) for i in range(num_requests))
    )
    found = requests_from_batch(batch, feature_set(), CONFIG)
    label = (rng.random((num_requests, 1)) < (0.3 if click else 0.0)).astype(np.float32)
    day = np.arange(num_requests, dtype=np.int64) * days // num_requests
    return replace(found, labels=label, day=day)


@pytest.mark.parametrize("days", [1, 5])
def test_every_request_is_in_exactly_one_part(days: int) -> None:
    requests = some_requests(1000, days=days)

    parts = split_rows(requests, kept_back_share=0.125, seed=7)

    together = [parts.fit, parts.stopping, parts.calibration]
    ids = np.concatenate([part.request_ids for part in together])
    assert sorted(ids) == sorted(requests.request_ids)
    assert all(len(part) == len(part.inputs) == len(part.day) for part in together)
    assert len(parts.calibration) == pytest.approx(0.125 * 1000, rel=0.3)
    assert len(parts.stopping) > 0


def test_training_stops_by_the_last_day() -> None:
    parts = split_rows(some_requests(1000, days=5), kept_back_share=0.125, seed=7)

    assert set(parts.stopping.day) == {4}
    assert set(parts.fit.day) == {0, 1, 2, 3}
    assert set(parts.calibration.day) == {0, 1, 2, 3, 4}


def test_nothing_can_be_learned_where_nobody_clicked() -> None:
    with pytest.raises(LogError, match="0 are clicked"):
        split_rows(some_requests(300, days=2, click=False), kept_back_share=0.125, seed=7)
