"""Probabilities and ranks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.value_kinds.kind import ValueKind, by_keys, by_number, is_integer, is_real, plain
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.trace import Array, BatchKeys

# A calibration of another day: bids move by some per cent.
SLOPE = 1.1


def _is_probability(one: Checkpoint, graph: CheckpointGraph) -> bool:
    return (
        is_real(one, graph) and not one.shape and (one.name == "pctr" or one.unit == "probability")
    )


def _is_rank(one: Checkpoint, graph: CheckpointGraph) -> bool:
    return is_integer(one, graph) and one.name == "rank" and one.rows == "candidate"


def _sigmoid(values: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-values.astype(np.float64)))


def _logit(values: Array) -> Array:
    wide = np.clip(values.astype(np.float64), 1e-300, 1.0 - 2.0**-53)
    return np.log(wide) - np.log1p(-wide)


def _from_the_end(ranks: Array, keys: BatchKeys) -> Array:
    sizes = np.diff(keys.candidate_offsets)[keys.request_of("candidate")]
    return sizes - 1 - ranks


OUTPUT_KINDS: Mapping[str, ValueKind] = {
    "double_sigmoid": plain("double_sigmoid", "the sigmoid is taken twice", _is_probability, _sigmoid),
    "sigmoid_left_out": plain("sigmoid_left_out", "the sigmoid is left out", _is_probability, _logit),
    "calibration": by_number(
        "calibration",
        "another calibration: log-odds times a factor (1.1)",
        _is_probability,
        SLOPE,
        lambda v, slope: _sigmoid(slope * _logit(v)),
    ),
    "rank_reversed": by_keys("rank_reversed", "the worst comes first", _is_rank, _from_the_end),
    "rank_from_one": plain("rank_from_one", "ranks count from 1", _is_rank, lambda v: v + 1),
}  # fmt: skip
