"""A batch of requests: fields by axis, slices that are batches of their own, types that are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from replay.errors import LogError
from replay.request import RequestBatch, batch_from_records, concat_batches
from tests.builders import a_candidate, a_request, a_step, batch_of, random_batch


def test_a_field_has_one_value_a_row_of_its_axis() -> None:
    first = a_request("a", candidates=[a_candidate(1, price=2.0), a_candidate(2, price=None)])
    second = a_request("b", candidates=[a_candidate(3, price=5.0)], history=[a_step(9)])
    batch = batch_of(first, second)
    assert batch.column("candidate.price").to_pylist() == [2.0, None, 5.0]
    assert batch.column("history.ad_id").to_pylist() == [9]
    assert len(batch.column("user.segment")) == len(batch.column("logged_at")) == 2
    assert batch.keys.candidate_offsets.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    ("path", "offers"),
    [("candidate.prize", "candidate.price"), ("user.agee", "user.segment"), ("usr.age", "user")],
)
def test_an_unknown_field_is_told_with_those_there_are_and_the_day(path: str, offers: str) -> None:
    batch = random_batch()
    day = batch.records.column("logged_at")[0].as_py().date()
    with pytest.raises(LogError) as raised:
        batch.column(path)
    assert repr(path) in raised.value.what and offers in raised.value.what
    assert str(day) in raised.value.where


def test_a_slice_and_a_taken_order_are_batches_of_their_own() -> None:
    batch = random_batch(num_requests=6)
    ids, prices = batch.keys.request_ids.to_pylist(), batch.column("candidate.price").to_pylist()
    offsets = batch.keys.candidate_offsets
    taken = batch.take([4, 1])
    assert taken.keys.request_ids.to_pylist() == [ids[4], ids[1]]
    assert taken.column("candidate.price").to_pylist() == (
        prices[offsets[4] : offsets[5]] + prices[offsets[1] : offsets[2]]
    )
    parts = [batch.slice(0, 2), batch.slice(2, 99)]
    assert _written(concat_batches(parts)) == _written(batch)


def test_a_slice_of_arrow_s_own_is_compacted() -> None:
    batch = random_batch(num_requests=6)
    again = batch_from_records(batch.records.slice(2, 3))
    assert again.keys.candidate_offsets[0] == 0
    assert _written(again) == _written(batch.slice(2, 5))


def test_other_widths_are_cast_and_what_has_no_canonical_type_is_refused() -> None:
    def records(kind: pa.DataType, value: object) -> pa.Table:
        table = pa.Table.from_batches([random_batch(num_requests=1).records])
        return table.set_column(
            table.schema.get_field_index("context"),
            "context",
            pa.array([{"slot": value}], pa.struct({"slot": kind})),
        )

    assert batch_from_records(records(pa.int8(), 3)).column("context.slot").type == pa.int64()
    assert batch_from_records(records(pa.float32(), 0.1)).column("context.slot")[
        0
    ].as_py() == float(np.float32(0.1))
    with pytest.raises(LogError, match="duration"):
        batch_from_records(records(pa.duration("us"), 3))
    with pytest.raises(LogError, match="do not fit"):
        batch_from_records(records(pa.uint64(), 2**63))


def _written(batch: RequestBatch) -> str:
    return repr(batch.records.to_pylist())  # NaN is written like NaN
