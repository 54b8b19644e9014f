"""A legacy hybrid as many ads teams run it: XGBoost's leaves into a TensorFlow logistic regression.

From the checkout's root:

    parity logs import synthetic --out examples/own_hybrid/logs --days 2 --requests 500
    python -m examples.own_hybrid.ranker
    parity replay --config examples/own_hybrid/parity.yaml --date 2026-01-06 \
        --reference legacy --challenger rewrite
    parity prove --config examples/own_hybrid/parity.yaml --reference legacy --challenger trees_in_cpp

`rewrite` has two mistakes: it clips prices, and its table of leaf weights is an older one in places.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import xgboost
from numpy.typing import NDArray

from replay import RequestBatch
from replay.logs.parquet import open_day, read_shard

HERE = Path(__file__).parent
TREES, DEPTH = 30, 4
NODES = 2 ** (DEPTH + 1)  # no node id of a tree is as large
ADVERTISERS = 64
FIELDS = {
    "price": "candidate.price",
    "past_clicks": "candidate.past_clicks",
    "past_impressions": "candidate.past_impressions",
}
LARGEST_PRICE = 60.0


def inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The trees' features by name, NaN where missing, and the regression's own input."""
    advertiser = batch.column("candidate.advertiser_id").fill_null(0).to_numpy()
    return {
        **{
            name: batch.column(path).to_numpy(zero_copy_only=False).astype(np.float32)
            for name, path in FIELDS.items()
        },
        "advertiser": advertiser.astype(np.int64) % ADVERTISERS,
    }


def rewritten_inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The same, written again by somebody who had seen one price too many."""
    found = dict(inputs(batch))
    return found | {"price": np.minimum(found["price"], np.float32(LARGEST_PRICE))}


def tree_inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The trees' features alone."""
    return {name: array for name, array in inputs(batch).items() if name in FIELDS}


def columns(leaves: NDArray[np.int32]) -> Mapping[str, NDArray[Any]]:
    """XGBoost's node ids [row, tree], as `pred_leaf` gives them, to rows of the table."""
    return {"columns": (leaves + NODES * np.arange(TREES)).astype(np.int64)}


class Regression(tf.Module):  # type: ignore[misc]  # tensorflow comes without types
    """The log-odds: a bias, a weight of each tree's leaf, and one of the advertiser."""

    def __init__(self) -> None:
        self.leaf_weights = tf.Variable(tf.zeros([NODES * TREES]), name="leaf_weights")
        self.advertisers = tf.Variable(tf.zeros([ADVERTISERS]), name="advertisers")
        self.bias = tf.Variable(-2.0, name="bias")

    @tf.function(  # type: ignore[untyped-decorator]  # as above
        input_signature=[
            tf.TensorSpec([None, TREES], tf.int64, name="columns"),
            tf.TensorSpec([None], tf.int64, name="advertiser"),
        ]
    )
    def __call__(self, columns: Any, advertiser: Any) -> Any:
        with tf.name_scope("leaf_sum"):
            leaves = tf.reduce_sum(tf.gather(self.leaf_weights, columns), axis=1)
        with tf.name_scope("advertiser_weight"):
            own = tf.gather(self.advertisers, advertiser)
        return {"logit": self.bias + leaves + own}


def main() -> None:
    """Train both on the first logged day, save, and save the rewrite."""
    batch = read_shard(open_day(HERE / "logs", date(2026, 1, 5)).shards[0]).batch
    found, clicks = inputs(batch), batch.column("candidate.click").to_numpy(zero_copy_only=False)
    shown = ~np.isnan(clicks)
    matrix = np.column_stack([found[name] for name in FIELDS])
    rows = xgboost.DMatrix(matrix, feature_names=list(FIELDS), nthread=1)
    labelled = xgboost.DMatrix(matrix[shown], clicks[shown], feature_names=list(FIELDS), nthread=1)
    params = {"objective": "binary:logistic", "max_depth": DEPTH, "nthread": 1, "seed": 0}
    booster = xgboost.train(params, labelled, TREES)
    table = columns(booster.predict(rows, pred_leaf=True).astype(np.int32))["columns"]
    regression = Regression()
    _fit(regression, table[shown], found["advertiser"][shown], clicks[shown].astype(np.float32))
    for name in ("legacy", "rewrite"):
        (HERE / name).mkdir(exist_ok=True)
        booster.save_model(HERE / name / "trees.ubj")
        tf.saved_model.save(regression, str(HERE / name / "regression"))
        weights = regression.leaf_weights
        stale = np.arange(NODES * TREES) // NODES == 7  # the eighth tree's
        weights.assign(np.where(stale, weights.numpy() * 1.3, weights.numpy()))


def _fit(regression: Regression, table: Any, advertiser: Any, clicks: Any) -> None:
    """Full-batch gradient steps, as many as settle it."""
    for _ in range(60):
        with tf.GradientTape() as tape:
            logit = regression(tf.constant(table), tf.constant(advertiser))["logit"]
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(clicks, logit))
        variables = regression.trainable_variables
        for variable, slope in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(5.0 * tf.convert_to_tensor(slope))


if __name__ == "__main__":
    main()
