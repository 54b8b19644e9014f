"""A small transformer artifact for tests: random weights in a real folder, over tests.builders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modern.features.feature_set import FeatureSet, feature_set_from_json
from modern.training.fit import statistics_of_inputs
from modern.transformer.artifact import save_artifact
from modern.transformer.calibration import Calibration
from modern.transformer.config import Form, HistoryConfig, Task, TransformerConfig
from modern.transformer.inputs import ModelInputs, features_read, inputs_from_batch
from modern.transformer.layout import layout_of
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import module_places
from modern.transformer.rounding import measure_rounding
from modern.transformer.training_config import ModernConfig
from tests.builders import random_batch

TRAINING_ID = "0123456789abcdef" * 2
FEATURES_ID = "fedcba9876543210" * 2
# Small enough for histories of four steps to be cut, collapsed and split into both segments.
CONFIG = ModernConfig(
    transformer=TransformerConfig(width=8, num_layers=2, num_heads=2, feed_forward=12),
    history=HistoryConfig(
        recent_hours=48.0,
        max_old=2,
        max_recent=2,
        collapse_by=("action",),
        collapse_hours=24.0 * 365,
    ),
)


def config(*, form: Form = "shared", tasks: tuple[Task, ...] = ("click",)) -> ModernConfig:
    """The same in another form, or with other heads."""
    return replace(CONFIG, transformer=replace(CONFIG.transformer, form=form, tasks=tasks))


def features_json(*, money: str | None = "candidate.bid_micros") -> dict[str, Any]:
    """A feature set with features of request, candidate and step, of real and discrete kinds."""
    return {
        "format": "parity.features/1",
        "training_id": FEATURES_ID,
        "money": money,
        "features": [
            {
                "name": "hour",
                "kind": "hour",
                "source": "logged_at",
                "utc_offset_minutes": 540,
            },
            {
                "name": "segment",
                "kind": "hash",
                "sources": ["user.segment"],
                "seed": 3,
                "buckets": 8,
                "normalise": "none",
            },
            {"name": "price", "kind": "number", "source": "candidate.price"},
            {
                "name": "advertiser",
                "kind": "id",
                "source": "candidate.advertiser_id",
                "vocabulary": [1, 2**24 + 1, 2**40 + 1],
            },
            {"name": "seen", "kind": "log1p", "source": "candidate.impressions"},
            {
                "name": "price_bucket",
                "kind": "bucket",
                "source": "candidate.price",
                "edges": [0.0, 10.0, 100.0],
            },
        ],
        "history": [
            {
                "name": "action",
                "kind": "hash",
                "sources": ["history.action"],
                "seed": 5,
                "buckets": 4,
                "normalise": "none",
            },
            {
                "name": "brand",
                "kind": "id",
                "source": "history.advertiser_id",
                "like": "advertiser",
            },
            {"name": "ad", "kind": "number", "source": "history.ad_id"},
        ],
    }


def feature_set(*, money: str | None = "candidate.bid_micros") -> FeatureSet:
    """The same, opened."""
    return feature_set_from_json(features_json(money=money), where="a test")


def some_inputs(
    features: FeatureSet, *, num_requests: int = 40, seed: int = 99, of: ModernConfig = CONFIG
) -> ModelInputs:
    """What a model reads of random requests."""
    batch = random_batch(num_requests=num_requests, seed=seed)
    return inputs_from_batch(batch, features_read(features, of.transformer), of.history)


def a_model(
    features: FeatureSet, *, seed: int = 0, of: ModernConfig = CONFIG
) -> RankingTransformer:
    """Random weights everywhere, in evaluation mode: what training would leave at zero moves."""
    read = features_read(features, of.transformer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RankingTransformer(
            layout_of(read),
            of.transformer,
            of.history,
            statistics=statistics_of_inputs(some_inputs(features, of=of)),
            prior_logits=(-2.0, -3.0, -1.0, -1.5)[: len(of.transformer.tasks)],
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval().requires_grad_(requires_grad=False)


def write_artifact(
    folder: Path,
    *,
    money: str | None = "candidate.bid_micros",
    seed: int = 0,
    training_id: str = TRAINING_ID,
    of: ModernConfig = CONFIG,
) -> Path:
    """An artifact's folder, as a training writes it."""
    features = feature_set(money=money)
    model = a_model(features, seed=seed, of=of)
    layout = layout_of(features_read(features, of.transformer))
    calibrations = {
        task: Calibration(slope=1.1 + place, intercept=-0.2)
        for place, task in enumerate(of.transformer.tasks)
    }
    save_artifact(
        folder,
        manifest={
            "training_id": training_id,
            "features_training_id": FEATURES_ID,
            "trained_on": ["2019-11-29"],
            "held_out": "2019-11-30",
            "log_digest": "sha256:" + "0" * 64,
            "seed": 7,
            "versions": {},
            "config": of.to_json(),
        },
        features_json=json.dumps(features_json(money=money)).encode(),
        model=model,
        calibrations=calibrations,
        rounding=measure_rounding(
            model,
            some_inputs(features, num_requests=200, seed=98, of=of),
            layout,
            places=module_places(layout, of.transformer),
        ),
        metrics={"held_out": "2019-11-30"},
        curves="<svg/>",
    )
    return folder


def rows_with_missing(num_rows: int, num_columns: int, *, seed: int = 0) -> np.ndarray:
    """Standard normal float32 rows, one value in ten missing."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((num_rows, num_columns)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values
