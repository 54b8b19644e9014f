from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from modern.training.labels import outcomes
from replay.errors import LogError
from replay.logs.synthetic import Simulation, SyntheticLog
from replay.request import RequestBatch, batch_from_records

LOG = SyntheticLog(days=1, requests=200, candidates=6, seed=1)
TASKS = ("click", "conversion", "view_2s", "view_5s")


@pytest.fixture(scope="module")
def batch() -> RequestBatch:
    return batch_from_records(pa.concat_tables(Simulation(LOG).tables(LOG.dates[0])))


def micros(hour: int) -> int:
    return int(datetime(2026, 1, 5, hour, tzinfo=UTC).timestamp() * 1e6)


def test_outcomes_are_what_the_log_says_and_not_known_where_it_says_nothing(
    batch: RequestBatch,
) -> None:
    found = outcomes(batch, TASKS, attribution_hours=24.0)

    rows = [c for r in batch.records.to_pylist() for c in r["candidates"]]
    expected = [
        [
            np.nan if c["click"] is None else c["click"],
            np.nan if c["conversion"] is None else c["conversion"],
            np.nan if c["view_ms"] is None else float(c["view_ms"] >= 2000),
            np.nan if c["view_ms"] is None else float(c["view_ms"] >= 5000),
        ]
        for c in rows
    ]
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))
    assert found.dtype == np.float32
    assert all(np.nansum(found[:, place]) > 0 for place in range(4))


def test_a_conversion_is_not_known_before_its_window_has_passed_whatever_came_of_it(
    batch: RequestBatch,
) -> None:
    """Known at 18:00, with a window of six hours: requests up to 12:00 have an answer."""
    whole = outcomes(batch, TASKS, attribution_hours=6.0)

    found = outcomes(batch, TASKS, known_until=micros(18), attribution_hours=6.0)

    logged_at = batch.column("logged_at").cast(pa.int64()).to_numpy()
    is_open = (logged_at > micros(12))[batch.keys.request_of("candidate")]
    assert np.nansum(whole[is_open, 1]) > 0, "conversions that a careless training would keep"
    assert np.isnan(found[is_open, 1]).all()
    np.testing.assert_array_equal(found[~is_open], whole[~is_open])
    np.testing.assert_array_equal(found[:, [0, 2, 3]], whole[:, [0, 2, 3]])


def test_a_log_without_the_field_of_a_task_is_refused_by_name(batch: RequestBatch) -> None:
    candidates = batch.records.column("candidates")
    fields = [f for f in candidates.type.value_type if f.name != "view_ms"]
    fewer = pa.ListArray.from_arrays(
        candidates.offsets,
        pa.StructArray.from_arrays(
            [candidates.values.field(f.name) for f in fields], fields=fields
        ),
    )
    place = batch.records.schema.get_field_index("candidates")
    records = batch.records.set_column(place, "candidates", fewer)

    with pytest.raises(LogError, match="view_ms"):
        outcomes(batch_from_records(records), TASKS, attribution_hours=24.0)
