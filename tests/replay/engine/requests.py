"""Requests for the toy stack, by seed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from replay.registry import StackSpec
from replay.request import TIMESTAMP, RequestBatch, batch_from_records

TOY = "tests.replay.engine.toy_stack:open_stack"


def toy_spec(name: str = "toy", **options: object) -> StackSpec:
    return StackSpec(name=name, opener=TOY, options=options)


def some_requests(count: int, *, seed: int = 0, prefix: str = "r") -> RequestBatch:
    """Requests r0, r1, ... with one to five candidates and none to three steps each."""
    rng = np.random.default_rng(seed)
    start = datetime(2019, 11, 30, tzinfo=UTC)
    rows = [
        {
            "request_id": f"{prefix}{place}",
            "logged_at": start + timedelta(seconds=place),
            "context": {"hour": int(rng.integers(24))},
            "user": {"name": "päivi"},
            "history": [
                {"ad_id": int(rng.integers(9)), "age": int(rng.integers(2**40))}
                for _ in range(rng.integers(4))
            ],
            "candidates": [
                {
                    "ad_id": ad,
                    "price": None if rng.random() < 0.1 else float(rng.normal(5, 3)),
                }
                for ad in range(int(rng.integers(1, 6)))
            ],
        }
        for place in range(count)
    ]
    schema = pa.schema(
        {
            "request_id": pa.string(),
            "logged_at": TIMESTAMP,
            "context": pa.struct({"hour": pa.int64()}),
            "user": pa.struct({"name": pa.string()}),
            "history": pa.list_(pa.struct({"ad_id": pa.int64(), "age": pa.int64()})),
            "candidates": pa.list_(pa.struct({"ad_id": pa.int64(), "price": pa.float64()})),
        }
    )
    return batch_from_records(pa.Table.from_pylist(rows, schema=schema))
