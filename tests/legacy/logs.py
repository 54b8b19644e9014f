"""A small labelled log over the schema of `tests.builders`, whose clicks follow its fields."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from replay.logs.parquet import write_day
from tests.builders import SCHEMA, Record, a_candidate, a_request, table_of

DAYS = (date(2019, 11, 24), date(2019, 11, 25), date(2019, 11, 26))
FEATURES: list[dict[str, Any]] = [
    {"name": "price", "kind": "number", "source": "candidate.price"},
    {"name": "hour", "kind": "hour", "source": "logged_at", "utc_offset_minutes": 540},
    {"name": "ad_ctr", "kind": "rate", "events": "candidate.clicks",
     "trials": "candidate.impressions", "prior": 0.1, "weight": 20.0},
    {"name": "segment", "kind": "hash", "sources": ["user.segment"], "seed": 1, "buckets": 8,
     "normalise": "none"},
    {"name": "ad", "kind": "id", "source": "candidate.ad_id"},
    {"name": "price_bucket", "kind": "bucket", "source": "candidate.price",
     "edges": [20.0, 50.0]},
]  # fmt: skip


def write_logs(root: Path, *, requests: int = 250, candidates: int = 6, shown: int = 4) -> Path:
    """Three days; the last candidates of each request are not shown, and have no label."""
    for place, day in enumerate(DAYS):
        records = _records(day, requests, candidates, shown, np.random.default_rng(place))
        write_day(root, day, [table_of(*records)], schema=SCHEMA)
    return root


def write_features(path: Path, *extra: dict[str, Any]) -> Path:
    """The feature set of this log as a file, with further features."""
    value = {
        "format": "parity.features/1",
        "training_id": None,
        "money": "candidate.bid_micros",
        "features": [*FEATURES, *extra],
    }
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def _records(
    day: date, requests: int, candidates: int, shown: int, rng: np.random.Generator
) -> list[Record]:
    records = []
    start = datetime.fromisoformat(f"{day.isoformat()}T00:00:00+00:00")
    for number in range(requests):
        segment = "abc"[rng.integers(3)]
        drawn = []
        for place, ad_id in enumerate(rng.permutation(20)[:candidates].tolist()):
            price = float(rng.uniform(1, 100))
            log_odds = -1.0 + 2 * (segment == "a") - price / 25 + ad_id / 5
            clicked = int(rng.random() < 1 / (1 + np.exp(-log_odds)))
            drawn.append(
                a_candidate(
                    ad_id,
                    price=price,
                    clicks=int(rng.integers(0, 30)),
                    shown=place < shown,
                    click=clicked if place < shown else None,
                )
            )
        records.append(
            a_request(
                f"r-{day.isoformat()}-{number}",
                logged_at=start + timedelta(seconds=int(rng.integers(86_400))),
                user={"segment": segment},
                candidates=drawn,
            )
        )
    return records
