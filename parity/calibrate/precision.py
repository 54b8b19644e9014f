"""How coarse arithmetic is: fp32, fp16, bf16 and int8, as the disturbance of one rounding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from replay.trace import Array

# Disturbed by as much as 2^12 roundings of float32, the answer divided by as much: a single one
# would itself be rounded away. Coarser types are disturbed by one of theirs.
_FINE = 2.0**-12
# An eight-bit step is 1/127 of the largest value; rounding to steps errs by 1/sqrt(12) of one.
_INT8_STEP = 1.0 / 127.0 / np.sqrt(12.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What a side computes in.

    Attributes:
        name: "fp32", "fp16", "bf16" or "int8".
        unit: Relative size of one rounding; for int8 of the largest value of a tensor.
        relative_to: What `unit` is relative to: each "value" itself, or the "largest" one.
    """

    name: str
    unit: float
    relative_to: str = "value"

    @property
    def strength(self) -> float:
        """How many roundings one disturbance is worth."""
        return max(1.0, _FINE / self.unit) if self.relative_to == "value" else 1.0

    @property
    def is_narrow(self) -> bool:
        """Whether it is coarser than what both sides declare, which is float32's."""
        return self.name != "fp32"

    def rounding(self, values: Array) -> Array:
        """[row, ...] float64: the size of one rounding of each value; 0 where it is not finite."""
        sizes = np.abs(values.astype(np.float64))
        sizes = np.where(np.isfinite(sizes), sizes, 0.0)
        if self.relative_to == "largest":
            return np.full(sizes.shape, self.unit * sizes.max(initial=0.0))
        scaled: Array = self.unit * sizes
        return scaled

    def disturbed(self, values: Array, rng: np.random.Generator) -> Array:
        """The values, each moved by `strength` roundings; what is discrete stays as it is."""
        if values.dtype.kind != "f":
            return values
        by = rng.standard_normal(values.shape) * (self.strength * self.rounding(values))
        with np.errstate(invalid="ignore", over="ignore"):  # infinities stay what they are
            moved: Array = (values + by).astype(values.dtype)
        return moved


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        one.name: one
        for one in (
            Precision(name="fp32", unit=2.0**-24),
            Precision(name="fp16", unit=2.0**-11),
            Precision(name="bf16", unit=2.0**-8),
            Precision(name="int8", unit=float(_INT8_STEP), relative_to="largest"),
        )
    }
)
