"""From a margin to what the model predicts: each link in float64, and how far rounding carries through it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.checkpoint import Rounding
from replay.trace import Array

Wide = NDArray[np.float64]
_HALF_ULP_BELOW_ONE = 2.0**-25


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One way from margins to predictions.

    Attributes:
        of: Margins to predictions, both float64.
        unit: Of the margin.
        slope: The largest derivative; None where a prediction's own size is its derivative (exp).
        why: Where the bound of a prediction comes from.
    """

    of: Callable[[Wide], Wide]
    unit: str = "1"
    slope: float | None
    why: str

    def predicted(self, margins: Array) -> Array:
        """[candidate] float32: computed in float64, rounded once."""
        return self.of(margins.astype(np.float64)).astype(np.float32)

    def rounding(self, margin: Rounding) -> Rounding:
        """Of a prediction, from its margin's."""
        if self.slope is None:
            # Relative to the prediction; a float32 ulp is at least 2^-24 of its number.
            return Rounding(ulps=0.5 + 2.0**24 * margin.absolute, why=self.why)
        absolute = self.slope * margin.absolute + (_HALF_ULP_BELOW_ONE if self.slope < 1 else 0.0)
        return Rounding(ulps=0.5, absolute=absolute, why=self.why)


def sigmoid(margins: Array) -> Wide:
    """[candidate]: 1 / (1 + exp(-margin))."""
    wide = margins.astype(np.float64)
    with np.errstate(over="ignore"):  # exp(1000) is infinite, and 1 / infinity is 0
        small = np.exp(-np.abs(wide))
    return np.where(wide >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def _exponential(margins: Wide) -> Wide:
    with np.errstate(over="ignore"):  # as the libraries do: beyond the largest number is infinity
        return np.asarray(np.exp(margins))


def _as_it_is(margins: Wide) -> Wide:
    return margins


def _log_one_plus_exp(margins: Wide) -> Wide:
    return np.logaddexp(0.0, margins)


SIGMOID = Link(
    of=sigmoid,
    unit="log-odds",
    slope=0.25,
    why="a quarter of the logit's bound, and one rounding to float32",
)
IDENTITY = Link(of=_as_it_is, slope=1.0, why="the margin's own bound")
EXPONENTIAL = Link(
    of=_exponential, slope=None, why="the margin's bound, times the prediction, rounded once"
)
LOG_ONE_PLUS_EXP = Link(
    of=_log_one_plus_exp, slope=1.0, why="at most the margin's bound, rounded once"
)
