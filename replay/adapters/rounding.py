"""How far floating-point arithmetic may move each tensor: measured by disturbing what it reads.

A tensor's inputs are disturbed by as much as one rounding each would do, several times; how the
tensor answers is the size of its own rounding. A plain sum of n terms rounds n times on its way,
which makes it sqrt(n) / 2 times as much (each partial sum of k terms is sqrt(k) large, so its
roundings add up to n / sqrt(2) of one term's; those of the terms themselves to sqrt(2 n)).
That noise, put into every tensor at once, then shows what reaches each of them from all before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import numpy as np

from replay.adapters.program import Program, few_rows
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
    """A program and its undisturbed values, disturbed one draw after another."""

    def __init__(self, program: Program, rows: Mapping[str, Array], seed: int) -> None:
        self.program = program
        self.inputs = rows
        self.normal = _Normal(seed)
        self.real = [tensor for tensor in program.tensors if tensor.is_real]
        # How many roundings a disturbance is worth, so that it is no smaller than one.
        self.finest = min((tensor.unit for tensor in self.real), default=_DISTURBANCE)
        self.strength = max(1.0, _DISTURBANCE / self.finest)
        self.free = program.run(rows, record=[tensor.name for tensor in program.tensors])

    def own(self) -> dict[str, Array]:
        """[row, ...] float64: standard deviation of each tensor's own rounding, its inputs exact."""
        held = [tensor for tensor in self.program.tensors if not tensor.returned]
        # An input of the model stands for the first sums that read it: one rounding each.
        spread = self._spread(
            self._answered(
                {name: self._disturbed(array, self.finest) for name, array in self.inputs.items()},
                given={one.name: self._disturbed(self.free[one.name], one.unit) for one in held},
            )
            for _ in range(DRAWS)
        )
        return {
            tensor.name: max(1.0, np.sqrt(tensor.terms) / 2) * spread[tensor.name]
            + tensor.unit * _size(self.free[tensor.name])
            for tensor in self.real
        }

    def reached(self) -> dict[str, Array]:
        """[row, ...] float64: standard deviation of everything that is rounded on the way."""
        own = self.own()
        # Discrete values stay as they are: one that flips is another question than rounding.
        held = {
            tensor.name: self.free[tensor.name]
            for tensor in self.program.tensors
            if not tensor.is_real and not tensor.returned
        }
        disturbed = [tensor for tensor in self.real if not tensor.returned]
        spread = self._spread(
            self._answered(
                self.inputs,
                given=held,
                noise={one.name: self._noise(own[one.name]).astype(one.dtype) for one in disturbed},
            )
            for _ in range(DRAWS)
        )
        return {name: np.hypot(own[name], spread[name]) for name in own}

    def _answered(
        self,
        inputs: Mapping[str, Array],
        *,
        given: Mapping[str, Array],
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        names = [tensor.name for tensor in self.real]
        return self.program.run(inputs, record=names, given=given, noise=noise)

    def _spread(self, answers: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
        """[row, ...] root mean square over the draws, of one rounding; 0 where it is not finite."""
        squares = {one.name: np.zeros(self.free[one.name].shape) for one in self.real}
        for answered in answers:
            for name, total in squares.items():
                with np.errstate(invalid="ignore"):  # infinity - infinity
                    moved = np.subtract(answered[name], self.free[name], dtype=np.float64)
                    moved /= self.strength
                np.add(total, moved * moved, out=total, where=np.isfinite(moved))
        return {name: np.sqrt(total / DRAWS) for name, total in squares.items()}

    def _disturbed(self, values: Array, unit: float) -> Array:
        if values.dtype.kind != "f":
            return values
        factor = self.normal(values.shape) * np.float32(unit * self.strength) + np.float32(1.0)
        with np.errstate(over="ignore"):
            moved: Array = (values * factor).astype(values.dtype)
        return moved

    def _noise(self, spread: Array) -> Array:
        noise: Array = self.normal(spread.shape) * (self.strength * spread)
        return noise


class _Normal:
    """Standard normal float32 values: pieces of one pool, each from a place of its own.

    Drawing every value anew took half of the time of the whole measurement.
    """

    SIZE = 2**20

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.pool: Array = self.rng.standard_normal(self.SIZE, dtype=np.float32)

    def __call__(self, shape: Sequence[int]) -> Array:
        size = prod(shape)
        # A large piece would have little choice of place, and meet itself in the next draw.
        if size > self.SIZE // 4:
            return self.rng.standard_normal(shape, dtype=np.float32)
        start = int(self.rng.integers(self.SIZE - size))
        return self.pool[start : start + size].reshape(shape)


def _size(values: Array) -> Array:
    """[row, ...] float64 absolute values; 0 where one is not finite."""
    sizes = np.abs(values.astype(np.float64))
    return np.where(np.isfinite(sizes), sizes, 0.0)
