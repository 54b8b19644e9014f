"""Small boosters of a user's own, trained on and fed from the requests of `tests.builders`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow.compute as pc
import xgboost
from numpy.typing import NDArray

from replay.adapters.booster import open_stack
from replay.adapters.model_stack import ModelStack
from replay.request import RequestBatch
from tests.builders import random_batch

HERE = "tests.replay.adapters.boosters"
NAMES = ("price", "clicks", "slot", "age")


def example() -> RequestBatch:
    return random_batch(24, 6, seed=3)


def arrays(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """Two numbers a candidate, a category and a number a request; in another order than trained."""
    slot = pc.fill_null(batch.column("context.slot"), 0).to_numpy(zero_copy_only=False)
    return {
        "age": _number(batch, "user.age_days"),
        "dense": np.stack(
            [_number(batch, "candidate.price"), _number(batch, "candidate.clicks")], axis=1
        ),
        "slot": (np.abs(slot) % 5).astype(np.int32),
    }


OPTIONS: Mapping[str, Any] = {
    "inputs": f"{HERE}:arrays",
    "example": f"{HERE}:example",
    "request_inputs": ["age", "slot"],
    "columns": {"dense": ["price", "clicks"]},
    "money": "candidate.bid_micros",
}


def opened(path: Path, **options: Any) -> ModelStack:
    return open_stack(path, **{**OPTIONS, **options})


def saved(kind: str, folder: Path) -> Path:
    """One of the kinds: "xgboost", "dart", "categorical", "lightgbm", "forest"."""
    batch = random_batch(80, 6, seed=5)
    given = arrays(batch)
    request_of = batch.keys.request_of("candidate")
    matrix = np.column_stack([given["dense"], given["slot"][request_of], given["age"][request_of]])
    label = (np.random.default_rng(0).random(len(matrix)) < 0.4).astype(np.float32)
    if kind in ("lightgbm", "forest"):
        own = (
            {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
            if kind == "forest"
            else {}
        )
        data = lightgbm.Dataset(matrix, label, feature_name=list(NAMES), params={"verbose": -1})
        params = {"objective": "binary", "sigmoid": 0.7, "num_leaves": 7, "verbose": -1,
                  "min_data_in_leaf": 5, "num_threads": 1, **own}  # fmt: skip
        lightgbm.train(params, data, num_boost_round=5).save_model(folder / "model.txt")
        return folder / "model.txt"
    types = ["q", "q", "c" if kind == "categorical" else "q", "q"]
    rows = xgboost.DMatrix(
        matrix, label, feature_names=list(NAMES), feature_types=types, enable_categorical=True,
        nthread=1,
    )  # fmt: skip
    params = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1, "verbosity": 0,
              "base_score": 0.3, "max_cat_to_onehot": 1, "tree_method": "hist"}  # fmt: skip
    if kind == "dart":
        params |= {"booster": "dart", "rate_drop": 0.5}
    path = folder / ("model.ubj" if kind == "dart" else "model.json")
    xgboost.train(params, rows, num_boost_round=5).save_model(path)
    return path


def _number(batch: RequestBatch, path: str) -> NDArray[np.float32]:
    """float32, NaN where the log has none; small, so that thresholds fall among the values."""
    values = batch.column(path).to_numpy(zero_copy_only=False).astype(np.float64)
    return np.asarray(values.clip(-50, 50).round(1), np.float32)


def without_slot(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    return {name: array for name, array in arrays(batch).items() if name != "slot"}
