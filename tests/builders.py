"""Small requests for tests: every value that matters is named where the test is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from replay.request import TIMESTAMP, RequestBatch, batch_from_records

Record = dict[str, Any]

# One field of every type a stack reads, on every axis that feature kinds read it from.
CONTEXT = pa.struct(
    {
        "slot": pa.int64(),
        "temperature": pa.float64(),
        "premium": pa.bool_(),
        "device": pa.string(),
        "page_at": TIMESTAMP,
    }
)
USER = pa.struct(
    {
        "segment": pa.string(),
        "age_days": pa.float64(),
        "impressions": pa.int64(),
        "clicks": pa.int64(),
        "member": pa.bool_(),
        "last_visit_at": TIMESTAMP,
    }
)
STEP = pa.struct(
    {
        "ad_id": pa.int64(),
        "action": pa.string(),
        "at": TIMESTAMP,
        "category": pa.string(),
        "advertiser_id": pa.int64(),
    }
)
CANDIDATE = pa.struct(
    {
        "ad_id": pa.int64(),
        "bid_micros": pa.int64(),
        "title": pa.string(),
        "category": pa.string(),
        "advertiser_id": pa.int64(),
        "price": pa.float64(),
        "fresh": pa.bool_(),
        "impressions": pa.int64(),
        "clicks": pa.int64(),
        "last_clicked_at": TIMESTAMP,
        "shown": pa.bool_(),
        "click": pa.int64(),
    }
)
SCHEMA = pa.schema(
    {
        "request_id": pa.string(),
        "logged_at": TIMESTAMP,
        "context": CONTEXT,
        "user": USER,
        "history": pa.list_(STEP),
        "candidates": pa.list_(CANDIDATE),
    }
)


def at(text: str) -> datetime:
    """A time in UTC, written as in `2019-11-30 23:59:59.5`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def a_candidate(ad_id: int | str = 7, **fields: Any) -> Record:
    """One candidate; fields that are not named have a plain, non-null default."""
    return {
        "ad_id": ad_id,
        "bid_micros": 1_000_000,
        "title": "Red running shoes",
        "category": "shoes",
        "advertiser_id": 2**40 + 1,
        "price": 19.5,
        "fresh": True,
        "impressions": 100,
        "clicks": 3,
        "last_clicked_at": at("2019-11-29 12:00"),
        "shown": False,
        "click": None,
    } | fields


def a_step(ad_id: int = 7, **fields: Any) -> Record:
    """One step of a history."""
    return {
        "ad_id": ad_id,
        "action": "click",
        "at": at("2019-11-28 08:00"),
        "category": "shoes",
        "advertiser_id": 2**40 + 1,
    } | fields


def a_request(
    request_id: str = "r-1",
    *,
    logged_at: datetime | None = None,
    context: Mapping[str, Any] | None = None,
    user: Mapping[str, Any] | None = None,
    history: Sequence[Mapping[str, Any]] = (),
    candidates: Sequence[Mapping[str, Any]] | None = None,
    num_candidates: int = 1,
) -> Record:
    """One request as a plain record.

    `context` and `user` override single fields; `history` and `candidates` stand as given
    (`num_candidates` makes plain ones with ad ids from 1 where `candidates` is None).
    """
    if candidates is None:
        candidates = [a_candidate(ad_id) for ad_id in range(1, num_candidates + 1)]
    return {
        "request_id": request_id,
        "logged_at": logged_at or at("2019-11-30 15:30"),
        "context": {
            "slot": 1,
            "temperature": 21.5,
            "premium": False,
            "device": "phone",
            "page_at": at("2019-11-30 15:00"),
        }
        | dict(context or {}),
        "user": {
            "segment": "a",
            "age_days": 400.0,
            "impressions": 40,
            "clicks": 2,
            "member": True,
            "last_visit_at": at("2019-11-27 09:00"),
        }
        | dict(user or {}),
        "history": [dict(step) for step in history],
        "candidates": [dict(candidate) for candidate in candidates],
    }


def table_of(*records: Mapping[str, Any], schema: pa.Schema = SCHEMA) -> pa.Table:
    """The records as a table of the log's schema, unchecked: empty histories keep their type."""
    return pa.Table.from_pylist([dict(record) for record in records], schema=schema)


