"""A team's own booster, scored by its library and by the C++ scorer, compared without writing a stack.

From the checkout's root:

    parity logs import synthetic --out examples/own_booster/logs --days 1 --requests 500
    python -m examples.own_booster.ranker
    parity replay --config examples/own_booster/parity.yaml --date 2026-01-05 \
        --reference booster --challenger cpp_file
    parity prove --config examples/own_booster/parity.yaml --reference booster --challenger converted

`converted` is the same model, but that one split on the age sends missing values the other way. The
day has an age for every user, so the replay says PARITY; the proof finds the split.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from replay import RequestBatch
from replay.logs.parquet import open_day, read_shard

HERE = Path(__file__).parent
FIELDS = {
    "price": "candidate.price",
    "past_clicks": "candidate.past_clicks",
    "past_impressions": "candidate.past_impressions",
    "age_days": "user.age_days",
}


def inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The model's columns by name (`inputs` in parity.yaml); NaN is missing."""
    request_of = batch.keys.request_of("candidate")
    columns = {}
    for name, path in FIELDS.items():
        values = batch.column(path).to_numpy(zero_copy_only=False).astype(np.float64)
        columns[name] = (values[request_of] if path.startswith("user.") else values).astype(
            np.float32
        )
    return columns


def main() -> None:
    """Train on the logged day, save, and convert with a mistake."""
    day = open_day(HERE / "logs", date(2026, 1, 5))
    batch = read_shard(day.shards[0]).batch
    columns = inputs(batch)
    clicks = batch.column("candidate.click").to_numpy(zero_copy_only=False)
    shown = ~np.isnan(clicks)
    rows = xgboost.DMatrix(
        np.column_stack(list(columns.values()))[shown],
        clicks[shown],
        feature_names=list(columns),
        nthread=1,
    )
    params = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1, "seed": 0}
    xgboost.train(params, rows, num_boost_round=40).save_model(HERE / "model.json")
    model = json.loads((HERE / "model.json").read_text())
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    tree = next(tree for tree in trees if _age_split(tree) is not None)
    node = _age_split(tree)
    tree["default_left"][node] = 1 - int(tree["default_left"][node])
    (HERE / "converted.json").write_text(json.dumps(model))


def _age_split(tree: Mapping[str, Any]) -> int | None:
    """The first node that asks for the age, which is the last column."""
    asked = zip(tree["split_indices"], tree["left_children"], strict=True)
    return next((i for i, (column, left) in enumerate(asked) if left >= 0 and column == 3), None)


if __name__ == "__main__":
    main()
