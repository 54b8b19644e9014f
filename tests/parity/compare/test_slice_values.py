from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from parity.compare.slice_values import HISTORY, MISSING, check_named, slice_columns
from parity.judge.metrics.outcomes import MAX_VALUES, Outcomes, joined
from replay.errors import ConfigError
from replay.request import RequestBatch, batch_from_records

AT = datetime(2026, 1, 5, tzinfo=UTC)
STEP = {"ad_id": 1, "action": "click", "at": AT}


def a_batch(countries: list[str | None], *, ads: int = 2) -> RequestBatch:
    records = [
        {
            "request_id": f"r-{i}",
            "logged_at": AT,
            "context": {"app": True},
            "user": {"country": country, "score": 0.5},
            "history": [STEP] * (i % 3 * 5),
            "candidates": [
                {"ad_id": 10 * i + k, "advertiser": 100 * i + k, "bid_micros": 5, "click": k % 2}
                for k in range(ads)
            ],
        }
        for i, country in enumerate(countries)
    ]
    table = pa.Table.from_pylist([*records, {**records[0], "history": [STEP]}])
    return batch_from_records(table.slice(0, len(records)))


def texts(columns, field: str) -> list[str]:
    column = columns[field]
    return [column.values[code] for code in column.codes]


def test_fields_of_few_values_are_slices_and_outcomes_and_ids_are_not() -> None:
    batch = a_batch(["no", None, "se"])

    found = slice_columns(batch, np.arange(6))

    assert set(found) == {HISTORY, "context.app", "user.country", "candidate.advertiser"}
    assert texts(found, "user.country") == ["no", "no", MISSING, MISSING, "se", "se"]
    assert texts(found, "context.app") == ["true"] * 6
    assert texts(found, HISTORY) == ["0", "0", "1-9", "1-9", "10-99", "10-99"]


def test_a_slice_is_of_the_labelled_candidates_it_is_asked_for() -> None:
    found = slice_columns(a_batch(["no", "se"]), np.array([1, 2]))

    assert texts(found, "user.country") == ["no", "se"]
    assert texts(found, "candidate.advertiser") == ["1", "100"]


def test_a_field_of_many_values_is_a_slice_only_when_the_plan_names_it() -> None:
    batch = a_batch(["no"] * (MAX_VALUES + 1), ads=1)
    rows = np.arange(batch.num_candidates)

    assert "candidate.advertiser" not in slice_columns(batch, rows)
    named = slice_columns(batch, rows, ["candidate.advertiser"])
    assert len(named["candidate.advertiser"].values) == MAX_VALUES + 1


def of_shard(countries: list[str | None], named: tuple[str, ...] = ()) -> Outcomes:
    batch = a_batch(countries, ads=1)
    rows = np.arange(batch.num_candidates)
    return Outcomes(
        request_hash=rows.astype(np.uint64),
        label=np.zeros(len(rows), dtype=np.int8),
        p_reference=np.full(len(rows), 0.5),
        p_challenger=np.full(len(rows), 0.5),
        top_k_overlap=np.zeros(0),
        rank_correlation=np.zeros(0),
        slices=slice_columns(batch, rows, named),
        top_k=3,
    )


def test_shards_that_saw_different_values_are_joined_by_text() -> None:
    found = joined([of_shard(["no", "se"]), of_shard([None, "no", "dk"])])

    assert texts(found.slices, "user.country") == ["no", "se", MISSING, "no", "dk"]


def test_a_field_with_few_values_a_shard_and_many_a_day_is_no_slice() -> None:
    shards = [of_shard([f"{shard}-{i}" for i in range(15)]) for shard in range(2)]
    named = [of_shard([f"{shard}-{i}" for i in range(15)], ("user.country",)) for shard in range(2)]

    assert "user.country" not in joined(shards).slices
    assert len(joined(named).slices["user.country"].values) == 30


@pytest.mark.parametrize(
    ("path", "what"), [("user.county", "is no field of the log"), ("user.score", "is a double")]
)
def test_a_slice_that_the_log_can_not_give_is_refused_by_name(path: str, what: str) -> None:
    with pytest.raises(ConfigError, match=f"{path}' {what} .*user.country"):
        check_named(a_batch(["no"]).records.schema, [path])
