"""How far floating-point arithmetic may move each tensor: measured by disturbing what it reads.

A tensor's inputs are disturbed by as much as one rounding each would do, several times; how the
tensor answers is the size of its own rounding. A plain sum of n terms rounds n times on its way,
which makes it sqrt(n) / 2 times as much (each partial sum of k terms is sqrt(k) large, so its
roundings add up to n / sqrt(2) of one term's; those of the terms themselves to sqrt(2 n)).
That noise, put into every tensor at once, then shows what reaches each of them from all before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from replay.adapters.program import Program, Tensor
from replay.checkpoint import Rounding
from replay.trace import Array

# Draws of the noise: a root mean square over 8 is known to a quarter of itself.
DRAWS = 8
# Rows of the example that are disturbed: several values of every feature.
ROWS = 64
# The largest error of all channels and of millions of rows, against the root mean square of the
# worst one measured: a normal error exceeds 6 times that once in 5e8.
MARGIN = 6.0
# A disturbance of one float32 rounding would itself be rounded away: 2^12 of them at once, and
# the answer divided by as much. Coarser types are disturbed by one of theirs.
_DISTURBANCE = 2.0**-12


def measure_rounding(
    program: Program, inputs: Mapping[str, Array], *, seed: int = 0
) -> dict[str, Rounding]:
    """The bound of each real tensor, deterministic by the seed.

    Args:
        program: What is measured.
        inputs: Rows of an example.
        seed: Draws the disturbances.
    """
    rng = np.random.default_rng(seed)
    real = [tensor for tensor in program.tensors if tensor.is_real]
    rows = min(ROWS, len(next(iter(inputs.values()))))
    tiled = {name: _tiled(array[:rows]) for name, array in inputs.items()}
    everything = [tensor.name for tensor in program.tensors]
    free = program.run(tiled, record=everything)
    strength = _strength(real)
    own = _own(program, tiled, free, real, strength, rng)
    reached = _reached(program, tiled, free, real, own, strength, rng)
    return {
        tensor.name: Rounding(
            ulps=0.5,
            absolute=MARGIN * float(reached[tensor.name].max(initial=0.0)),
            why=f"{MARGIN:g} x the standard deviation that one rounding of every value before it "
            f"makes here, measured on {rows} rows"
            + (f"; sums of {tensor.terms} terms" if tensor.terms > 1 else ""),
        )
        for tensor in real
    }


def _strength(real: Sequence[Tensor]) -> float:
    """How many roundings a disturbance is worth, so that it is larger than what it is added to."""
    finest = min((tensor.unit for tensor in real), default=_DISTURBANCE)
    return max(1.0, _DISTURBANCE / finest)


def _own(
    program: Program,
    inputs: Mapping[str, Array],
    free: Mapping[str, Array],
    real: Sequence[Tensor],
    strength: float,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """[row, ...] float64: standard deviation of each tensor's own rounding, its inputs exact."""
    units = {tensor.name: tensor.unit for tensor in real}
    given = {
        name: _disturbed(values, units.get(name, 0.0) * strength, rng)
        for name, values in free.items()
    }
    # An input of the model stands for the first sums that read it: one rounding each.
    finest = min(units.values(), default=0.0)
    disturbed = {name: _disturbed(a, finest * strength, rng) for name, a in inputs.items()}
    names = [tensor.name for tensor in real]
    settable = {t.name: given[t.name] for t in program.tensors if not t.returned}
    answered = program.run(disturbed, record=names, given=settable)
    own = {}
    for tensor in real:
        moved = _spread(answered[tensor.name], free[tensor.name]) / strength
        summed = max(1.0, np.sqrt(tensor.terms) / 2)
        own[tensor.name] = summed * moved + tensor.unit * _size(free[tensor.name])
    return own


def _reached(
    program: Program,
    inputs: Mapping[str, Array],
    free: Mapping[str, Array],
    real: Sequence[Tensor],
    own: Mapping[str, Array],
    strength: float,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """[row, ...] float64: standard deviation of everything that was rounded on the way."""
    noise = {
        tensor.name: (
            strength * np.tile(own[tensor.name], _repeats(own[tensor.name]))
            * rng.standard_normal(free[tensor.name].shape)
        ).astype(tensor.dtype)
        for tensor in real
        if not tensor.returned
    }  # fmt: skip
    # Discrete values stay as they are: one that flips is another question than rounding.
    held = {t.name: free[t.name] for t in program.tensors if not t.is_real and not t.returned}
    answered = program.run(inputs, record=[t.name for t in real], given=held, noise=noise)
    return {
        tensor.name: np.hypot(
            own[tensor.name], _spread(answered[tensor.name], free[tensor.name]) / strength
        )
        for tensor in real
    }


def _tiled(rows: Array) -> Array:
    return np.tile(rows, _repeats(rows))


def _repeats(rows: Array) -> tuple[int, ...]:
    return (DRAWS, *(1 for _ in rows.shape[1:]))


def _disturbed(values: Array, by: float, rng: np.random.Generator) -> Array:
    if values.dtype.kind != "f":
        return values
    with np.errstate(invalid="ignore", over="ignore"):  # infinities stay what they are
        moved = values.astype(np.float64) * (1.0 + by * rng.standard_normal(values.shape))
        return moved.astype(values.dtype)


def _spread(answered: Array, free: Array) -> Array:
    """[row, ...]: root mean square over the draws; 0 where values are not finite."""
    with np.errstate(invalid="ignore"):  # infinity - infinity
        moved = answered.astype(np.float64) - free.astype(np.float64)
    moved = np.where(np.isfinite(moved), moved, 0.0).reshape(DRAWS, -1, *free.shape[1:])
    return np.asarray(np.sqrt(np.mean(moved**2, axis=0)))


def _size(free: Array) -> Array:
    values = np.abs(free[: len(free) // DRAWS].astype(np.float64))
    return np.where(np.isfinite(values), values, 0.0)
