"""Two small stacks of a team's own, in plain numpy: a ranker, and its rewrite with a mistake.

From the checkout's root:

    parity logs import synthetic --out examples/own_stacks/logs
    parity replay --config examples/own_stacks/parity.yaml --date 2026-01-05 \
        --reference ours --challenger rewrite

The rewrite reads the account's age in seconds where the ranker reads days.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay import (
    BatchKeys,
    Checkpoint,
    CheckpointGraph,
    RequestBatch,
    Rounding,
    StackIdentity,
    Trace,
    check_given,
    make_trace,
)

Array = NDArray[Any]
SAME = Rounding(ulps=1, why="the same float64 formula, rounded once to float32 on each side")
CHECKPOINTS = (
    Checkpoint(name="features.age_days", stage="feature", axes=("request",), dtype="float32", unit="day", rounding=SAME),
    Checkpoint(name="features.price", stage="feature", axes=("candidate",), dtype="float32", missing="nan", rounding=SAME),
    Checkpoint(name="logit", stage="layer", axes=("candidate",), dtype="float32", rounding=SAME, after=("features.age_days", "features.price")),
    Checkpoint(name="pctr", stage="output", axes=("candidate",), dtype="float32", rounding=SAME, after=("logit",)),
    Checkpoint(name="rank", stage="output", axes=("candidate",), dtype="int32", exact=True, after=("pctr",)),
)  # fmt: skip


class Ranker:
    """A stack is any object with these four members; it inherits nothing."""

    def __init__(self, name: str, *, age_unit: float) -> None:
        self.name = name
        self.age_unit = age_unit
        self.checkpoints = CheckpointGraph(CHECKPOINTS, stack=name)

    def identity(self) -> StackIdentity:
        return StackIdentity(name=self.name, digest=f"sha256:{self.name}-{self.age_unit}")

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = {}) -> Trace:  # fmt: skip
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        produced: dict[str, Array] = {}

        def step(name: str, compute: Callable[[], Array]) -> Array:
            """Record what is produced; carry on with what was given."""
            produced[name] = compute()
            return given.get(name, produced[name])

        def column(path: str) -> Array:
            return batch.column(path).to_numpy(zero_copy_only=False).astype("float64")

        request = batch.keys.request_of("candidate")
        age = step(
            "features.age_days", lambda: (column("user.age_days") * self.age_unit).astype("float32")
        )
        price = step("features.price", lambda: column("candidate.price").astype("float32"))
        logit = step("logit", lambda: _logit(age[request], price))
        pctr = step(
            "pctr", lambda: np.exp(-np.logaddexp(0.0, -logit.astype("float64"))).astype("float32")
        )
        step("rank", lambda: _rank(pctr, batch.keys))
        return make_trace(stack=self.name, keys=batch.keys, values=produced, checkpoints=self.checkpoints, capture=capture)  # fmt: skip


def open_reference() -> Ranker:
    """The ranker that serves today."""
    return Ranker("ours", age_unit=1.0)


def open_challenger() -> Ranker:
    """Its rewrite."""
    return Ranker("rewrite", age_unit=86_400.0)


def _logit(age_days: Array, price: Array) -> Array:
    """[candidate] float32; a missing price counts as an average one, a future account as new."""
    known = np.where(np.isnan(price), np.float32(10.0), price).astype("float64")
    return (0.3 * np.log1p(np.maximum(age_days, 0).astype("float64")) - 0.05 * known - 2.0).astype(
        "float32"
    )


def _rank(pctr: Array, keys: BatchKeys) -> Array:
    """[candidate] int32: place within its request, highest first, ties by ad id."""
    request = keys.request_of("candidate")
    order = np.lexsort((keys.ad_ids.to_numpy(), -pctr, request))
    rank = np.empty(len(pctr), dtype="int32")
    rank[order] = np.arange(len(pctr)) - keys.candidate_offsets[request[order]]
    return rank
