"""XGBoost models of every kind that the scorer reads, drawn by seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xgboost

from benchmarks.exactness.cases import Answers, Case, Rows
from benchmarks.exactness.training_rows import (
    CATEGORICAL,
    GROUP_SIZE,
    NUM_FEATURES,
    ROWS,
    drawn_features,
    drawn_labels,
)

# Objective to what its labels are, and its own parameters.
OBJECTIVES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "reg:squarederror": ("real", {}),
    "reg:squaredlogerror": ("positive", {}),
    "reg:absoluteerror": ("real", {}),
    "reg:pseudohubererror": ("real", {}),
    "reg:quantileerror": ("real", {"quantile_alpha": [0.2, 0.5, 0.9]}),
    "reg:logistic": ("binary", {}),
    "binary:logistic": ("binary", {}),
    "binary:logitraw": ("binary", {}),
    "binary:hinge": ("binary", {}),
    "count:poisson": ("positive", {}),
    "reg:gamma": ("positive", {}),
    "reg:tweedie": ("positive", {}),
    "survival:cox": ("signed", {}),
    "survival:aft": ("bounds", {}),
    "multi:softprob": ("class", {"num_class": 4}),
    "multi:softmax": ("class", {"num_class": 4}),
    "rank:pairwise": ("group", {}),
    "rank:ndcg": ("group", {}),
    "rank:map": ("group", {}),
}
# Ways to grow trees, each tried with some objective at every seed.
GROWTHS: Mapping[str, Mapping[str, Any]] = {
    "depthwise": {"tree_method": "hist"},
    "lossguide": {"tree_method": "hist", "grow_policy": "lossguide", "max_leaves": 40, "max_depth": 0},
    "exact, pruned": {"tree_method": "exact", "gamma": 2.0},
    "forest": {"num_parallel_tree": 3, "subsample": 0.6, "colsample_bynode": 0.6},
    "dart": {"booster": "dart", "rate_drop": 0.4},
    "dart, forest": {"booster": "dart", "rate_drop": 0.4, "num_parallel_tree": 2},
    "categorical": {"categories": True, "max_cat_to_onehot": 1},
    "categorical, one-hot": {"categories": True, "max_cat_to_onehot": 64},
    "base_score": {"base_score": 0.37},
}  # fmt: skip


def xgboost_cases(seed: int) -> list[Case]:
    """A model for each objective, and for each way to grow with one of the objectives."""
    rng = np.random.default_rng(seed)
    growths = list(GROWTHS)
    cases = [
        trained(objective, growths[int(rng.integers(len(growths)))], seed=seed, ubjson=bool(i % 2))
        for i, objective in enumerate(OBJECTIVES)
    ]
    names = list(OBJECTIVES)
    cases += [
        trained(names[int(rng.integers(len(names)))], growth, seed=seed + 1, ubjson=bool(i % 2))
        for i, growth in enumerate(growths)
    ]
    return cases


def trained(
    objective: str, growth: str, *, seed: int, ubjson: bool = False, smallest: bool = False
) -> Case:
    """One model; its shape is drawn by the seed, or trees of one split, and one iteration or two."""
    rng = np.random.default_rng(seed)
    kind, own = OBJECTIVES[objective]
    grown = dict(GROWTHS[growth])
    categories = bool(grown.pop("categories", False))
    if kind == "bounds" or objective == "survival:cox":
        grown.pop("base_score", None)
    features = drawn_features(rng, categories=categories)
    params = {
        "objective": objective, "max_depth": int(rng.integers(1, 8)), "eta": 0.3, "nthread": 1,
        "seed": seed, "verbosity": 0, **own, **grown,
    }  # fmt: skip
    rounds = int(rng.integers(1, 9))
    if smallest:
        params |= {"max_depth": 1, "max_leaves": 2}
        if "quantile_alpha" in params:
            params["quantile_alpha"] = [0.2, 0.9]
        rounds = 2 if "dart" in growth else 1  # DART drops no first tree.
    matrix = _labelled(features, kind, rng, categories=categories)
    booster = xgboost.train(params, matrix, num_boost_round=rounds)
    data = bytes(booster.save_raw("ubj" if ubjson else "json"))
    loaded = xgboost.Booster({"nthread": 1}, model_file=bytearray(data))
    return Case(
        name=f"xgboost, {objective}, {growth}, seed {seed}",
        data=data,
        answer=lambda rows: _answers(loaded, rows, categories=categories),
        bound=_bound(booster),
        num_features=NUM_FEATURES,
        categorical=CATEGORICAL if categories else (),
    )


def _types(*, categories: bool) -> list[str] | None:
    return ["c" if f in CATEGORICAL else "q" for f in range(NUM_FEATURES)] if categories else None


def _labelled(
    features: Rows, kind: str, rng: np.random.Generator, *, categories: bool
) -> xgboost.DMatrix:
    labels = drawn_labels(features, kind, rng)
    matrix = xgboost.DMatrix(
        features, labels, feature_types=_types(categories=categories),
        enable_categorical=categories, nthread=1,
    )  # fmt: skip
    if kind == "group":
        matrix.set_group([GROUP_SIZE] * (ROWS // GROUP_SIZE))
    if kind == "bounds":
        matrix.set_float_info("label_lower_bound", labels)
        matrix.set_float_info("label_upper_bound", labels * 1.5)
    return matrix


def _answers(booster: xgboost.Booster, rows: Rows, *, categories: bool) -> Answers:
    # A DMatrix refuses infinities; the largest numbers take their way at every finite threshold.
    largest = np.finfo(np.float32).max
    finite = np.where(np.isinf(rows), np.copysign(largest, rows), rows)
    matrix = xgboost.DMatrix(
        finite, feature_types=_types(categories=categories), enable_categorical=categories,
        nthread=1,
    )  # fmt: skip
    return Answers(
        leaves=booster.predict(matrix, pred_leaf=True).astype(np.int64),
        margins=booster.predict(matrix, output_margin=True),
        scores=booster.predict(matrix),
    )


def _bound(booster: xgboost.Booster) -> float:
    learner = json.loads(booster.save_raw("json"))["learner"]
    gradient = learner["gradient_booster"]
    weights = gradient.get("weight_drop")
    sizes = []
    for i, tree in enumerate((gradient.get("gbtree") or gradient)["model"]["trees"]):
        leaves = np.array(tree["split_conditions"])[np.array(tree["left_children"]) < 0]
        sizes.append(np.abs(leaves).max() * (weights[i] if weights else 1.0))
    return summation_bound(len(sizes), float(np.sum(sizes)))


def summation_bound(num_trees: int, magnitude: float) -> float:
    """Of float32 sums in any order of so many terms, whose absolute values sum to `magnitude`.

    Each addition rounds by at most 2^-24 of a partial sum; so do the product with DART's weight,
    and XGBoost's own base margin (at most 8 here), on both sides.
    """
    return 2 * (num_trees + 3) * 2.0**-24 * (magnitude + 8)