def shuffled_schema(schema: pa.Schema, chance: Random) -> pa.Schema:
    """The same columns, and fields of their structs, in another order."""

    def turned(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_struct(kind):
            fields = [kind.field(place) for place in range(kind.num_fields)]
            chance.shuffle(fields)
            return pa.struct([pa.field(one.name, turned(one.type)) for one in fields])
        return pa.list_(turned(kind.value_type)) if pa.types.is_list(kind) else kind

    names = list(schema.names)
    chance.shuffle(names)
    return pa.schema([pa.field(name, turned(schema.field(name).type)) for name in names])


def batch_of(*records: Mapping[str, Any], schema: pa.Schema = SCHEMA) -> RequestBatch:
    """The records as a batch; a log of other fields brings its own schema."""
    return batch_from_records(table_of(*records, schema=schema))


# Values on which translations part: bucket edges and their neighbours, both zeros, values
# that are missing in one way or another, integers that a float64 or an int32 can not hold.
EDGE_FLOATS: tuple[float | None, ...] = (
    None, float("nan"), float("inf"), float("-inf"), 0.0, -0.0, -1.5, 10.0, 19.5, 100.0,
    float(np.nextafter(10.0, 0)), float(np.nextafter(10.0, 11)), 1e-30, 1e30, 0.1,
)  # fmt: skip
EDGE_COUNTS: tuple[int | None, ...] = (None, 0, 1, 3, 10, 100, 99, 101, 2**24 + 1, 2**53 + 1, -1)
EDGE_IDS: tuple[int | None, ...] = (
    None, 0, 1, 7, 2**24, 2**24 + 1, 2**40, 2**40 + 1, 2**62 + 1, 999,
)  # fmt: skip
EDGE_TEXTS: tuple[str | None, ...] = (
    None, "", "a", "B", "shoes", "SHOES", "Grüße aus KÖLN", "靴 と\t鞄", "a\x1fb", "  two  words ",
    "emoji 👟\n\v\f\r x", "İstanbul", "a\xa0b\u2003c", "x" * 40, "abc", "abcd", "abcde",
)  # fmt: skip
EDGE_TIMES: tuple[datetime | None, ...] = (
    None, at("1970-01-01"), at("1969-12-31 23:59:59.999999"), at("1923-02-28 14:59:59.999999"),
    at("2019-11-30 15:00"), at("2019-11-30 14:59:59.999999"), at("2019-11-29 12:00"),
    at("2100-03-01"),
)  # fmt: skip


def random_batch(num_requests: int = 8, candidates: int = 5, seed: int = 0) -> RequestBatch:
    """Requests drawn half from edge values, half from plain ones, over `SCHEMA`.

    Args:
        num_requests: Requests; the first has no history.
        candidates: Most candidates of a request, at least 1.
        seed: Draws everything.
    """
    rng = np.random.default_rng(seed)

    def pick(values: Sequence[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    def number(edges: Sequence[Any], low: float, high: float, *, whole: bool) -> Any:
        if rng.random() < 0.5:
            return pick(edges)
        drawn = float(rng.uniform(low, high))
        return int(drawn) if whole else drawn

    def time() -> datetime | None:
        if rng.random() < 0.5:
            return pick(EDGE_TIMES)
        return datetime.fromtimestamp(int(rng.integers(1_570_000_000, 1_575_000_000)), UTC)

    def step() -> Record:
        return {
            "ad_id": int(rng.integers(1, 30)),
            "action": pick(("click", "view", None)),
            "at": time(),
            "category": pick(EDGE_TEXTS),
            "advertiser_id": pick(EDGE_IDS),
        }

    def candidate(ad_id: int) -> Record:
        return {
            "ad_id": ad_id,
            "bid_micros": int(rng.integers(1, 5_000_000)),
            "title": pick(EDGE_TEXTS),
            "category": pick(EDGE_TEXTS),
            "advertiser_id": pick(EDGE_IDS),
            "price": number(EDGE_FLOATS, -10, 200, whole=False),
            "fresh": pick((None, True, False)),
            "impressions": number(EDGE_COUNTS, 0, 1000, whole=True),
            "clicks": number(EDGE_COUNTS, 0, 50, whole=True),
            "last_clicked_at": time(),
            "shown": bool(rng.random() < 0.3),
            "click": pick((None, 0, 1)),
        }

    def request(place: int) -> Record:
        ad_ids = rng.permutation(np.r_[1:20, 2**24 + 1, 2**40 + 1, 2**62 + 1])
        count = int(rng.integers(1, candidates + 1))
        return {
            "request_id": f"r-{seed}-{place}",
            "logged_at": time() or at("2019-11-30 15:30"),
            "context": {
                "slot": number(EDGE_COUNTS, 0, 4, whole=True),
                "temperature": number(EDGE_FLOATS, -20, 40, whole=False),
                "premium": pick((None, True, False)),
                "device": pick(EDGE_TEXTS),
                "page_at": time(),
            },
            "user": {
                "segment": pick(EDGE_TEXTS),
                "age_days": number(EDGE_FLOATS, 0, 4000, whole=False),
                "impressions": number(EDGE_COUNTS, 0, 500, whole=True),
                "clicks": number(EDGE_COUNTS, 0, 20, whole=True),
                "member": pick((None, True, False)),
                "last_visit_at": time(),
            },
            "history": [step() for _ in range(0 if place == 0 else int(rng.integers(0, 5)))],
            "candidates": [candidate(int(ad_id)) for ad_id in ad_ids[:count]],
        }

    return batch_of(*(request(place) for place in range(num_requests)))
