"""Writes what one version of XGBoost saves and predicts, for the version that runs this.

    python -m venv old && old/bin/pip install --no-deps xgboost==1.7.6 && old/bin/pip install numpy scipy
    old/bin/python tests/cpp_serving/golden/write.py

leaves `xgboost-<version>.npz` beside this file: `rows`, and for each kind of model the saved file
(`<kind>.json`, `<kind>.ubj` from 1.6 on), `<kind>.leaves`, `.margins`, `.scores`. Written with xgboost 1.2.1 (Python 3.9, numpy 1.22), 1.0.2, 1.1.1,
1.3.3, 1.5.2, 1.6.2, 1.7.6, 2.0.3, xgboost-cpu 2.1.4, 3.0.5, 3.1.3, and 3.3.0 and 3.4.1 (Python 3.12).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import xgboost

VERSION = tuple(int(part) for part in xgboost.__version__.split(".")[:2])
FEATURES = 4
OBJECTIVES = {
    "reg:squarederror": "real", "reg:squaredlogerror": "positive",
    "reg:logistic": "binary", "binary:logistic": "binary", "binary:logitraw": "binary",
    "binary:hinge": "binary", "count:poisson": "positive", "reg:gamma": "positive",
    "reg:tweedie": "positive", "survival:cox": "positive",
    "multi:softprob": "class", "multi:softmax": "class", "rank:pairwise": "group",
    "rank:ndcg": "group", "rank:map": "group",
}  # fmt: skip
NEWER = {
    "survival:aft": ("bounds", (1, 2)),
    "reg:pseudohubererror": ("real", (1, 2)),
    "reg:absoluteerror": ("real", (1, 7)),
    "reg:quantileerror": ("real", (2, 0)),
    "reg:expectileerror": ("real", (3, 3)),
}


def kinds():
    """Name to parameters, what labels are, and whether there are categories."""
    for objective, labels in OBJECTIVES.items():
        yield objective.replace(":", "-"), {"objective": objective}, labels, False
    for objective, (labels, since) in NEWER.items():
        if since <= VERSION:
            alphas = {
                "reg:quantileerror": {"quantile_alpha": [0.2, 0.8]},
                "reg:expectileerror": {"expectile_alpha": 0.2},
            }.get(objective, {})
            yield objective.replace(":", "-"), {"objective": objective, **alphas}, labels, False
    dart = {"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.6}
    yield "dart", dart, "binary", False
    yield "dart-forest", {**dart, "num_parallel_tree": 2}, "binary", False
    forest = {"objective": "multi:softprob", "num_parallel_tree": 2, "subsample": 0.5}
    yield "forest", forest, "class", False
    pruned = {"objective": "reg:squarederror", "tree_method": "exact", "gamma": 8.0, "max_depth": 5}
    yield "pruned", pruned, "real", False
    yield "base-score", {"objective": "count:poisson", "base_score": 2.5}, "positive", False
    if VERSION >= (1, 6):
        categories = {"objective": "binary:logistic", "tree_method": "hist"}
        yield "categories", {**categories, "max_cat_to_onehot": 1}, "binary", True
        yield "categories-one-hot", {**categories, "max_cat_to_onehot": 32}, "binary", True


def main():
    rng = np.random.default_rng(7)
    written = {}
    for name, parameters, kind, categories in kinds():
        features = rng.normal(size=(300, FEATURES)).astype(np.float32)
        features[:, 2] = np.round(features[:, 2] * 2)
        features[rng.random(features.shape) < 0.15] = np.nan
        if categories:
            features[:, 1] = rng.integers(0, 12, 300)
        signal = np.nan_to_num(features[:, 0]) + np.sin(np.nan_to_num(features[:, 1]) * 3)
        signal = signal + rng.normal(size=300) / 2
        labels = {
            "real": signal, "positive": np.exp(signal / 2), "bounds": np.exp(signal / 2),
            "binary": (signal > 0) * 1.0, "group": (signal > 0.5) * 1.0,
            "class": np.clip(np.floor(signal + 1), 0, 2),
        }[kind]  # fmt: skip
        types = {"feature_types": ["q", "c", "q", "q"], "enable_categorical": True}
        types = types if categories else {}
        matrix = xgboost.DMatrix(features, labels, nthread=1, **types)
        if kind == "group":
            matrix.set_group([20] * 15)
        if kind == "bounds":
            matrix.set_float_info("label_lower_bound", labels)
            matrix.set_float_info("label_upper_bound", labels * 1.5)
        own = {"max_depth": 3, "nthread": 1, "seed": 3, "verbosity": 0, "base_score": 0.4}
        if kind == "class":
            own["num_class"] = 3
        booster = xgboost.train({**own, **parameters}, matrix, num_boost_round=4)
        with tempfile.TemporaryDirectory() as folder:
            for ending in ("json", "ubj") if VERSION >= (1, 6) else ("json",):
                path = Path(folder) / f"model.{ending}"
                booster.save_model(str(path))
                written[f"{name}.{ending}"] = np.frombuffer(path.read_bytes(), dtype=np.uint8)
                if ending == "json":
                    rows = edge_rows(json.loads(path.read_text()), rng, categories)
        matrix = xgboost.DMatrix(rows, nthread=1, **types)
        written[f"{name}.rows"] = rows
        written[f"{name}.leaves"] = booster.predict(matrix, pred_leaf=True).astype(np.int32)
        written[f"{name}.margins"] = booster.predict(matrix, output_margin=True)
        written[f"{name}.scores"] = booster.predict(matrix)
    target = Path(__file__).parent / f"xgboost-{xgboost.__version__}.npz"
    np.savez_compressed(target, **written)


def edge_rows(model, rng, categories):
    """Thresholds, their neighbours, NaN, zeros and denormals."""
    booster = model["learner"]["gradient_booster"]
    trees = (booster.get("gbtree") or booster)["model"]["trees"]
    rows = np.empty((64, FEATURES), dtype=np.float32)
    for feature in range(FEATURES):
        points = [
            condition
            for tree in trees
            for condition, split, left in zip(
                tree["split_conditions"], tree["split_indices"], tree["left_children"]
            )
            if left >= 0 and split == feature
        ]
        drawn = rng.choice(np.array(points or [0.0], dtype=np.float32), 64)
        near = np.nextafter(drawn, rng.choice(np.array([-9e9, 9e9], dtype=np.float32), 64))
        edges = rng.choice(np.array([np.nan, 0, -0.0, 1e-45, -1e-45, 3e38], np.float32), 64)
        rows[:, feature] = np.choose(rng.integers(0, 3, 64), [drawn, near, edges])
    if categories:
        rows[:, 1] = rng.integers(-1, 15, 64)
    return rows


if __name__ == "__main__":
    main()
