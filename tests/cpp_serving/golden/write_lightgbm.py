"""Writes what one version of LightGBM saves and predicts, for the version that runs this.

    python3.9 -m venv old && old/bin/pip install --no-deps lightgbm==2.2.3 && old/bin/pip install "numpy<1.23" scipy
    old/bin/python tests/cpp_serving/golden/write_lightgbm.py

leaves `lightgbm-<version>.npz` beside this file, laid out as `write.py` does (`<kind>.txt` is the
saved model). Written with lightgbm 2.2.3 (format v2) and 3.3.5 (v3).
"""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np

KINDS = {
    "binary": {"objective": "binary"},
    "zero": {"objective": "regression", "zero_as_missing": True},
    "multi": {"objective": "multiclass", "num_class": 3},
}


def main():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(300, 4)).astype(np.float32)
    features[:, 2] *= rng.random(300) < 0.5
    features[rng.random(features.shape) < 0.1] = np.nan
    features[:, 1] = rng.integers(0, 12, 300)
    signal = np.nan_to_num(features[:, 0]) + np.sin(features[:, 1])
    labels = {
        "binary": (signal > 0) * 1.0, "zero": signal, "multi": np.clip(np.floor(signal + 1), 0, 2),
    }  # fmt: skip
    common = {"num_leaves": 7, "min_data_in_leaf": 3, "num_threads": 1, "verbose": -1}
    written = {}
    for kind, parameters in KINDS.items():
        data = lightgbm.Dataset(
            features, labels[kind], categorical_feature=[1], params={"verbose": -1}
        )
        booster = lightgbm.train({**common, "min_data_per_group": 1, **parameters}, data, 4)
        rows = rng.normal(size=(64, 4)).astype(np.float32)
        rows[:, 1] = rng.integers(-1, 15, 64)
        rows[::3, 2] = 0
        rows[rng.random(rows.shape) < 0.2] = np.nan
        text = booster.model_to_string().encode()
        written[f"{kind}.txt"] = np.frombuffer(text, dtype=np.uint8)
        written[f"{kind}.rows"] = rows
        written[f"{kind}.leaves"] = np.asarray(booster.predict(rows, pred_leaf=True)).astype("i4")
        written[f"{kind}.margins"] = booster.predict(rows, raw_score=True)
        written[f"{kind}.scores"] = booster.predict(rows)
    target = Path(__file__).parent / f"lightgbm-{lightgbm.__version__}.npz"
    np.savez_compressed(target, **written)


if __name__ == "__main__":
    main()
