"""What stacks that show their trees have in common: the matrix they read, thresholds by column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from replay.capabilities import TreeStructure
from replay.errors import StackError
from replay.trace import Array


def checked_matrix(features: Array, columns: int, *, stack: str) -> Array:
    """The matrix, C-ordered.

    Raises:
        StackError: It is not float32 [row, column].
    """
    if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != columns:
        raise StackError(
            f"the matrix is {features.dtype}{list(features.shape)}, not float32[row, {columns}].",
            where=f"stack {stack!r}, leaves",
            fix="give one column for each of tree_features()",
        )
    return np.ascontiguousarray(features)


def split_points_of(trees: Sequence[TreeStructure], columns: int) -> tuple[Array, ...]:
    """Per column, the thresholds of its splits, ascending, each once."""
    features = np.concatenate([tree.feature for tree in trees])
    thresholds = np.concatenate([tree.threshold for tree in trees])
    return tuple(np.unique(thresholds[features == place]) for place in range(columns))
