"""What two checkpoints recorded for the same requests, as a witness that they are one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from parity.compare.alignment import expanded
from parity.tolerance import Floats
from replay.checkpoint import CheckpointGraph
from replay.trace import Array, Trace

# Relative to the spread of the values, root mean square. Two float32 translations of a deep model
# part by 1e-6 to 1e-5; two neighbouring layers of a residual stream by 1e-4 and more.
EQUAL = 2e-5
# Coarser types round more: a few of their steps.
STEPS = 8
# What is not the same place is this many times further away (a decision; in float32 two
# translations of one place lie at 1e-6, so a rival has to lie beyond 3e-5).
FARTHER = 30.0
NOISE = 1e-6
# A value is a witness when chance would repeat it less than once in 2^40.
BITS = 40.0
# Values of a checkpoint that are compared; further ones add cost and no certainty.
POSITIONS = 4096
# Of values that are one another's affine image, or in one order: a mistake of unit or scale.
AFFINE = 1.0 - 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Values:
    """[row, column] for the checkpoints of one form, NaN where nothing can be said.

    Attributes:
        error: Root mean square of the difference, relative to the smaller spread.
        allowed: Largest error that counts as equal.
        correlation: Larger of |Pearson| and |rank correlation|, over all values.
        per_channel: In [0, 1], how alike the root mean squares per channel are.
    """

    error: Floats
    allowed: Floats
    correlation: Floats
    per_channel: Floats

    @property
    def equal(self) -> NDArray[np.bool_]:
        """Which pairs agree within rounding."""
        return self.error <= self.allowed  # NaN: no witness

    @property
    def supports(self) -> NDArray[np.bool_]:
        """Which pairs agree, or would but for a scale, a shift or a monotone map."""
        return self.equal | (self.correlation >= AFFINE)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where both sides' values say something."""
        return np.isfinite(self.error)

    @property
    def score(self) -> Floats:
        """In [0, 1]; a half where nothing can be said."""
        alike = 0.8 * self.correlation**2 + 0.15 * self.per_channel
        return np.where(self.known, np.where(self.equal, 1.0, alike), 0.5)

    def is_outdone(self, open_pairs: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where some other open pair of the row or column is about as near, or nearer."""
        error = np.where(open_pairs & self.known, self.error, np.inf)
        found = np.ones_like(open_pairs)
        for i, j in zip(*np.nonzero(np.isfinite(error)), strict=True):
            rivals = np.concatenate([np.delete(error[i], j), np.delete(error[:, j], i)])
            nearest = rivals.min(initial=np.inf)
            found[i, j] = nearest < FARTHER * max(float(error[i, j]), NOISE)
        return found


def values_of(
    graphs: tuple[CheckpointGraph, CheckpointGraph],
    traces: tuple[Trace, Trace],
    names: tuple[Sequence[str], Sequence[str]],
) -> Values:
    """Compare checkpoints of one form, each with each.

    Args:
        graphs: Both sides'.
        traces: Of the same rows, in the same order.
        names: Rows and columns; all of one stage, kind and inner shape.
    """
    arrays = tuple(
        [_rows(graph, trace, name) for name in side]
        for graph, trace, side in zip(graphs, traces, names, strict=True)
    )
    sketches = [np.stack([_sketch(array) for array in side]) for side in arrays]
    informative = [np.array([_tells(row) for row in side]) for side in sketches]
    centred = [side - side.mean(axis=1, keepdims=True) for side in sketches]
    spread = [np.sqrt((side**2).mean(axis=1)) for side in centred]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = _distance(*sketches) / np.minimum(spread[0][:, np.newaxis], spread[1])
        correlation = np.maximum(_correlation(*centred), _rank_correlation(*sketches))
    told = informative[0][:, np.newaxis] & informative[1]
    eps = [np.array([_eps(array) for array in side]) for side in arrays]
    return Values(
        error=np.where(told, error, np.nan),
        allowed=np.maximum(EQUAL, STEPS * np.maximum(eps[0][:, np.newaxis], eps[1])),
        correlation=np.where(told, np.nan_to_num(correlation), 0.0),
        per_channel=_per_channel(*arrays),
    )


def transposition(ours: Array, theirs: Array) -> tuple[int, ...] | None:
    """The order of the challenger's inner axes in which it equals the reference; None if none."""
    plain = tuple(range(ours.ndim))
    for order in permutations(range(1, theirs.ndim)):
        axes = (0, *order)
        if axes != plain and theirs.transpose(axes).shape == ours.shape:
            pair = [_sketch(np.ascontiguousarray(side)) for side in (ours, theirs.transpose(axes))]
            spread = float(np.std(pair[0]))
            error = float(np.sqrt(((pair[0] - pair[1]) ** 2).mean()))
            if _tells(pair[0]) and error <= EQUAL * spread:
                return axes
    return None


def is_telling(array: Array) -> bool:
    """Whether the values are too many different ones to be repeated by chance."""
    return _tells(_sketch(array))


def same_bits(ours: Array, theirs: Array) -> bool:
    """Whether two arrays hold the same values, missing ones included."""
    same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return same and bool(np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"))


def _rows(graph: CheckpointGraph, trace: Trace, name: str) -> Array:
    rows = graph[name].rows
    onto = rows if rows == "step" else "candidate"
    return expanded(trace[name], rows, onto, trace.keys)


def _sketch(array: Array) -> Floats:
    """[position]: values at fixed places; what is missing or not finite reads as 0."""
    flat = array.reshape(-1)
    if flat.size > POSITIONS:
        flat = flat[np.sort(np.random.default_rng(0).choice(flat.size, POSITIONS, replace=False))]
    if flat.dtype.kind in "iu" and flat.size and int(np.abs(flat).max()) >= 2**53:
        # A float64 does not tell such ids apart; their halves it does.
        flat = np.concatenate([flat >> 26, flat & (2**26 - 1)])
    values = flat.astype(np.float64)
    return np.where(np.isfinite(values), values, 0.0)


def _tells(sketch: Floats) -> bool:
    if sketch.size == 0:
        return False
    _, counts = np.unique(sketch, return_counts=True)
    shares = counts / sketch.size
    return bool(-(shares * np.log2(shares)).sum() * sketch.size >= BITS)


def _distance(ours: Floats, theirs: Floats) -> Floats:
    # One row at a time: the expanded square would lose what lies below 1e-8.
    return np.stack([np.sqrt(((theirs - row) ** 2).mean(axis=1)) for row in ours])


def _correlation(ours: Floats, theirs: Floats) -> Floats:
    norms = np.linalg.norm(ours, axis=1)[:, np.newaxis] * np.linalg.norm(theirs, axis=1)
    found: Floats = np.abs(ours @ theirs.T) / norms
    return found


def _rank_correlation(ours: Floats, theirs: Floats) -> Floats:
    ranks = [rankdata(side, axis=1) for side in (ours, theirs)]
    return _correlation(*(side - side.mean(axis=1, keepdims=True) for side in ranks))


def _per_channel(ours: Sequence[Array], theirs: Sequence[Array]) -> Floats:
    sides = [np.stack([_channels(array) for array in side]) for side in (ours, theirs)]
    apart = np.linalg.norm(sides[0][:, np.newaxis] - sides[1][np.newaxis], axis=2)
    both = np.linalg.norm(sides[0], axis=1)[:, np.newaxis] + np.linalg.norm(sides[1], axis=1)
    unlike: Floats = np.divide(apart, both, out=np.zeros_like(apart), where=both > 0)
    return 1.0 - unlike


def _channels(array: Array) -> Floats:
    """[channel]: root mean square along the last axis; one channel where there are rows only."""
    values = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
    width = array.shape[-1] if array.ndim > 1 else 1
    per_channel: Floats = np.sqrt((values.reshape(-1, width) ** 2).sum(axis=0) / max(len(array), 1))
    return per_channel


def _eps(array: Array) -> float:
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else 0.0
