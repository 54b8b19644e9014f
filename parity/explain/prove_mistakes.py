"""Known mistakes of tree code, as walks of their own: one that predicts every leaf explains it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.explain.prove_trees import GoesLeft

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A way to walk a tree that is not the contract's."""

    says: str
    goes_left: GoesLeft


def _inclusive(values: Floats, thresholds: Floats, default_left: Bools) -> Bools:
    return np.where(np.isnan(values), default_left, values <= thresholds)


def _decimals(values: Floats, thresholds: Floats, default_left: Bools) -> Bools:
    # A file spells a float32 with the fewest digits that give it back, as str does.
    distinct, which = np.unique(thresholds, return_inverse=True)
    spelled = np.asarray([float(str(threshold)) for threshold in distinct], np.float64)[which]
    return np.where(np.isnan(values), default_left, values.astype(np.float64) < spelled)


def _missing_other_way(values: Floats, thresholds: Floats, default_left: Bools) -> Bools:
    return np.where(np.isnan(values), ~default_left, values < thresholds)


def _missing_right(values: Floats, thresholds: Floats, _: Bools) -> Bools:
    return values < thresholds


def _missing_left(values: Floats, thresholds: Floats, _: Bools) -> Bools:
    return ~(values >= thresholds)


def _missing_is_zero(values: Floats, thresholds: Floats, _: Bools) -> Bools:
    return np.where(np.isnan(values), np.float32(0), values) < thresholds


def _zero_is_missing(values: Floats, thresholds: Floats, default_left: Bools) -> Bools:
    return np.where(np.isnan(values) | (values == 0), default_left, values < thresholds)


def _infinity_is_missing(values: Floats, thresholds: Floats, default_left: Bools) -> Bools:
    return np.where(np.isfinite(values), values < thresholds, default_left)


def _sides_swapped(values: Floats, thresholds: Floats, default_left: Bools) -> Bools:
    return np.where(np.isnan(values), ~default_left, values >= thresholds)


# The most common first: where two predict the same, the first is named.
MISTAKES = (
    Mistake(says="x <= threshold goes left, where x < threshold should", goes_left=_inclusive),
    Mistake(
        says="thresholds are compared as their decimals in float64, not rounded to float32",
        goes_left=_decimals,
    ),
    Mistake(
        says="a missing value goes against each node's default direction",
        goes_left=_missing_other_way,
    ),
    Mistake(says="a missing value always goes right", goes_left=_missing_right),
    Mistake(says="a missing value always goes left", goes_left=_missing_left),
    Mistake(says="a missing value is taken for 0", goes_left=_missing_is_zero),
    Mistake(says="0 is taken for a missing value", goes_left=_zero_is_missing),
    Mistake(says="an infinity is taken for a missing value", goes_left=_infinity_is_missing),
    Mistake(says="every split's sides are swapped", goes_left=_sides_swapped),
)
