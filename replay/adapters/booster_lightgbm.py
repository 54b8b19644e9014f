"""A LightGBM model by LightGBM itself: leaf indices, leaf values, and faults in its file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import lightgbm
import numpy as np
from numpy.typing import NDArray

from replay.adapters.booster_objectives import LIGHTGBM, link_of
from replay.adapters.booster_trees import (
    SUM_FAULTS,
    Iterations,
    Library,
    Summed,
    check_iterations,
    no_threshold,
    summed,
)
from replay.adapters.links import Link
from replay.capabilities import TreeStructure
from replay.errors import ArtifactError
from replay.trace import Array

_CHILDREN = "left_child", "right_child"
_CATEGORICAL, _DEFAULT_LEFT = 1, 2  # Bits of decision_type; above them the kind of missing values.
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2
_ZERO = np.float32(1e-35)  # LightGBM's kZeroThreshold: what is not farther from zero is zero.


class LightgbmModel:
    """As `replay.adapters.booster_trees.Library`; what a margin starts from is in the first tree."""

    base = 0.0
    own_link: Callable[[Array], Array] | None = None
    roundings = 1

    def __init__(
        self, data: bytes, *, where: str, threads: int, iterations: Iterations | None = None
    ) -> None:
        self._booster = _loaded(data, where)
        if iterations is not None:
            check_iterations(iterations, self._booster.current_iteration(), where=where)
            first, end = iterations
            data = self._booster.model_to_string(end - first, first).encode()
            self._booster = _loaded(data, where)
        self._data, self._where, self._threads = data, where, threads
        self.link, self.scale = _checked(data, where)
        self.feature_names = tuple(self._booster.feature_name())
        text = data.decode()
        read = re.findall(r"^split_feature=(.*)$", text, flags=re.MULTILINE)
        self.features_read = tuple(sorted({int(i) for line in read for i in line.split()}))
        lines = re.findall(r"^leaf_value=(.*)$", text, flags=re.MULTILINE)
        # A random forest's margin is the mean of its trees.
        averaged = re.search(r"^average_output$", text, flags=re.MULTILINE) is not None
        self._share = 1 / len(lines) if averaged else 1.0
        self.leaf_values: Sequence[NDArray[np.float64]] = [
            np.array(line.split(), np.float64) * self._share for line in lines
        ]

    def leaves(self, matrix: Array) -> Array:
        """[row, tree] int32, LightGBM's leaf indices."""
        return self._predicted(matrix, pred_leaf=True).reshape(len(matrix), -1).astype(np.int32)

    def leaf_ids(self, leaves: Array) -> Array:
        """[row, tree] int32: leaves' indices, as `pred_leaf` gives them."""
        return leaves

    def margins(self, matrix: Array) -> Array:
        """[row] float64: LightGBM's sum; its raw score of a forest is not divided yet."""
        found: Array = self._predicted(matrix, raw_score=True) * self._share
        return found

    def margins_of(self, leaves: Array) -> Array:
        """[row] float64."""
        return summed(self, leaves)

    def structure(self) -> tuple[TreeStructure, ...]:
        """The trees as the file has them, inner nodes before leaves; `x <= t` as `x < the next`.

        Raises:
            ConfigError: A split is of categories, or takes zero for a missing value.
        """
        blocks = self._data.decode().split("\nTree=")[1:]
        return tuple(_structure(block, self._where) for block in blocks)

    def with_threads(self, threads: int) -> LightgbmModel:
        """The same model on so many threads."""
        return LightgbmModel(self._data, where=self._where, threads=threads)

    def planted(self, kind: str) -> Library:
        """The model with every numeric split changed, or with a fault in its sum."""
        if kind in SUM_FAULTS:
            return Summed(self, kind)
        changed = _CHANGES[kind](self._data.decode()).encode()
        return LightgbmModel(changed, where=f"{self._where}, {kind}", threads=self._threads)

    def _predicted(self, matrix: Array, **kind: bool) -> Array:
        return np.asarray(self._booster.predict(matrix, num_threads=self._threads, **kind))


def _loaded(data: bytes, where: str) -> lightgbm.Booster:
    try:
        return lightgbm.Booster(model_str=data.decode())
    except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"LightGBM {lightgbm.__version__} can not read the model: {error}.",
            where=where,
            fix="save it again with save_model",
        ) from error


