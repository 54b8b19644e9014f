"""The two shapes that are timed: a model of each, trained once, and rows to score.

A shape's XGBoost model and our file hold the same trees and the same leaf values, so every engine
computes the same margin. One value in ten is missing, in training and in the scored rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CACHE = Path(__file__).resolve().parents[2] / "build" / "scorer"
MISSING = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is trained; `train_rows` only has to fill the trees."""

    name: str
    num_trees: int
    depth: int
    num_features: int
    train_rows: int


SHAPES = (
    Shape(name="a", num_trees=300, depth=6, num_features=100, train_rows=40_000),
    Shape(name="b", num_trees=1000, depth=8, num_features=300, train_rows=40_000),
)


def rows_of(shape: Shape, count: int, *, seed: int) -> NDArray[np.float32]:
    """float32 [row, feature]: a third normal, a third counts, a third log-normal."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, shape.num_features)).astype(np.float32)
    values[:, 1::3] = np.floor(np.abs(values[:, 1::3]) * 20)
    values[:, 2::3] = np.exp(values[:, 2::3])
    values[rng.random(values.shape) < MISSING] = np.nan
    return values


def trained(shape: Shape, *, threads: int = 1) -> Path:
    """The folder with `booster.json` and `scorer.bin`, made when it is not there."""
    folder = CACHE / f"{shape.name}-{shape.num_trees}x{shape.depth}x{shape.num_features}"
    if not (folder / "scorer.bin").exists():
        folder.mkdir(parents=True, exist_ok=True)
        booster = _booster(shape, threads=threads)
        _export(shape, booster, folder)
        (folder / "booster.json").write_bytes(booster)
    return folder


def _booster(shape: Shape, *, threads: int) -> bytes:
    import xgboost

    values = rows_of(shape, shape.train_rows, seed=1)
    model = xgboost.train(
        {
            "objective": "binary:logistic",
            "max_depth": shape.depth,
            "eta": 0.05,
            "min_child_weight": 0,
            "lambda": 1,
            "colsample_bynode": 0.3,
            "tree_method": "hist",
            "max_bin": 256,
            "seed": 3,
            "nthread": threads,
        },
        xgboost.DMatrix(
            values, label=label_of(shape, values), nthread=threads, feature_names=_names(shape)
        ),
        num_boost_round=shape.num_trees,
    )
    return bytes(model.save_raw("json"))


def label_of(shape: Shape, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 or 1 a row: a noisy linear score with one interaction."""
    rng = np.random.default_rng(2)
    scale = np.nanstd(values, axis=0)
    score = np.nan_to_num(values / scale) @ rng.normal(size=shape.num_features)
    score += 2 * np.sin(3 * np.nan_to_num(values[:, 0])) * np.nan_to_num(values[:, 3])
    drawn: NDArray[np.float32] = (score > rng.logistic(np.median(score), np.std(score) / 3)).astype(
        np.float32
    )
    return drawn


def _names(shape: Shape) -> list[str]:
    return [f"f{i}" for i in range(shape.num_features)]


def base_margin(model: Any) -> float:
    """The margin that a binary:logistic model starts from; its file holds the probability."""
    text = model["learner"]["learner_model_param"]["base_score"]
    base = float(np.float32(text.strip("[]")))
    return float(np.log(base / (1 - base)))


def leaf_values(model: Any) -> list[NDArray[np.float32]]:
    """Per tree, float32 [leaf], by ascending node id: what the regression's weights are set to."""
    values = []
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        leaves = np.flatnonzero(np.array(tree["left_children"]) < 0)
        values.append(np.array(tree["split_conditions"], dtype=np.float32)[leaves])
    return values


def _export(shape: Shape, booster: bytes, folder: Path) -> None:
    from legacy.artifact import (
        Calibration,
        LegacyModel,
        RegressionWeights,
        TrainingFacts,
        write_artifact,
    )
    from legacy.export import export
    from legacy.feature_set import feature_set_from_json
    from legacy.trees import trees_from_json
    from replay.errors import ConfigError

    model = json.loads(booster)
    names = _names(shape)
    trees = trees_from_json(model, feature_names=names, where="benchmark")
    features = feature_set_from_json(
        {
            "format": "parity.features/1",
            "training_id": "",
            "money": None,
            "features": [
                {"name": name, "kind": "number", "source": f"candidate.{name}"} for name in names
            ],
        },
        where="benchmark",
        trained=True,
        error=ConfigError,
    )
    regression = RegressionWeights(
        leaf_weights=np.concatenate(leaf_values(model)),
        leaf_offsets=trees.leaf_offsets,
        category_weights=np.zeros(0, dtype=np.float32),
        bias=np.float32(base_margin(model)),
    )
    facts = TrainingFacts(
        trained_on=("2019-11-24",),
        log_digest=f"sha256:{'0' * 64}",
        feature_set="benchmark",
        seed=3,
        versions={},
        config={"shape": shape.name},
    )
    legacy = write_artifact(
        folder / "legacy",
        model=LegacyModel(
            features=features,
            booster=booster,
            regression=regression,
            calibration=Calibration(slope=1.0, intercept=0.0),
            metrics={"prior": {"ne": 1.0}, "legacy": {"ne": 1.0}},
        ),
        facts=facts,
    )
    export(legacy, folder / "scorer.bin")
