"""A small hybrid: XGBoost's trees, and a regression in Keras over their leaves and an id."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from replay.adapters.booster_stack import BoosterStack
from replay.adapters.hybrid import open_stack
from replay.request import RequestBatch
from tests.replay.adapters import models

import keras  # isort: skip  # after the adapter, which sets what TensorFlow reads when it loads

TREES, NODES = 12, 16
HERE = "tests.replay.adapters.hybrids"


def arrays(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """Three columns for the trees, of which one may be missing, and an id for the regression."""
    found = models.arrays(batch)
    price = batch.column("candidate.price").to_numpy(zero_copy_only=False)
    missing = np.isnan(price.astype(np.float64))
    columns = {name: found["dense"][:, i].copy() for i, name in enumerate(models.DENSE)}
    columns["price"][missing] = np.nan
    return {**columns, "slot": found["ids"][:, 1]}


def arrays_in_cents(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    found = dict(arrays(batch))
    return found | {"price": found["price"] * np.float32(100)}


def leaf_columns(leaves: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    """A row of the weights' table for each tree's leaf: its node id, tree after tree."""
    return {"leaves": (leaves + NODES * np.arange(TREES)).astype(np.int64)}


def leaf_columns_shifted(leaves: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    """The mistake of a rewrite: node ids counted from one."""
    return {"leaves": (leaves + 1 + NODES * np.arange(TREES)) % (NODES * TREES)}


def saved(
    folder: Path,
    *,
    booster: Callable[[Any], None] = lambda _: None,
    regression: Callable[[Any], None] = lambda _: None,
) -> Path:
    """The hybrid's folder, with what is changed in the booster's JSON or in the Keras model."""
    folder.mkdir()
    found = arrays(models.example())
    matrix = np.stack([found[name] for name in models.DENSE], axis=1)
    label = (np.random.default_rng(0).random(len(matrix)) < 0.3).astype(np.float32)
    data = xgboost.DMatrix(matrix, label, feature_names=list(models.DENSE))
    settings = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.5, "seed": 1, "nthread": 1}
    trained = xgboost.train(settings, data, TREES)
    changed = json.loads(bytes(trained.save_raw("json")))
    booster(changed)
    (folder / "trees.json").write_text(json.dumps(changed), encoding="utf-8")
    model = _regression()
    regression(model)
    model.export(folder / "regression", verbose=False)
    return folder


def _regression() -> Any:
    keras.utils.set_random_seed(4)
    leaves = keras.Input((TREES,), dtype="int64", name="leaves")
    slot = keras.Input((1,), dtype="int64", name="slot")
    own = keras.layers.Embedding(
        NODES * TREES, 1, name="leaf_weights", embeddings_initializer="normal"
    )
    other = keras.layers.Embedding(
        models.NUM_IDS, 1, name="slot_weights", embeddings_initializer="normal"
    )
    total = keras.layers.GlobalAveragePooling1D(name="leaf_mean")(own(leaves))
    logit = keras.layers.Add(name="sum")([total, keras.layers.Flatten(name="flat")(other(slot))])
    return keras.Model([leaves, slot], {"logit": logit})


def opened(folder: Path, **options: Any) -> BoosterStack:
    return open_stack(
        folder,
        **{
            "booster": "trees.json",
            "model": "regression",
            "inputs": f"{HERE}:arrays",
            "leaves": f"{HERE}:leaf_columns",
            "example": "tests.replay.adapters.models:example",
            "logit": "logit",
            "money": "candidate.bid_micros",
            **options,
        },
    )


def tree_arrays(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    return {name: array for name, array in arrays(batch).items() if name in models.DENSE}


def slots_alone(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    return {"slot": arrays(batch)["slot"]}


def other_name(leaves: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    return {"leaf": leaf_columns(leaves)["leaves"]}


def too_few(leaves: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    return {"leaves": leaf_columns(leaves)["leaves"][:7]}


def failing(leaves: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    return {"leaves": {}[len(leaves)]}