def _checked(data: bytes, where: str) -> tuple[Link, float]:
    """The link, and how many log-odds a margin is; refuses what has no single prediction."""
    found = re.search(rb"^objective=(\S+)(.*)$", data, flags=re.MULTILINE)
    outputs = re.search(rb"^num_tree_per_iteration=(\d+)$", data, flags=re.MULTILINE)
    name = found[1].decode() if found else ""
    parameters = found[2] if found else b""
    if b"sqrt" in parameters.split():
        name += " sqrt"  # Its prediction is the margin's square.
    link = link_of(name, LIGHTGBM, outputs=int(outputs[1]) if outputs else 1, where=where)
    steep = re.search(rb"sigmoid:(\S+)", parameters)
    return link, float(steep[1]) if steep and name == "binary" else 1.0


def _structure(block: str, where: str) -> TreeStructure:
    """One tree, from its lines."""
    lines = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    leaves = int(lines["num_leaves"])
    inner = leaves - 1

    def part(name: str, dtype: type) -> Array:
        values = np.array(lines.get(name, "").split()[:inner], np.float64)
        return np.concatenate([values, np.full(leaves, -1.0)]).astype(dtype)

    kinds = part("decision_type", np.int64)
    missing = kinds >> 2
    is_leaf = np.arange(inner + leaves) >= inner
    if (kinds[:inner] & _CATEGORICAL).any():
        raise no_threshold("it asks for categories", where=where)
    if (missing[:inner] == _ZERO_IS_MISSING).any():
        raise no_threshold("it takes zero for a missing value", where=where)
    thresholds = part("threshold", np.float64)
    # Where NaN is not missing it counts as zero.
    missing_left = np.where(missing == _NAN_IS_MISSING, kinds & _DEFAULT_LEFT, thresholds >= 0) != 0
    left, right = (np.where(c < 0, inner + ~c, c) for c in map(part, _CHILDREN, (np.int64,) * 2))
    # All numbers are left of infinity, itself among them: none is below -infinity, right is left.
    turned = np.isposinf(thresholds)
    return TreeStructure(
        feature=np.where(is_leaf, -1, part("split_feature", np.int32)).astype(np.int32),
        threshold=np.where(turned, np.float32(-np.inf), _less_than(thresholds)),
        left=np.where(is_leaf, -1, np.where(turned, right, left)).astype(np.int32),
        right=np.where(is_leaf, -1, np.where(turned, left, right)).astype(np.int32),
        default_left=(missing_left ^ turned) & ~is_leaf,
        leaf=np.where(is_leaf, np.arange(inner + leaves) - inner, -1).astype(np.int32),
    )


def _less_than(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The float32 t for which `x < t` is `x <= threshold` in float64, for every float32 x."""
    wide = np.where((thresholds >= 0) & (thresholds < _ZERO), np.float64(_ZERO), thresholds)
    with np.errstate(over="ignore"):  # beyond the largest float32 there is infinity
        near = wide.astype(np.float32)
    infinity = np.float32(np.inf)
    below = np.where(near.astype(np.float64) > wide, np.nextafter(near, -infinity), near)
    found = np.nextafter(below.astype(np.float32), infinity)
    # Zero is right of a negative threshold so near to it that what lies between counts as zero.
    return np.where((wide < 0) & (wide >= -np.float64(_ZERO)), -_ZERO, found).astype(np.float32)


def _threshold_le(text: str) -> str:
    """LightGBM's splits are x <= t: here x < t."""

    def lowered(line: re.Match[str]) -> str:
        values = np.nextafter(np.array(line[1].split(), np.float64).astype(np.float32), -np.inf)
        return "threshold=" + " ".join(repr(float(value)) for value in values)

    return re.sub(r"^threshold=(.*)$", lowered, _unsized(text), flags=re.MULTILINE)


def _nan_direction(text: str) -> str:
    """Bit 1 of a split's decision says whether a missing value goes left."""

    def turned(line: re.Match[str]) -> str:
        types = [int(word) for word in line[1].split()]
        return "decision_type=" + " ".join(str(t if t & 1 else t ^ 2) for t in types)

    return re.sub(r"^decision_type=(.*)$", turned, _unsized(text), flags=re.MULTILINE)


def _unsized(text: str) -> str:
    """Without the trees' sizes in bytes, which a change would make wrong."""
    return re.sub(r"^tree_sizes=.*\n", "", text, flags=re.MULTILINE)


_CHANGES: dict[str, Callable[[str], str]] = {
    "threshold_le": _threshold_le,
    "nan_direction": _nan_direction,
}
