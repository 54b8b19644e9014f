"""Corrections of p-values for how many were tried: the more one looks, the more one finds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.judge.policy import Correction


def corrected(p_values: NDArray[np.float64], method: Correction) -> NDArray[np.float64]:
    """[test]: p-values that may be compared with a level as if each stood alone.

    "holm" keeps the chance of one or more false findings below the level, however the tests hang
    together, so it is what a verdict may rest on. "benjamini_hochberg" keeps the expected share of
    false ones among the findings below it, where the tests do not oppose each other.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure"; Benjamini and
    Hochberg 1995, "Controlling the false discovery rate".
    """
    number = len(p_values)
    order = np.argsort(p_values, kind="stable")
    ordered = p_values[order]
    ranks = np.arange(1, number + 1)
    if method == "holm":
        found = np.maximum.accumulate(ordered * (number - ranks + 1))
    else:
        found = np.minimum.accumulate((ordered * number / ranks)[::-1])[::-1]
    result = np.empty(number)
    result[order] = np.minimum(found, 1.0)
    return result
