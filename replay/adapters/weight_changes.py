"""What is done to a weight that is planted wrongly: from the right values to the wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from replay.trace import Array

# As for a PyTorch module (torch_faults.py).
OTHER_EPS = 1e-3
SCALE = 1.01
STALE = 1e-3
INT8_STEPS = 127.0
# An epsilon of a norm that was exported as separate operators is a constant below this.
LARGEST_EPS = 1e-2


def is_matrix(values: Array) -> bool:
    """Two axes, and more than one row and column."""
    return values.ndim == 2 and min(values.shape) > 1


def row_scaled(values: Array) -> Array | None:
    """[input, output]: the column of the largest weights, times `SCALE`; None where it is no matrix."""
    if not is_matrix(values):
        return None
    changed = values.copy()
    changed[:, int(np.abs(values).sum(axis=0).argmax())] *= SCALE
    return changed


def of_matrix(change: Callable[[Array], Array]) -> Callable[[Array], Array | None]:
    """The change, of matrices alone."""
    return lambda values: change(values) if is_matrix(values) else None


def transposed(values: Array) -> Array | None:
    """A square matrix turned over; None where it is none."""
    return values.T if is_matrix(values) and values.shape[0] == values.shape[1] else None


def rounded(dtype: type[np.floating]) -> Callable[[Array], Array | None]:
    """Kept in a narrower type; None where it is one number."""
    return lambda values: values.astype(dtype).astype(values.dtype) if values.ndim else None


def to_bfloat16(values: Array) -> Array | None:
    """Kept in bfloat16, rounded to even."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    up = ((bits >> 16) & 1) + 0x7FFF
    rounded: Array = ((bits + up) >> 16 << 16).astype(np.uint32).view(np.float32)
    return rounded


def quantised(values: Array) -> Array:
    """Kept in eight bits, one step for the whole tensor."""
    step = max(float(np.abs(values).max()), 1e-30) / INT8_STEPS
    return np.round(values / step) * step


def stale(values: Array) -> Array:
    """Of an earlier step: `STALE` standard deviations off."""
    drawn = np.random.default_rng(0).standard_normal(values.shape)
    moved: Array = values + STALE * values.std() * drawn
    return moved


def inputs_exchanged(values: Array) -> Array:
    """The first two rows exchanged."""
    order = np.arange(len(values))
    order[[0, 1]] = 1, 0
    return values[order]


def vector(change: Callable[[Array], Array]) -> Callable[[Array], Array | None]:
    """The change, of vectors of more than one value alone."""
    return lambda values: change(values) if values.ndim == 1 and values.size > 1 else None


def eps(values: Array) -> Array | None:
    """Another epsilon; None where the value is none."""
    is_eps = values.size == 1 and 0.0 < float(values.reshape(-1)[0]) < LARGEST_EPS
    return np.full_like(values, OTHER_EPS) if is_eps else None
