"""A small random model and ragged requests for the engine's tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from modern.bench.accuracy import exact_logits
from modern.bench.shapes import Shape, random_inputs, random_model
from modern.transformer.inputs import Floats, Ints, ModelInputs

SHAPE = Shape(candidates=24, history=40, width=32, heads=2, feed_forward=64, tasks=2)
MODEL = random_model(SHAPE)
# A float32 forward against float64: sums of at most 64 terms, four layers deep. Measured 2e-6 of
# logits around 3; a wrong mask or a swapped row moves them by more than 1e-3.
CLOSE = 2e-5


def ragged(requests: int = 12, *, seed: int = 0) -> ModelInputs:
    """Half to all of the candidates, histories from none to all; the first has no history."""
    inputs = random_inputs(SHAPE, requests=requests, seed=seed, ragged=True)
    unread = inputs.step_place.copy()
    unread[: inputs.step_offsets[1]] = -1
    return replace(inputs, step_place=unread)


def exact(inputs: ModelInputs) -> np.ndarray:
    """[candidate, task] in float64, each request alone and unpadded."""
    return exact_logits(MODEL, inputs, "cpu")


def rows_of(inputs: ModelInputs, requests: Ints) -> Ints:
    """The candidates of these requests, in their order."""
    offsets = inputs.candidate_offsets
    return np.concatenate([np.arange(offsets[r], offsets[r + 1]) for r in requests])


def largest(one: Floats, other: np.ndarray) -> float:
    """The largest difference; NaN where there is one."""
    return float(np.abs(one.astype(np.float64) - other).max())
