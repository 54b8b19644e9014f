"""A small synthetic log and a feature set that reads everything that matters in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from replay.logs.parquet import list_days, open_day, read_shard
from replay.logs.synthetic import SyntheticLog, import_synthetic

# What the synthetic log says matters for a click (replay/logs/synthetic.py), one feature each.
INFORMATIVE: tuple[dict[str, Any], ...] = (
    {"name": "hour_tokyo", "kind": "hour", "source": "logged_at", "utc_offset_minutes": 540},
    {"name": "slot", "kind": "number", "source": "context.slot"},
    {"name": "age_days", "kind": "log1p", "source": "user.age_days"},
    {
        "name": "user_rate",
        "kind": "rate",
        "prior": 0.1,
        "weight": 10.0,
        "events": "user.past_clicks",
        "trials": "user.past_impressions",
    },
    {
        "name": "ad_rate",
        "kind": "rate",
        "prior": 0.1,
        "weight": 10.0,
        "events": "candidate.past_clicks",
        "trials": "candidate.past_impressions",
    },
    {"name": "price", "kind": "log1p", "source": "candidate.price"},
    {
        "name": "click_recency",
        "kind": "recency",
        "since": "candidate.last_clicked_at",
        "until": "logged_at",
    },
    {
        "name": "interest",
        "kind": "history_matches",
        "field": "category",
        "source": "candidate.category",
    },
    {
        "name": "device",
        "kind": "hash",
        "sources": ["context.device"],
        "seed": 1,
        "buckets": 32,
        "normalise": "lower",
    },
    {
        "name": "country",
        "kind": "hash",
        "sources": ["user.country"],
        "seed": 2,
        "buckets": 32,
        "normalise": "lower",
    },
    {
        "name": "segment_x_category",
        "kind": "hash",
        "sources": ["user.segment", "candidate.category"],
        "seed": 3,
        "buckets": 512,
        "normalise": "lower",
    },
    {
        "name": "title",
        "kind": "hash",
        "sources": ["candidate.title"],
        "seed": 5,
        "buckets": 512,
        "normalise": "lower",
    },
    {"name": "advertiser", "kind": "id", "source": "candidate.advertiser_id", "vocabulary": []},
)
NOISE: tuple[dict[str, Any], ...] = (
    {"name": "noise", "kind": "number", "source": "candidate.noise"},
    {"name": "context_noise", "kind": "number", "source": "context.noise"},
)


def write_log(root: Path, *, days: int, requests: int) -> Path:
    log = SyntheticLog(days=days, requests=requests, candidates=8, seed=3)
    assert len(list(import_synthetic(root, log))) == days
    return root


def write_features(path: Path, logs: Path) -> Path:
    """The feature set, its vocabulary filled from the first day."""
    day = open_day(logs, list_days(logs)[0])
    advertisers = {
        advertiser
        for shard in day.shards
        for advertiser in read_shard(shard).batch.column("candidate.advertiser_id").to_pylist()
    }
    features = [
        feature | ({"vocabulary": sorted(advertisers)} if "vocabulary" in feature else {})
        for feature in (*INFORMATIVE, *NOISE)
    ]
    value = {
        "format": "parity.features/1",
        "training_id": "ab" * 16,
        "money": "candidate.bid_micros",
        "features": features,
    }
    path.write_text(json.dumps(value))
    return path
