"""Changes that no class explains: nothing may be named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.explain.diagnose import Evidence
from parity.explain.diagnose.activations import ACTIVATIONS
from tests.parity.explain.diagnose.columns import COLUMNS, Change, Frame, evidence
from tests.parity.explain.diagnose.layer_catalogue import (
    ROWS,
    WIDTH,
    activations,
    layer,
    leaves_of,
    rank_of,
    ranks_of,
    tree_of,
)


def _noise(scale: float, share: float = 1.0) -> Change:
    def change(v: np.ndarray, frame: Frame) -> np.ndarray:
        spread = np.nanstd(v.astype(np.float64)) * scale
        moved = v + frame.rng.normal(0, spread + 1e-3, len(v))
        hit = frame.rng.random(len(v)) < share
        moved = np.round(moved) if v.dtype.kind == "i" else moved
        return np.where(hit, moved, v)

    return change


def _unrelated(v: np.ndarray, frame: Frame) -> np.ndarray:
    return frame.rng.permutation(v)


def _partly_unrelated(v: np.ndarray, frame: Frame) -> np.ndarray:
    return np.where(frame.rng.random(len(v)) < 0.4, frame.rng.permutation(v), v)


def _factor_each(v: np.ndarray, frame: Frame) -> np.ndarray:
    moved = v * frame.rng.lognormal(0, 0.3, len(v))
    return np.round(moved) if v.dtype.kind == "i" else moved


def _jitter(v: np.ndarray, frame: Frame) -> np.ndarray:
    """Up or down by one, at random."""
    return v + frame.rng.choice([-1, 1], len(v)) * (frame.rng.random(len(v)) < 0.6)


def _wide_jitter(v: np.ndarray, frame: Frame) -> np.ndarray:
    return v + frame.rng.integers(-3, 4, len(v))


def _mixture(*changes: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Several mistakes at once, each on as many rows as the others."""

    def change(v: np.ndarray, frame: Frame) -> np.ndarray:
        which = frame.rng.integers(0, len(changes), len(v))
        return np.choose(which, [one(v.astype(np.float64)) for one in changes])

    return change


def _flipped(v: np.ndarray, frame: Frame) -> np.ndarray:
    """A tenth of the cells take one of the column's values, at random."""
    hit = frame.rng.random(len(v)) < 0.1
    return np.where(hit, frame.rng.choice(np.unique(v), len(v)), v)


def _own_noise_by_request(v: np.ndarray, frame: Frame) -> np.ndarray:
    shifts = frame.rng.normal(0, np.nanstd(v.astype(np.float64)) + 1e-3, frame.requests.max() + 1)
    moved = v + shifts[frame.requests]
    return np.round(moved) if v.dtype.kind == "i" else moved


def _smooth(v: np.ndarray, frame: Frame) -> np.ndarray:
    """A curve that no list holds, and noise on top."""
    wide = np.nan_to_num(v.astype(np.float64))
    moved = wide + np.sin(wide) + frame.rng.normal(0, 0.05, len(v))
    return np.round(moved) if v.dtype.kind == "i" else moved


NEGATIVES: Mapping[str, Change] = {
    "noise": _noise(0.3),
    "small noise": _noise(1e-3),
    "noise on some": _noise(0.5, 0.3),
    "unrelated": _unrelated,
    "partly unrelated": _partly_unrelated,
    "a factor each": _factor_each,
    "jitter": _jitter,
    "wide jitter": _wide_jitter,
    "two factors": _mixture(lambda v: v * 2, lambda v: v * 3),
    "three offsets": _mixture(lambda v: v + 3, lambda v: v - 5, lambda v: v + 11),
    "four mistakes": _mixture(
        lambda v: v * 60, lambda v: v + 1, lambda v: np.sqrt(np.abs(v)) + 7, lambda v: v * -0.3
    ),
    "flipped": _flipped,
    "by request": _own_noise_by_request,
    "a curve with noise": _smooth,
}


def negatives(seeds: Sequence[int]) -> Iterator[tuple[str, str, int, Evidence]]:
    for place, (name, change) in enumerate(NEGATIVES.items()):
        for at, (column, make) in enumerate(COLUMNS.items()):
            for seed in seeds:
                rng = np.random.default_rng([place, at, seed])
                made = make(rng, seed % 2 == 1)
                if name == "a curve with noise" and len(np.unique(made.reference)) < 100:
                    continue  # of a few codes any function is a table of codes
                with np.errstate(all="ignore"):
                    changed = change(made.reference, made)
                    yield name, column, seed, evidence(made, changed)


def layer_negatives(seeds: Sequence[int]) -> Iterator[tuple[str, int, Evidence]]:
    for seed in seeds:
        rng = np.random.default_rng(seed)
        r = activations(rng)
        x = activations(rng)
        beside: dict[str, Any] = {
            "others": {"blocks.0": x.astype(np.float32)},
            "stages": {"blocks.0": "layer"},
            "parents": ("blocks.0",),
        }
        yield "noise", seed, layer(rng, r, r + rng.normal(0, 0.01, r.shape), **beside)
        yield "noise near the bound", seed, layer(rng, r, r + rng.normal(0, 2e-5, r.shape))
        yield "unrelated", seed, layer(rng, r, activations(rng), **beside)
        mixed = r @ (np.eye(WIDTH) + rng.normal(0, 0.1, (WIDTH, WIDTH)))
        yield "other weights", seed, layer(rng, r, mixed, **beside)
        noisy = r.copy()
        noisy[:, 5] += rng.normal(0, 0.3, ROWS)
        yield "one noisy channel", seed, layer(rng, r, noisy)
        yield "a GELU inside, over rows alike", seed, _inside(rng, 0.02)
        yield "a GELU inside", seed, _inside(rng, 1.0)
        leaves = leaves_of(rng)
        hit = rng.random(leaves.shape) < 0.05
        yield "flipped leaves", seed, tree_of(
            rng, leaves, np.where(hit, rng.integers(0, 8, leaves.shape), leaves).astype(np.int32),
            **{"f.slot": rng.integers(0, 5, ROWS).astype(np.float32)},
        )  # fmt: skip
        scores = rng.random(ROWS).astype(np.float32)
        ranks = ranks_of(scores, np.arange(ROWS))
        others = ranks_of((scores + rng.normal(0, 0.2, ROWS)).astype(np.float32), np.arange(ROWS))
        yield "other ranks", seed, rank_of(rng, ranks, others, scores)
        sums = rng.normal(0, 1, ROWS)
        yield "other sums", seed, layer(
            rng, sums, sums + rng.normal(0, 0.1, ROWS), name="regression.leaf_sum",
            others={"gbdt.leaves": leaves}, stages={"gbdt.leaves": "tree"},
            parents=("gbdt.leaves",),
        )  # fmt: skip


def _inside(rng: np.random.Generator, spread: float) -> Evidence:
    """Linear, GELU by tanh in place of erf, linear: rows that are alike seem to be scaled alike."""
    x = rng.normal(0, 1, WIDTH) + spread * rng.normal(0, 1, (ROWS, WIDTH))
    up = x @ rng.normal(0, 0.2, (WIDTH, 2 * WIDTH)) + rng.normal(0, 0.1, 2 * WIDTH)
    down = rng.normal(0, 0.1, (2 * WIDTH, WIDTH))
    return layer(
        rng,
        ACTIVATIONS["GELU (erf)"](up) @ down,
        ACTIVATIONS["GELU (tanh)"](up) @ down,
        noise=3e-8,
        others={"blocks.0": x.astype(np.float32)},
        stages={"blocks.0": "layer"},
        parents=("blocks.0",),
    )
