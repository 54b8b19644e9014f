"""A toy stack of one split, whose trees and leaves can be shown wrongly."""

from __future__ import annotations

import numpy as np

from replay.capabilities import TreeStructure
from replay.trace import Array
from tests.replay.engine.toy_stack import ToyStack


class TreeToy(ToyStack):
    def __init__(self, *, shows: str, gives: str) -> None:
        super().__init__(digest="sha256:0", weight=0.1, crash=(), hang=(), fail=(), calls=None)
        self._shows, self._gives = shows, gives

    def tree_features(self) -> tuple[str, ...]:
        return ("price",)

    def split_points(self) -> tuple[Array, ...]:
        points = (np.asarray([1.5], np.float32),)
        return points * 2 if self._shows == "more_points" else points

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        left = np.asarray([1, -1, -1], np.int32)
        return (
            TreeStructure(
                feature=np.asarray([0, -1, -1], np.int32),
                threshold=np.asarray([1.5, 0, 0], np.float32),
                left=left[:2] if self._shows == "short_array" else left,
                right=np.asarray([2, -1, -1], np.int32),
                default_left=np.ones(3, np.bool_),
                leaf=np.asarray([-1, 0, 1], np.int32),
            ),
        )

    def leaves(self, features: Array) -> Array:
        if self._gives == "nothing":
            raise ZeroDivisionError
        rows = features[1:] if self._gives == "a_row_less" else features
        right = (rows >= 1.5).astype(np.int64)
        if self._gives == "less_or_equal":
            right = (rows > 1.5).astype(np.int64)
        return right.astype(np.float64) if self._gives == "floats" else right


def open_stack(*, shows: str = "", gives: str = "") -> TreeToy:
    return TreeToy(shows=shows, gives=gives)
