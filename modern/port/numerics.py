"""The ported model once more: in float64, and backwards from the logit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from modern.port.legacy_artifact import LegacyArtifact
from replay.trace import Array

SUMS = ("regression.leaf_sum", "regression.category_sum")


def in_float64(
    artifact: LegacyArtifact, values: Mapping[str, Array], given: Mapping[str, Array], *, trees: int
) -> dict[str, NDArray[np.float64]]:
    """Sums, logit and pctr in float64, each from what is given, else from what stands before it.

    Args:
        artifact: The weights.
        values: `gbdt.leaves` [candidate, tree], and "columns" [candidate, discrete feature].
        given: Sums or a logit to go on with.
        trees: Trees that count, from the first.
    """
    regression = artifact.regression
    rows = regression.leaf_offsets[:-1][:trees] + values["gbdt.leaves"][:, :trees]
    found = {
        SUMS[0]: regression.leaf_weights.astype(np.float64)[rows].sum(axis=1),
        SUMS[1]: regression.category_weights.astype(np.float64)[values["columns"]].sum(axis=1),
    }
    used = {name: np.asarray(given.get(name, found[name]), np.float64) for name in SUMS}
    found["logit"] = float(regression.bias) + used[SUMS[0]] + used[SUMS[1]]
    logit = np.asarray(given.get("logit", found["logit"]), np.float64)
    calibrated = artifact.slope * logit + artifact.intercept
    found["pctr"] = 1.0 / (1.0 + np.exp(-calibrated))
    return found


def gradients_of(capture: Collection[str], weights: Array) -> dict[str, Array]:
    """The logit is a plain sum of its two sums; a leaf or a code has no slope."""
    slope = np.asarray(weights, np.float64)
    return {name: slope for name in (*SUMS, "logit") if name in capture}
