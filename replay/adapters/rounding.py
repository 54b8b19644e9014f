"""How far floating-point arithmetic may move each tensor: measured by disturbing what it reads.

A tensor's inputs are disturbed by as much as one rounding each would do, several times; how the
tensor answers is the size of its own rounding. A plain sum of n terms rounds n times on its way,
which makes it sqrt(n) / 2 times as much (each partial sum of k terms is sqrt(k) large, so its
roundings add up to n / sqrt(2) of one term's; those of the terms themselves to sqrt(2 n)).
That noise, put into every tensor at once, then shows what reaches each of them from all before.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from replay.adapters.program import Program, Tensor, few_rows
from replay.checkpoint import Rounding
from replay.trace import EMPTY, Array

# Draws of the noise: a root mean square over 8 is known to a quarter of itself.
DRAWS = 8
# The largest error of all channels and of millions of rows, against the root mean square of the
# worst channel measured. Of what two sides so allow, PyTorch and ONNX Runtime used 27 % at most
# (docs/adapters.md): they add in blocks, and plainer sums have room.
MARGIN = 4.0
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
    fitting = few_rows(program, inputs, copies=DRAWS)
    rows = len(next(iter(fitting.values())))
    measured = _Measured(program, fitting, seed)
    reached = measured.reached()
    return {
        tensor.name: Rounding(
            ulps=0.5,
            absolute=MARGIN * float(reached[tensor.name].max(initial=0.0)),
            terms=tensor.terms,
            why=f"{MARGIN:g} x the standard deviation that one rounding of every value before it "
            f"makes here, measured on {rows} rows"
            + (f"; sums of {tensor.terms} terms" if tensor.terms > 1 else ""),
        )
        for tensor in measured.real
    }


class _Measured:
    """A program and its undisturbed values, each row once a draw."""

    def __init__(self, program: Program, rows: Mapping[str, Array], seed: int) -> None:
        self.program = program
        self.rng = np.random.default_rng(seed)
        self.real = [tensor for tensor in program.tensors if tensor.is_real]
        # How many roundings a disturbance is worth, so that it is no smaller than one.
        self.finest = min((tensor.unit for tensor in self.real), default=_DISTURBANCE)
        self.strength = max(1.0, _DISTURBANCE / self.finest)
        self.inputs = {name: np.tile(array, _repeats(array)) for name, array in rows.items()}
        self.free = program.run(self.inputs, record=[tensor.name for tensor in program.tensors])

    def own(self) -> dict[str, Array]:
        """[row, ...] float64: standard deviation of each tensor's own rounding, its inputs exact."""
        given = {
            tensor.name: self._disturbed(self.free[tensor.name], tensor.unit)
            for tensor in self.program.tensors
            if not tensor.returned
        }
        # An input of the model stands for the first sums that read it: one rounding each.
        inputs = {name: self._disturbed(array, self.finest) for name, array in self.inputs.items()}
        spread = self._spread(inputs, given=given)
        return {
            tensor.name: max(1.0, np.sqrt(tensor.terms) / 2) * spread[tensor.name]
            + tensor.unit * self._size(tensor)
            for tensor in self.real
        }

    def reached(self) -> dict[str, Array]:
        """[row, ...] float64: standard deviation of everything that is rounded on the way."""
        own = self.own()
        noise = {
            tensor.name: self._noise(own[tensor.name]).astype(tensor.dtype)
            for tensor in self.real
            if not tensor.returned
        }
        # Discrete values stay as they are: one that flips is another question than rounding.
        held = {
            tensor.name: self.free[tensor.name]
            for tensor in self.program.tensors
            if not tensor.is_real and not tensor.returned
        }
        spread = self._spread(self.inputs, given=held, noise=noise)
        return {name: np.hypot(own[name], spread[name]) for name in own}

    def _spread(
        self,
        inputs: Mapping[str, Array],
        *,
        given: Mapping[str, Array],
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """[row, ...] root mean square over the draws, of one rounding; 0 where it is not finite."""
        names = [tensor.name for tensor in self.real]
        answered = self.program.run(inputs, record=names, given=given, noise=noise)
        found = {}
        for name in names:
            with np.errstate(invalid="ignore"):  # infinity - infinity
                moved = answered[name].astype(np.float64) - self.free[name].astype(np.float64)
            moved = np.where(np.isfinite(moved), moved / self.strength, 0.0)
            draws = moved.reshape(DRAWS, -1, *moved.shape[1:])
            found[name] = np.sqrt(np.mean(draws**2, axis=0))
        return found

    def _disturbed(self, values: Array, unit: float) -> Array:
        if values.dtype.kind != "f":
            return values
        by = self.rng.standard_normal(values.shape, dtype=np.float32)
        by *= unit * self.strength
        with np.errstate(invalid="ignore", over="ignore"):  # infinities stay what they are
            moved: Array = (values + values * by).astype(values.dtype)
        return moved

    def _noise(self, spread: Array) -> Array:
        tiled = np.tile(spread, _repeats(spread))
        noise: Array = self.rng.standard_normal(tiled.shape, dtype=np.float32)
        return noise * (self.strength * tiled)

    def _size(self, tensor: Tensor) -> Array:
        values = self.free[tensor.name]
        values = np.abs(values[: len(values) // DRAWS].astype(np.float64))
        return np.where(np.isfinite(values), values, 0.0)


def _repeats(rows: Array) -> tuple[int, ...]:
    return (DRAWS, *(1 for _ in rows.shape[1:]))
