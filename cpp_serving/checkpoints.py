"""The scorer's checkpoints, and how far rounding may move each of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cpp_serving._core import Scorer
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding, RowAxis, Stage

# Kinds of real features that are whole numbers, the same on every machine (docs/features.md).
EXACT_KINDS = frozenset({"hour", "weekday", "tokens", "history_matches"})
DISCRETE_KINDS = frozenset({"bucket", "hash", "id"})

U32 = 2.0**-24  # unit roundoff of float32
U64 = 2.0**-53  # of float64

_STAGES: dict[str, Stage] = {
    "features": "feature",
    "encoded": "encoding",
    "gbdt": "tree",
    "regression": "layer",
}
_KIND_UNITS = {"hour": "hour", "weekday": "day", "bucket": "bucket", "hash": "bucket", "id": "id"}
_UNITS = {
    "gbdt.leaves": "leaf",
    "regression.leaf_sum": "log-odds",
    "regression.category_sum": "log-odds",
    "logit": "log-odds",
    "pctr": "probability",
    "ecpm_micros": "micros",
    "rank": "place",
}


def scorer_checkpoints(scorer: Scorer, *, stack: str) -> CheckpointGraph:
    """The graph of docs/features.md, as this scorer's file fills it."""
    kinds = {f"features.{name}": kind for name, kind, _, _ in scorer.features()}
    roundings = _roundings(scorer)
    declared = []
    for name, dtype, rows, inner, after in scorer.checkpoints():
        kind = kinds.get(name)
        real = kind is not None and kind not in DISCRETE_KINDS
        whole = kind in EXACT_KINDS
        rounding = roundings.get(name)
        if real and not whole:
            rounding = Rounding(ulps=0.5, why="computed in float64, rounded once to float32")
        declared.append(
            Checkpoint(
                name=name,
                stage=_STAGES.get(name.partition(".")[0], "output"),
                axes=(_row_axis(rows),) if inner is None else (_row_axis(rows), "tree"),
                shape=() if inner is None else (inner,),
                dtype=dtype,
                after=after,
                unit=_unit(name, kind),
                missing="nan" if real else "none",
                exact=rounding is None,
                rounding=rounding,
            )
        )
    return CheckpointGraph(declared, stack=stack)


def _unit(name: str, kind: str | None) -> str:
    if kind is not None:
        return _KIND_UNITS.get(kind, "1")
    return "column" if name.startswith("encoded.") else _UNITS[name]


def _row_axis(rows: str) -> RowAxis:
    return "request" if rows == "request" else "candidate"


def _roundings(scorer: Scorer) -> dict[str, Rounding]:
    """Bounds of what is summed in float64 and rounded once to float32 (include/.../scorer.h).

    Given exact leaves and categories they bound local and total differences alike.
    """
    discrete = [feature for feature in scorer.features() if feature[1] in DISCRETE_KINDS]
    leaves = _largest_sum(scorer.leaf_weights, scorer.leaf_offsets[:-1])
    categories = _largest_sum(
        scorer.category_weights, np.array([first for _, _, first, _ in discrete], dtype=np.int64)
    )
    leaf_bound = _sum_bound(leaves, len(scorer.leaf_offsets) - 1)
    category_bound = _sum_bound(categories, len(discrete))
    inputs = leaf_bound + category_bound
    logit_bound = inputs + _sum_bound(abs(scorer.bias) + leaves + categories + inputs, 3)
    once = "summed in float64, rounded once to float32"
    return {
        "regression.leaf_sum": Rounding(
            absolute=leaf_bound,
            why="summed as integers of one scale, rounded once to float32: 2^-24 x the sum over "
            f"trees of the largest |weight| {leaves:.6g}",
        ),
        "regression.category_sum": Rounding(
            absolute=category_bound,
            why=f"{once}: 2^-24 x the sum over discrete features of the largest |weight| "
            f"{categories:.6g}",
        ),
        "logit": Rounding(absolute=logit_bound, why=f"both sums' bounds, and three terms {once}"),
        "pctr": Rounding(
            # 2^-50: a few float64 roundings inside exp and the division, of values up to 1.
            absolute=abs(scorer.slope) / 4 * logit_bound + 2.0**-25 + 2.0**-50,
            why="|slope| / 4 x the logit's bound, and one rounding to float32",
        ),
        "ecpm_micros": Rounding(
            ulps=1.5, why="given pctr: 1000 * pctr is exact in float64, bid and product are rounded"
        ),
    }


def _sum_bound(largest: float, terms: int) -> float:
    """Error of a float64 sum of so many terms, in any order, rounded once to float32.

    Leaves are summed as integers that keep bits down to 2^-53 of the largest sum: each tree's
    weight is moved by half of that at most, which is less.

    Source: Higham 2002, Accuracy and Stability of Numerical Algorithms, section 4.2.
    """
    in_float64 = terms * U64 / (1 - terms * U64) * largest
    return in_float64 + U32 * (largest + in_float64)


def _largest_sum(weights: NDArray[np.float32], firsts: NDArray[np.integer]) -> float:
    """The largest |weight| of each run of weights, added up."""
    if len(firsts) == 0:
        return 0.0
    return float(np.maximum.reduceat(np.abs(weights).astype(np.float64), firsts).sum())
