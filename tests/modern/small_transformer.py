"""A small transformer artifact for tests: random weights in a real folder, over tests.builders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modern.calibration import Calibration
from modern.config import ModernConfig
from modern.data import rows_from_batch
from modern.features import FeatureSet, feature_set_from_json
from modern.rounding import measure_rounding
from modern.tokens import layout_of, statistics_of
from modern.transformer import Transformer, TransformerConfig, module_paths
from modern.transformer_artifact import save_artifact
from tests.builders import random_batch

TRAINING_ID = "0123456789abcdef" * 2
FEATURES_ID = "fedcba9876543210" * 2
CONFIG = ModernConfig(
    transformer=TransformerConfig(width=8, num_layers=2, num_heads=2, feed_forward=12)
)


def features_json(*, money: str | None = "candidate.bid_micros") -> dict[str, Any]:
    """A feature set with a request and a candidate feature of real and discrete kinds."""
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
    }


def feature_set(*, money: str | None = "candidate.bid_micros") -> FeatureSet:
    """The same, opened."""
    return feature_set_from_json(features_json(money=money), where="a test")


def a_model(features: FeatureSet, *, seed: int = 0) -> Transformer:
    """Random weights everywhere, in evaluation mode: what training would leave at zero moves."""
    rows = rows_from_batch(random_batch(num_requests=40, seed=99), features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(
            layout_of(features),
            CONFIG.transformer,
            statistics=statistics_of(rows.inputs.real),
            prior_logit=-2.0,
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
) -> Path:
    """An artifact's folder, as a training writes it."""
    features = feature_set(money=money)
    model = a_model(features, seed=seed)
    rows = rows_from_batch(random_batch(num_requests=200, seed=98), features)
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
            "config": CONFIG.to_json(),
        },
        features_json=json.dumps(features_json(money=money)).encode(),
        model=model,
        calibration=Calibration(slope=1.1, intercept=-0.2),
        rounding=measure_rounding(
            model, rows.inputs, layout_of(features), paths=module_paths(CONFIG.transformer)
        ),
        metrics={"held_out": "2019-11-30"},
    )
    return folder


def rows_with_missing(num_rows: int, num_columns: int, *, seed: int = 0) -> np.ndarray:
    """Standard normal float32 rows, one value in ten missing."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((num_rows, num_columns)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values
