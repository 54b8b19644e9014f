"""Models of the same size by other libraries, and their fastest scorers, trained once.

They hold as many trees of the same depth over the same rows, but not the same trees: their values
are not ours, and their times answer another question (what would one gain by changing the model?).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapes import Shape, label_of, rows_of, trained

Predict = Callable[[NDArray[np.float32]], NDArray[Any]]


def lightgbm_value(shape: Shape, threads: int) -> Predict:
    """LightGBM's own scorer."""
    import lightgbm

    booster = lightgbm.Booster(model_file=str(_lightgbm_file(shape)))
    return lambda rows: booster.predict(rows, num_threads=threads)  # type: ignore[return-value]


def lleaves_value(shape: Shape, threads: int) -> Predict:
    """The LightGBM model compiled to machine code."""
    import lleaves

    if shape.num_trees > 300:
        raise NotImplementedError("compiling this model takes its compiler over half an hour")
    path = _lightgbm_file(shape)
    model = lleaves.Model(model_file=str(path))
    model.compile(cache=str(path.with_suffix(".lleaves")))
    return lambda rows: model.predict(rows, n_jobs=threads)


def catboost_value(shape: Shape, threads: int) -> Predict:
    """CatBoost's oblivious trees: one test a level, the same for the whole level."""
    import catboost

    path = trained(shape) / "catboost.cbm"
    if not path.exists():
        values = rows_of(shape, shape.train_rows, seed=1)
        made = catboost.CatBoostClassifier(
            iterations=shape.num_trees,
            depth=shape.depth,
            learning_rate=0.05,
            random_seed=3,
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
        )
        made.fit(values, label_of(shape, values))
        made.save_model(str(path))
    model = catboost.CatBoostClassifier()
    model.load_model(str(path))
    return lambda rows: model.predict_proba(rows, thread_count=threads)[:, 1]


def _lightgbm_file(shape: Shape) -> Path:
    import lightgbm

    path = trained(shape) / "lightgbm.txt"
    if not path.exists():
        values = rows_of(shape, shape.train_rows, seed=1)
        booster = lightgbm.train(
            {
                "objective": "binary",
                "num_leaves": 2**shape.depth,
                "max_depth": shape.depth,
                "min_data_in_leaf": 1,
                "learning_rate": 0.05,
                "feature_fraction_bynode": 0.3,
                "seed": 3,
                "num_threads": 1,
                "verbose": -1,
            },
            lightgbm.Dataset(values, label=label_of(shape, values)),
            num_boost_round=shape.num_trees,
        )
        booster.save_model(str(path))
    return path
