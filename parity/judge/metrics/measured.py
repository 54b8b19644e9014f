"""One metric as it was measured, before a policy judges it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def _none() -> Values:
    return np.zeros(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Both sides' figure, and its difference on each resample of the requests.

    Attributes:
        differences: [resample], challenger - reference; NaN where undefined.
        note: What it rests on, or why it is unknown.
        unknown: Whether it could not be measured at all.
    """

    name: str
    note: str
    reference: float = math.nan
    challenger: float = math.nan
    differences: Values = field(default_factory=_none)

    @property
    def unknown(self) -> bool:
        return len(self.differences) == 0
