"""A LightGBM model by LightGBM itself: leaf indices, leaf values, and faults in its file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import lightgbm
import numpy as np
from numpy.typing import NDArray

from replay.errors import ArtifactError
from replay.trace import Array

LOGISTIC = ("binary", "cross_entropy")
RANKING = ("lambdarank", "rank_xendcg")


class LightgbmModel:
    """As `replay.adapters.booster_trees.Library`; what a margin starts from is in the first tree."""

    base = 0.0

    def __init__(self, data: bytes, *, where: str, threads: int) -> None:
        self._data, self._where, self._threads = data, where, threads
        self._booster = _loaded(data, where)
        self.scale = _steepness(data, where)
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

    def margins(self, matrix: Array) -> Array:
        """[row] float64: LightGBM's sum; its raw score of a forest is not divided yet."""
        found: Array = self._predicted(matrix, raw_score=True) * self._share
        return found

    def with_threads(self, threads: int) -> LightgbmModel:
        """The same model on so many threads."""
        return LightgbmModel(self._data, where=self._where, threads=threads)

    def planted(self, kind: str) -> LightgbmModel:
        """The model with every numeric split changed."""
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


def _steepness(data: bytes, where: str) -> float:
    """How many log-odds a margin is; refuses what has no single log-odds."""
    found = re.search(rb"^objective=(\S+)(.*)$", data, flags=re.MULTILINE)
    name = found[1].decode() if found else "one of your own"
    if found is None or name not in LOGISTIC + RANKING:
        raise ArtifactError(
            f"the objective is {name!r}, whose margin is no log-odds of one event.",
            where=where,
            fix=f"name a model of one of {', '.join(LOGISTIC + RANKING)}",
        )
    steep = re.search(rb"sigmoid:(\S+)", found[2])
    return float(steep[1]) if steep and name == "binary" else 1.0


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
