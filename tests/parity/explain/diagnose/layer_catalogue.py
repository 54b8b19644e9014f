"""Known mistakes of layers, trees and outputs, each as evidence by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import erf
from typing import Any

import numpy as np

from parity.explain.diagnose import Evidence
from parity.tolerance import Absolute, Exact
from tests.parity.explain.diagnose.catalogue import contaminated

ROWS, WIDTH, PER_REQUEST = 480, 24, 10
NOISE = Absolute(bound=2e-5, why="float32 sums of so many terms")
EXACT = Exact(why="discrete")
Rng = np.random.Generator
Make = Callable[[Rng], Evidence]


def _requests() -> np.ndarray:
    return np.repeat(np.arange(ROWS // PER_REQUEST), PER_REQUEST)


def layer(
    rng: Rng, reference: np.ndarray, challenger: np.ndarray, *, noise: float = 3e-7, **more: Any
) -> Evidence:
    """A float32 layer; the challenger sums in another order."""
    spread = float(np.std(reference))
    off = rng.normal(0, noise * spread, challenger.shape) if noise else 0.0
    found: dict[str, Any] = {"name": "blocks.0.out", "stage": "layer", "tolerance": NOISE} | more
    return Evidence(
        reference=reference.astype(np.float32),
        challenger=(challenger + off).astype(np.float32),
        requests=_requests(),
        **found,
    )


def activations(rng: Rng) -> np.ndarray:
    return rng.normal(0, 1, (ROWS, WIDTH)) * rng.uniform(0.3, 3, WIDTH) + rng.normal(0, 1, WIDTH)


def one_channel(rng: Rng) -> Evidence:
    r = activations(rng)
    c = r.copy()
    c[:, 7] *= 1.01
    return layer(rng, r, c)


def one_channel_offset(rng: Rng) -> Evidence:
    r = activations(rng)
    c = r.copy()
    c[:, 3] += 0.37
    return layer(rng, r, c)


def all_scaled(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, r * 1.01)


def permuted(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, r[:, rng.permutation(WIDTH)])


def heads_swapped(rng: Rng) -> Evidence:
    r = activations(rng)
    c = r.reshape(ROWS, 4, 6)[:, [1, 0, 3, 2]].reshape(ROWS, WIDTH)
    return layer(rng, r, c)


def transposed(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, r.reshape(ROWS, 4, 6).transpose(0, 2, 1).reshape(ROWS, WIDTH))


def transposed_matrix(rng: Rng) -> Evidence:
    r = rng.normal(0, 1, (ROWS, 5, 5))
    return layer(rng, r, r.transpose(0, 2, 1))


def channels_reversed(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, r[:, ::-1])


def bias_left_out(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, r - rng.normal(0, 0.3, WIDTH))


def gain_left_out(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, r / rng.uniform(0.5, 1.7, WIDTH))


def not_normalised(rng: Rng) -> Evidence:
    x = activations(rng)
    return layer(rng, x / np.linalg.norm(x, axis=1, keepdims=True), x)


def _norm(x: np.ndarray, eps: float) -> np.ndarray:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps)


def epsilon(rng: Rng) -> Evidence:
    x = (activations(rng) * rng.uniform(0.05, 1, (ROWS, 1))).astype(np.float32).astype(np.float64)
    gain, bias = rng.uniform(0.5, 1.5, WIDTH), rng.normal(0, 0.2, WIDTH)
    return layer(
        rng,
        _norm(x, 1e-5) * gain + bias,
        _norm(x, 1e-3) * gain + bias,
        others={"blocks.0.in": x.astype(np.float32)},
        stages={"blocks.0.in": "layer"},
        parents=("blocks.0.in",),
    )


def epsilon_with_padding(rng: Rng) -> Evidence:
    """Rows that are not there on either side: steps past the end of a history."""
    found = epsilon(rng)
    absent = rng.random(ROWS) < 0.2
    given = found.others["blocks.0.in"].copy()
    for values in (found.reference, found.challenger, given):
        values[absent] = np.nan
    return replace(found, others={"blocks.0.in": given})


def epsilon_beside_constants(rng: Rng) -> Evidence:
    """What is normalised is the input and a query that no checkpoint shows."""
    x = (activations(rng) * rng.uniform(0.05, 1, (ROWS, 1))).astype(np.float32).astype(np.float64)
    hidden = x + rng.normal(0, 1, WIDTH)
    gain, bias = rng.uniform(0.5, 1.5, WIDTH), rng.normal(0, 0.2, WIDTH)
    return layer(
        rng,
        _norm(hidden, 1e-5) * gain + bias,
        _norm(hidden, 1e-2) * gain + bias,
        noise=3e-8,
        others={"blocks.0.in": x.astype(np.float32)},
        stages={"blocks.0.in": "layer"},
        parents=("blocks.0.in",),
    )


def rows_scaled_beside_a_norm(rng: Rng) -> Evidence:
    """Factors of rows that no variance explains: not an epsilon, though a norm stands there."""
    found = epsilon_beside_constants(rng)
    factors = rng.uniform(0.97, 1.0, (ROWS, 1)).astype(np.float32)
    return replace(found, challenger=found.reference * factors)


_erf = np.vectorize(erf)


def gelu(rng: Rng) -> Evidence:
    x = activations(rng).astype(np.float32).astype(np.float64)
    exact = 0.5 * x * (1 + _erf(x / np.sqrt(2)))
    approximate = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return layer(
        rng,
        exact,
        approximate,
        others={"blocks.0.up": x.astype(np.float32)},
        stages={"blocks.0.up": "layer"},
        parents=("blocks.0.up",),
    )


def relu_for_silu(rng: Rng) -> Evidence:
    x = activations(rng).astype(np.float32).astype(np.float64)
    found = gelu(rng)
    made = layer(rng, x / (1 + np.exp(-x)), np.maximum(x, 0))
    return replace(
        made,
        others={"blocks.0.up": x.astype(np.float32)},
        stages=found.stages,
        parents=found.parents,
    )


def dropout(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, np.where(rng.random(r.shape) < 0.1, 0, r / 0.9), noise=0)


def _to_bfloat16(values: np.ndarray) -> np.ndarray:
    words = values.astype(np.float32).view(np.uint32)
    return ((words + 0x7FFF + ((words >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def bfloat16_output(rng: Rng) -> Evidence:
    r = activations(rng)
    return layer(rng, r, _to_bfloat16(r), noise=0)


def computed_in_bfloat16(rng: Rng) -> Evidence:
    x, weights = rng.normal(0, 1, (ROWS, 16)), rng.normal(0, 0.3, (16, WIDTH))
    rough = _to_bfloat16(x).astype(np.float64) @ _to_bfloat16(weights).astype(np.float64)
    return layer(rng, x @ weights, _to_bfloat16(rough), noise=0)


def step_left_out(rng: Rng) -> Evidence:
    x = activations(rng)
    return layer(
        rng, x + rng.normal(0, 1, x.shape), x, noise=0,
        others={"blocks.0": x.astype(np.float32)}, stages={"blocks.0": "layer"},
        parents=("blocks.0",),
    )  # fmt: skip


def residual_left_out(rng: Rng) -> Evidence:
    x, f = activations(rng), activations(rng)
    return layer(
        rng, x + f, f,
        others={"blocks.0": x.astype(np.float32)}, stages={"blocks.0": "layer"},
        parents=("blocks.0",),
    )  # fmt: skip


def rows_permuted(rng: Rng) -> Evidence:
    r = activations(rng)
    c = np.concatenate([rng.permutation(part) for part in np.split(r, ROWS // PER_REQUEST)])
    return layer(rng, r, c, noise=0)


def scalar_bias(rng: Rng) -> Evidence:
    r = rng.normal(-3, 1, ROWS)
    return layer(rng, r, r + 0.8125, name="logit", stage="output")


def leaves_of(rng: Rng, trees: int = 30) -> np.ndarray:
    return rng.integers(0, 8, (ROWS, trees)).astype(np.int32)


def _sums(rng: Rng, leaves: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> Evidence:
    weights = rng.normal(0, 0.3, (leaves.shape[1], 8))
    trees = np.arange(leaves.shape[1])
    return layer(
        rng,
        weights[trees, leaves].sum(axis=1),
        change(weights.copy())[trees, leaves].sum(axis=1),
        name="regression.leaf_sum",
        others={"gbdt.leaves": leaves},
        stages={"gbdt.leaves": "tree"},
        parents=("gbdt.leaves",),
    )


def last_tree_left_out(rng: Rng) -> Evidence:
    return _sums(rng, leaves_of(rng), lambda w: w * (np.arange(len(w)) < len(w) - 1)[:, None])


def three_trees_left_out(rng: Rng) -> Evidence:
    return _sums(rng, leaves_of(rng), lambda w: w * (np.arange(len(w)) < len(w) - 3)[:, None])


def one_tree_scaled(rng: Rng) -> Evidence:
    factors = np.ones((30, 1))
    factors[11] = 1.01
    return _sums(rng, leaves_of(rng), lambda w: w * factors)


def one_feature_scaled(rng: Rng) -> Evidence:
    codes = rng.integers(0, 12, ROWS).astype(np.int32)
    others = rng.integers(0, 12, ROWS).astype(np.int32)
    first, second = rng.normal(0, 1, (2, 12))
    return layer(
        rng, first[codes] + second[others], first[codes] * 1.01 + second[others],
        name="regression.category_sum",
        others={"encoded.a": codes, "encoded.b": others},
        stages={"encoded.a": "encoding", "encoded.b": "encoding"},
        parents=("encoded.a", "encoded.b"),
    )  # fmt: skip


def tree_of(rng: Rng, reference: np.ndarray, challenger: np.ndarray, **features: Any) -> Evidence:
    return Evidence(
        name="gbdt.leaves",
        stage="tree",
        reference=reference,
        challenger=challenger,
        tolerance=EXACT,
        requests=_requests(),
        others=features,
        stages=dict.fromkeys(features, "feature"),
        parents=tuple(features),
    )


def missing_direction(rng: Rng) -> Evidence:
    age = rng.lognormal(1, 1, ROWS).astype(np.float32)
    age[rng.random(ROWS) < 0.15] = np.nan
    leaves = leaves_of(rng)
    other = np.where(
        np.isnan(age)[:, None] & (rng.random(leaves.shape) < 0.2), (leaves + 3) % 8, leaves
    )
    price = rng.lognormal(1, 1, ROWS).astype(np.float32)
    return tree_of(rng, leaves, other.astype(np.int32), **{"f.age": age, "f.price": price})


def threshold_side(rng: Rng) -> Evidence:
    slot = rng.integers(1, 9, ROWS).astype(np.float32)
    price = rng.lognormal(1, 1, ROWS).astype(np.float32)
    leaves = leaves_of(rng)
    hit = (slot == 5)[:, None] & (rng.random(leaves.shape) < 0.1)
    other = np.where(hit, (leaves + 1) % 8, leaves).astype(np.int32)
    return tree_of(rng, leaves, other, **{"f.slot": slot, "f.price": price})


def node_ids(rng: Rng) -> Evidence:
    leaves = leaves_of(rng)
    ids = np.stack([rng.permutation(15)[:8] for _ in range(leaves.shape[1])])
    return tree_of(rng, leaves, ids[np.arange(leaves.shape[1]), leaves].astype(np.int32))


def ranks_of(scores: np.ndarray, ties: np.ndarray) -> np.ndarray:
    order = np.lexsort((ties, -scores, _requests()))
    ranks = np.empty(ROWS, dtype=np.int32)
    ranks[order] = np.arange(ROWS) % PER_REQUEST
    return ranks


def rank_of(rng: Rng, ours: np.ndarray, theirs: np.ndarray, scores: np.ndarray) -> Evidence:
    return Evidence(
        name="rank", stage="output", unit="place", reference=ours, challenger=theirs,
        tolerance=EXACT, requests=_requests(), others={"pctr": scores},
        stages={"pctr": "output"}, parents=("pctr",),
    )  # fmt: skip


def tie_order(rng: Rng) -> Evidence:
    scores = rng.choice([0.01, 0.02, 0.05], ROWS).astype(np.float32)
    ids = rng.permutation(ROWS)
    return rank_of(rng, ranks_of(scores, ids), ranks_of(scores, np.arange(ROWS)), scores)


def ranks_reversed(rng: Rng) -> Evidence:
    scores = rng.random(ROWS).astype(np.float32)
    ranks = ranks_of(scores, np.arange(ROWS))
    return rank_of(rng, ranks, PER_REQUEST - 1 - ranks, scores)


def ranks_from_one(rng: Rng) -> Evidence:
    scores = rng.random(ROWS).astype(np.float32)
    ranks = ranks_of(scores, np.arange(ROWS))
    return rank_of(rng, ranks, ranks + 1, scores)


def history_truncated(rng: Rng) -> Evidence:
    lengths = rng.integers(0, 60, ROWS // PER_REQUEST)[_requests()].astype(np.float64)
    r = rng.normal(0, 1, ROWS)
    c = np.where(lengths > 40, rng.normal(0, 1, ROWS), r)
    return layer(
        rng, r, c, noise=0, name="features.h", stage="feature", context={"history_length": lengths}
    )


LAYER_CASES: Mapping[str, tuple[str, Make]] = {
    "one channel x 1.01": ("scale", one_channel),
    "one channel + 0.37": ("offset", one_channel_offset),
    "all x 1.01": ("scale", all_scaled),
    "permuted": ("channels_permuted", permuted),
    "heads swapped": ("channels_permuted", heads_swapped),
    "transposed": ("transposed|channels_permuted", transposed),
    "transposed matrix": ("transposed", transposed_matrix),
    "channels reversed": ("channels_reversed", channels_reversed),
    "bias left out": ("channel_offset", bias_left_out),
    "gain left out": ("channel_scale", gain_left_out),
    "not normalised": ("row_scale", not_normalised),
    "epsilon": ("epsilon", epsilon),
    "epsilon with padding": ("epsilon", epsilon_with_padding),
    "epsilon beside constants": ("epsilon", epsilon_beside_constants),
    "rows scaled beside a norm": ("row_scale", rows_scaled_beside_a_norm),
    "gelu": ("activation", gelu),
    "relu for silu": ("activation", relu_for_silu),
    "dropout": ("dropout", dropout),
    "bfloat16 output": ("precision_bfloat16", bfloat16_output),
    "computed in bfloat16": ("precision_bfloat16", computed_in_bfloat16),
    "step left out": ("step_left_out", step_left_out),
    "residual left out": ("term_left_out", residual_left_out),
    "rows permuted": ("permuted_rows", rows_permuted),
    "scalar bias": ("offset", scalar_bias),
    "last tree": ("tree_limit", last_tree_left_out),
    "three trees": ("tree_limit", three_trees_left_out),
    "one tree": ("weights_of_one_input", one_tree_scaled),
    "one feature": ("weights_of_one_input", one_feature_scaled),
    "missing direction": ("missing_direction", missing_direction),
    "threshold side": ("threshold_side", threshold_side),
    "node ids": ("relabelled", node_ids),
    "tie order": ("tie_order", tie_order),
    "ranks reversed": ("rank_reversed|reversed", ranks_reversed),
    "ranks from one": ("off_by_one", ranks_from_one),
    "history truncated": ("history_truncated", history_truncated),
}


def layer_cases(
    seeds: Sequence[int], share: float
) -> Iterator[tuple[str, frozenset[str], int, Evidence]]:
    for place, (name, (kinds, make)) in enumerate(LAYER_CASES.items()):
        for seed in seeds:
            rng = np.random.default_rng([place, seed])
            found = make(rng)
            if share:
                found = contaminated(found, rng, share)
            yield name, frozenset(kinds.split("|")), seed, found
