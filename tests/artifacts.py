"""A small legacy artifact made of real parts, over the log of `tests.builders`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

import legacy.artifact
from legacy.artifact import (
    Calibration,
    LegacyModel,
    RegressionWeights,
    TrainingFacts,
)
from legacy.feature_set import FeatureSet, feature_set_from_json
from legacy.trees import trees_from_json
from replay.digests import digest_of_json
from replay.errors import ConfigError
from tests.builders import random_batch

__all__ = ["FEATURES", "feature_set", "random_batch", "write_artifact"]

JAPAN_MINUTES = 540
NEWFOUNDLAND_MINUTES = -210

# Every kind of docs/features.md, on both row axes where it has both, over tests.builders.SCHEMA.
FEATURES: tuple[Mapping[str, Any], ...] = (
    {"name": "price", "kind": "number", "source": "candidate.price"},
    {"name": "hour_tokyo", "kind": "hour", "source": "logged_at",
     "utc_offset_minutes": JAPAN_MINUTES},
    {"name": "device_hash", "kind": "hash", "sources": ["context.device"], "seed": 11,
     "buckets": 16, "normalise": "lower"},
    {"name": "slot", "kind": "number", "source": "context.slot"},
    {"name": "fresh", "kind": "number", "source": "candidate.fresh"},
    {"name": "user_impressions", "kind": "log1p", "source": "user.impressions"},
    {"name": "ad_clicks", "kind": "log1p", "source": "candidate.clicks"},
    {"name": "weekday_tokyo", "kind": "weekday", "source": "logged_at",
     "utc_offset_minutes": JAPAN_MINUTES},
    {"name": "price_bucket", "kind": "bucket", "source": "candidate.price",
     "edges": [-1.5, 0.0, 10.0, 19.5, 100.0]},
    {"name": "page_hour", "kind": "hour", "source": "context.page_at",
     "utc_offset_minutes": NEWFOUNDLAND_MINUTES},
    {"name": "visit_recency", "kind": "recency", "since": "user.last_visit_at",
     "until": "logged_at"},
    {"name": "click_recency", "kind": "recency", "since": "candidate.last_clicked_at",
     "until": "logged_at"},
    {"name": "user_ctr", "kind": "rate", "events": "user.clicks", "trials": "user.impressions",
     "prior": 0.1, "weight": 20.0},
    {"name": "ad_ctr", "kind": "rate", "events": "candidate.clicks",
     "trials": "candidate.impressions", "prior": 0.03, "weight": 50.0},
    {"name": "title_tokens", "kind": "tokens", "source": "candidate.title"},
    {"name": "history_length", "kind": "history_count"},
    {"name": "history_age", "kind": "history_recency", "until": "logged_at"},
    {"name": "category_matches", "kind": "history_matches", "field": "category",
     "source": "candidate.category"},
    {"name": "advertiser_matches", "kind": "history_matches", "field": "advertiser_id",
     "source": "candidate.advertiser_id"},
    {"name": "temperature_bucket", "kind": "bucket", "source": "context.temperature",
     "edges": [0.0, 10.0]},
    {"name": "title_hash", "kind": "hash", "sources": ["candidate.title"], "seed": 0,
     "buckets": 64, "normalise": "none"},
    {"name": "cross", "kind": "hash",
     "sources": ["user.segment", "candidate.advertiser_id", "candidate.fresh"],
     "seed": 4294967295, "buckets": 32, "normalise": "lower"},
    {"name": "member_hash", "kind": "hash", "sources": ["user.member"], "seed": 5, "buckets": 4,
     "normalise": "none"},
    {"name": "ad", "kind": "id", "source": "candidate.ad_id",
     "vocabulary": [1, 2, 3, 5, 8, 13, 16777217, 1099511627777, 4611686018427387905]},
    {"name": "advertiser", "kind": "id", "source": "candidate.advertiser_id",
     "vocabulary": [0, 7, 16777216, 16777217, 1099511627776, 1099511627777]},
)  # fmt: skip


def feature_set(
    features: Sequence[Mapping[str, Any]] | None = None, *, money: str | None
) -> FeatureSet:
    """A feature set of these features (every kind by default), its vocabularies filled in."""
    listed = [dict(feature) for feature in (FEATURES if features is None else features)]
    return feature_set_from_json(
        {"format": "parity.features/1", "training_id": "", "money": money, "features": listed},
        where="tests",
        trained=True,
        error=ConfigError,
    )


def write_artifact(
    folder: Path,
    *,
    features: Sequence[Mapping[str, Any]] | None = None,
    num_trees: int = 12,
    depth: int = 4,
    seed: int = 0,
    money: str | None = "candidate.bid_micros",
) -> Path:
    """Write a valid artifact: a real booster of random features, random float32 weights.

    Args:
        folder: Made or replaced.
        features: As in `features.json`, with vocabularies; every kind by default.
        num_trees, depth: Of the booster.
        seed: Draws the training matrix and the weights; another seed is another training.
        money: Path of the bid, or None for a set that ranks by pctr.
    """
    chosen = feature_set(features, money=money)
    rng = np.random.default_rng(seed)
    booster = _booster(chosen, num_trees=num_trees, depth=depth, rng=rng)
    names = tuple(feature.name for feature in chosen.real)
    trees = trees_from_json(json.loads(booster), feature_names=names, where="tests")
    columns = sum(feature.cardinality for feature in chosen.discrete)
    regression = RegressionWeights(
        leaf_weights=rng.normal(0, 0.3, int(trees.leaf_offsets[-1])).astype(np.float32),
        leaf_offsets=trees.leaf_offsets,
        category_weights=rng.normal(0, 0.2, columns).astype(np.float32),
        bias=np.float32(rng.normal(-2, 0.1)),
    )
    facts = TrainingFacts(
        trained_on=("2019-11-24",),
        log_digest=f"sha256:{'0' * 64}",
        feature_set="tests",
        seed=seed,
        versions={"xgboost": xgboost.__version__},
        config={
            "num_trees": num_trees,
            "depth": depth,
            "features": digest_of_json(chosen.to_json()),
        },
    )
    model = LegacyModel(
        features=chosen,
        booster=booster,
        regression=regression,
        calibration=Calibration(slope=0.9, intercept=-0.25),
        metrics={"prior": {"ne": 1.0}, "legacy": {"ne": 0.9}},
    )
    return legacy.artifact.write_artifact(folder, model=model, facts=facts)


def _booster(
    features: FeatureSet, *, num_trees: int, depth: int, rng: np.random.Generator
) -> bytes:
    """Trees grown on the scales that each kind has, so that splits fall among real values."""
    num_rows = 600
    columns = []
    for feature in features.real:
        low, high = _SCALE.get(feature.kind, (0.0, 1.0))
        drawn = rng.uniform(low, high, num_rows)
        if feature.kind in ("hour", "weekday", "tokens", "history_matches"):
            drawn = np.floor(drawn)
        columns.append(drawn)
    values = np.stack(columns, axis=1).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    standard = (values - np.nanmean(values, axis=0)) / (np.nanstd(values, axis=0) + 1e-6)
    score = np.nan_to_num(standard) @ rng.normal(size=values.shape[1])
    label = (score + rng.normal(size=num_rows) > 0).astype(np.float32)
    names = [feature.name for feature in features.real]
    matrix = xgboost.DMatrix(values, label=label, feature_names=names, nthread=1)
    trained = xgboost.train(
        {
            "objective": "binary:logistic",
            "max_depth": depth,
            "eta": 0.3,
            "min_child_weight": 1,
            "colsample_bynode": 0.5,
            "tree_method": "hist",
            "seed": int(rng.integers(2**31)),
            "nthread": 1,
        },
        matrix,
        num_boost_round=num_trees,
    )
    return bytes(trained.save_raw("json"))


_SCALE: Mapping[str, tuple[float, float]] = {
    "number": (-10.0, 110.0),
    "log1p": (0.0, 7.0),
    "hour": (0.0, 24.0),
    "weekday": (0.0, 7.0),
    "recency": (0.0, 12.0),
    "rate": (0.0, 0.5),
    "tokens": (0.0, 5.0),
    "history_count": (0.0, 1.7),
    "history_recency": (0.0, 12.0),
    "history_matches": (0.0, 3.0),
}
