"""Small Keras models, fed as the torch ones of `models.py` are; one is the twin of the torch MLP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from replay.adapters.keras_model import open_stack
from replay.adapters.model_stack import ModelStack
from tests.replay.adapters import models
from tests.replay.adapters.opened import OPTIONS

import keras  # isort: skip  # after the adapter, which sets what TensorFlow reads when it loads


def opened(path: Path, **options: Any) -> ModelStack:
    return open_stack(path, **{**OPTIONS, "logit": "logit", **options})


def saved(model: keras.Model, path: Path) -> Path:
    """As a .keras file, or as a SavedModel where the path has no ending."""
    if path.suffix:
        model.save(path)
    else:
        model.export(path, verbose=False)
    return path


def twin_of(module: nn.Module) -> Any:
    """The torch `models.Mlp` in Keras, layer by layer, with its weights."""
    dense, ids, age = _inputs()
    activation = keras.layers.ReLU(name="activation")
    price = activation(keras.layers.Dense(8, name="price")(dense[:, :1]))
    counts = activation(keras.layers.Dense(8, name="counts")(dense[:, 1:]))
    embedded = keras.layers.Embedding(models.NUM_IDS, 4, name="table")(ids)
    flat = keras.layers.Flatten(name="flat")(embedded)
    column = keras.layers.Reshape((1,), name="column")(age)
    joined = keras.layers.Concatenate(name="joined")([price, counts, flat, column])
    join = keras.Sequential(
        [keras.layers.Dense(16, name="0"), keras.layers.Activation("tanh", name="1")], name="join"
    )
    logit = keras.layers.Dense(1, name="head")(join(joined))
    model = keras.Model([dense, ids, age], {"logit": keras.layers.Flatten(name="one")(logit)})
    state = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    layers = {name: model.get_layer(name) for name in ("price", "counts", "head")}
    for name, layer in (layers | {"join.0": join.layers[0]}).items():
        layer.set_weights([state[f"{name}.weight"].T, state[f"{name}.bias"]])
    model.get_layer("table").set_weights([state["ids.weight"]])
    return model


def blocks(change: Callable[[Any], None] = lambda _: None) -> Any:
    """Norms, GELU, dropout, attention, a nested model that is called twice, two tasks."""
    keras.utils.set_random_seed(3)
    dense, ids, age = _inputs()
    tokens = keras.layers.Embedding(models.NUM_IDS, 16, name="table")(ids)
    numbers = keras.layers.Dense(16, name="numbers")(dense)
    user = keras.layers.Dense(16, name="user")(keras.layers.Reshape((1,), name="column")(age))
    rows = keras.layers.Concatenate(axis=1, name="rows")(
        [
            tokens,
            *(
                keras.layers.Reshape((1, 16), name=f"as_{n}")(x)
                for n, x in (("numbers", numbers), ("user", user))
            ),
        ]
    )
    attended = keras.layers.MultiHeadAttention(2, 8, name="attention")(rows, rows)
    rows = keras.layers.LayerNormalization(name="norm1")(rows + attended)
    width = keras.Input((4, 16))
    inner = keras.layers.Dense(32, activation="gelu", name="up")(width)
    inner = keras.layers.Dropout(0.1, name="drop")(inner)
    mlp = keras.Model(width, keras.layers.Dense(16, name="down")(inner), name="mlp")
    rows = keras.layers.LayerNormalization(name="norm2")(rows + mlp(rows))
    rows = rows + mlp(rows)
    pooled = keras.layers.BatchNormalization(name="bn")(
        keras.layers.GlobalAveragePooling1D(name="pool")(rows)
    )
    model = keras.Model(
        [dense, ids, age],
        {
            "logit": keras.layers.Dense(1, name="click")(pooled),
            "view": keras.layers.Dense(1, activation="sigmoid", name="view")(pooled),
        },
    )
    drawn = np.random.default_rng(5)
    for weight in model.weights:  # a norm as it is drawn is an identity
        if weight.name in {"gamma", "beta", "bias", "moving_mean"}:
            weight.assign(weight.numpy() + drawn.normal(0, 0.2, weight.shape))
    change(model)
    return model


def _inputs() -> tuple[Any, Any, Any]:
    return (
        keras.Input((len(models.DENSE),), name="dense"),
        keras.Input((2,), dtype="int64", name="ids"),
        keras.Input((), name="age"),
    )
