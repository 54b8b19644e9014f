from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parity.compare.fidelity import served_counts
from parity.compare.shard_rows import rows_of_shard
from parity.plan import Plan
from replay.request import RequestBatch, batch_from_records
from tests.toys import ToyStack, toy_batch

FEATURES = ("hour", "age_days", "price", "price_bucket", "category")


def served_batch(**change: Any) -> RequestBatch:
    """A batch that the toy served, with single candidate fields changed afterwards."""
    batch = toy_batch(8)
    names = [f"features.{name}" for name in FEATURES]
    trace = ToyStack().score(batch, capture=["pctr", "rank", *names])
    request = batch.keys.request_of("candidate")

    def along(name: str) -> np.ndarray:
        values = trace[name]
        return values[request] if len(values) == batch.num_requests else values

    features = {name: along(f"features.{name}").tolist() for name in FEATURES}
    fields = {
        "served_pctr": trace["pctr"].astype(np.float64).tolist(),
        "served_rank": trace["rank"].tolist(),
        **features,
    } | change
    records = batch.records.to_pylist()
    row = 0
    for record in records:
        for candidate in record["candidates"]:
            candidate["served_pctr"] = fields["served_pctr"][row]
            candidate["served_rank"] = fields["served_rank"][row]
            candidate["served_features"] = {
                name: None if fields[name][row] != fields[name][row] else fields[name][row]
                for name in fields
                if not name.startswith("served_")
            }
            row += 1
    return batch_from_records(pa.Table.from_pylist(records))


def counted(batch: RequestBatch, plan: Plan | None = None):
    stack = ToyStack()
    names = [f"features.{name}" for name in FEATURES]
    trace = stack.score(batch, capture=["pctr", "ecpm_micros", "rank", *names])
    rows = rows_of_shard("s", batch, batch)
    return served_counts(rows, trace, stack.checkpoints, plan or Plan())


def changed(values: list, by: Any) -> list:
    return [by(value) for value in values]


@pytest.fixture(scope="module")
def served() -> RequestBatch:
    return served_batch()


def test_what_the_reference_itself_served_is_reproduced(served) -> None:
    found = counted(served)

    assert set(found.fields) == {"pctr", "rank", *(f"features.{name}" for name in FEATURES)}
    assert found.unmatched == ()
    for counts in found.fields.values():
        assert (counts.rows, counts.differing) == (served.num_candidates, 0)


def test_a_log_without_served_fields_has_none() -> None:
    assert counted(toy_batch(3)).fields == {}


def test_a_tampered_feature_is_counted_with_the_log_as_the_other_side(served) -> None:
    prices = served.column("candidate.served_features").field("category").to_pylist()
    batch = served_batch(category=[prices[0] + 1, *prices[1:]])

    found = counted(batch).fields["features.category"]

    assert found.differing == 1
    example = found.examples[0].example
    assert (example.reference, example.challenger) == (prices[0], prices[0] + 1)


def test_a_feature_served_as_missing_differs_from_a_value(served) -> None:
    prices = served.column("candidate.served_features").field("price").to_pylist()
    place = next(row for row, price in enumerate(prices) if price is not None)
    prices[place] = float("nan")

    found = counted(served_batch(price=changed(prices, lambda p: np.nan if p is None else p)))

    assert found.fields["features.price"].differing == 1
    assert found.fields["features.price"].examples[0].example.challenger is None


def test_a_pctr_beyond_twice_the_references_rounding_differs(served) -> None:
    pctr = served.column("candidate.served_pctr").to_pylist()
    near, far = changed(pctr, lambda p: p + 3e-5), changed(pctr, lambda p: p + 6e-5)

    assert counted(served_batch(served_pctr=near)).fields["pctr"].differing == 0
    assert counted(served_batch(served_pctr=far)).fields["pctr"].differing == len(pctr)


def test_a_rank_that_moved_for_a_reason_differs(served) -> None:
    ranks = served.column("candidate.served_rank").to_pylist()
    swapped = changed(ranks, lambda r: {0: 1, 1: 0}.get(r, r))

    assert counted(served_batch(served_rank=swapped)).fields["rank"].differing > 0


def test_a_served_feature_that_nobody_computes_is_told(served) -> None:
    batch = served_batch(invented=[1.0] * served.num_candidates)

    assert counted(batch).unmatched == ("features.invented",)


def test_a_served_feature_of_another_kind_is_told(served) -> None:
    batch = served_batch(category=["seven"] * served.num_candidates)

    assert counted(batch).unmatched == ("features.category",)
