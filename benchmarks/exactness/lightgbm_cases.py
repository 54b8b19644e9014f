"""LightGBM models of every kind that the scorer reads, drawn by seed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import lightgbm
import numpy as np

from benchmarks.exactness.cases import Answers, Case, Rows
from benchmarks.exactness.training_rows import (
    CATEGORICAL,
    GROUP_SIZE,
    NUM_FEATURES,
    ROWS,
    drawn_features,
    drawn_labels,
)
from benchmarks.exactness.xgboost_cases import summation_bound

OBJECTIVES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "regression": ("real", {}),
    "regression, sqrt": ("real", {"objective": "regression", "reg_sqrt": True}),
    "regression_l1": ("real", {}),
    "huber": ("real", {}),
    "fair": ("real", {}),
    "quantile": ("real", {}),
    "mape": ("positive", {}),
    "poisson": ("positive", {}),
    "gamma": ("positive", {}),
    "tweedie": ("positive", {}),
    "binary": ("binary", {"sigmoid": 0.7}),
    "multiclass": ("class", {"num_class": 4}),
    "multiclassova": ("class", {"num_class": 4, "sigmoid": 1.3}),
    "cross_entropy": ("binary", {}),
    "cross_entropy_lambda": ("binary", {}),
    "lambdarank": ("group", {}),
    "rank_xendcg": ("group", {}),
}
GROWTHS: Mapping[str, Mapping[str, Any]] = {
    "leaves": {},
    "few bins": {"max_bin": 7},
    "zero is missing": {"zero_as_missing": True},
    "nothing is missing": {"use_missing": False},
    "categorical": {
        "categorical_feature": list(CATEGORICAL),
        "min_data_per_group": 1,
        "cat_smooth": 1.0,
    },
    "categorical, one-hot": {"categorical_feature": list(CATEGORICAL), "max_cat_to_onehot": 64},
    "dart": {"boosting": "dart", "drop_rate": 0.5},
    "forest": {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6},
    "extra trees": {"extra_trees": True},
}


def lightgbm_cases(seed: int) -> list[Case]:
    """A model for each objective, and for each way to grow with one of the objectives."""
    rng = np.random.default_rng(seed)
    growths = list(GROWTHS)
    names = list(OBJECTIVES)
    cases = [trained(name, growths[int(rng.integers(len(growths)))], seed=seed) for name in names]
    cases += [
        trained(names[int(rng.integers(len(names)))], growth, seed=seed + 1) for growth in growths
    ]
    return cases


def trained(objective: str, growth: str, *, seed: int, smallest: bool = False) -> Case:
    """One model; its shape is drawn by the seed, or trees of three leaves, and two iterations."""
    rng = np.random.default_rng(seed)
    kind, own = OBJECTIVES[objective]
    grown = dict(GROWTHS[growth])
    features = drawn_features(rng, categories="categorical_feature" in grown)
    params = {
        "objective": objective, "num_leaves": int(rng.integers(2, 40)), "learning_rate": 0.3,
        "min_data_in_leaf": 3, "num_threads": 1, "seed": seed, "verbose": -1,
        "deterministic": True, **own, **grown,
    }  # fmt: skip
    categorical = params.pop("categorical_feature", [])
    data = lightgbm.Dataset(
        features, drawn_labels(features, kind, rng),
        group=[GROUP_SIZE] * (ROWS // GROUP_SIZE) if kind == "group" else None,
        categorical_feature=categorical, params={"verbose": -1},
    )  # fmt: skip
    rounds = int(rng.integers(1, 9))
    if smallest:
        params["num_leaves"] = 3
        rounds = 2
    booster = lightgbm.train(params, data, num_boost_round=rounds)
    text = booster.model_to_string()
    loaded = lightgbm.Booster(model_str=text)
    return Case(
        name=f"lightgbm, {objective}, {growth}, seed {seed}",
        data=text.encode(),
        answer=lambda rows: _answers(loaded, rows),
        bound=_bound(text),
        num_features=NUM_FEATURES,
        categorical=tuple(categorical),
    )


def _answers(booster: lightgbm.Booster, rows: Rows) -> Answers:
    return Answers(
        leaves=np.asarray(booster.predict(rows, pred_leaf=True, num_threads=1)).astype(np.int64),
        margins=np.asarray(booster.predict(rows, raw_score=True, num_threads=1)),
        scores=np.asarray(booster.predict(rows, num_threads=1)),
    )


def _bound(text: str) -> float:
    lines = re.findall(r"^leaf_value=(.*)$", text, flags=re.MULTILINE)
    sizes = [np.abs(np.array(line.split(), dtype=np.float64)).max() for line in lines]
    return summation_bound(len(sizes), float(np.sum(sizes)))
