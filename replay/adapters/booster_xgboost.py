"""An XGBoost model by XGBoost itself: leaf ordinals, leaf values, and faults in its file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from replay.errors import ArtifactError
from replay.trace import Array

# Their margin is a log-odds, or (ranking) a score that a sigmoid keeps in order.
LOGISTIC = ("binary:logistic", "reg:logistic", "binary:logitraw")
RANKING = ("rank:pairwise", "rank:ndcg", "rank:map")


class XgboostModel:
    """As `replay.adapters.booster_trees.Library`."""

    scale = 1.0

    def __init__(self, data: bytes, *, where: str, threads: int) -> None:
        self._data, self._where, self._threads = data, where, threads
        self._booster = _loaded(data, where, threads)
        self._file = json.loads(bytes(self._booster.save_raw("json")))
        learner = self._file["learner"]
        _check(learner, data, where)
        width = int(learner["learner_model_param"]["num_feature"])
        self.feature_names = tuple(self._booster.feature_names or (f"f{i}" for i in range(width)))
        gradient = learner["gradient_booster"]
        trees = _trees(self._file)
        dropped = gradient.get("weight_drop") or [1.0] * len(trees)
        read: set[int] = set()
        self._ordinals = np.zeros(
            (len(trees), max(len(t["left_children"]) for t in trees)), np.int32
        )
        leaf_values = []
        for i, tree in enumerate(trees):
            left = np.array(tree["left_children"])
            nodes = np.flatnonzero((left < 0) & _present(tree))
            self._ordinals[i, nodes] = np.arange(len(nodes))
            values = np.array(tree["split_conditions"], np.float32)[nodes]
            leaf_values.append(values.astype(np.float64) * dropped[i])
            read |= set(np.array(tree["split_indices"])[(left >= 0) & _present(tree)].tolist())
        self.leaf_values: Sequence[NDArray[np.float64]] = leaf_values
        self.features_read = tuple(sorted(read))
        self.base = _base_margin(learner)

    def leaves(self, matrix: Array) -> Array:
        """[row, tree] int32, ordinals by rising node id."""
        nodes = self._booster.predict(self._rows(matrix), pred_leaf=True, strict_shape=True)
        ids = nodes.reshape(len(matrix), -1).astype(np.int64)
        ordinals: Array = self._ordinals[np.arange(ids.shape[1]), ids]
        return ordinals

    def margins(self, matrix: Array) -> Array:
        """[row] float32: XGBoost's sum."""
        found: Array = self._booster.predict(self._rows(matrix), output_margin=True)
        return found

    def with_threads(self, threads: int) -> XgboostModel:
        """The same model on so many threads."""
        return XgboostModel(self._data, where=self._where, threads=threads)

    def planted(self, kind: str) -> XgboostModel:
        """The model with every split changed."""
        model = json.loads(json.dumps(self._file))
        for tree in _trees(model):
            _CHANGES[kind](tree)
        changed = json.dumps(model).encode()
        return XgboostModel(changed, where=f"{self._where}, {kind}", threads=self._threads)

    def _rows(self, matrix: Array) -> xgboost.DMatrix:
        # Infinities take the way of the largest numbers, which a DMatrix accepts.
        largest = np.finfo(np.float32).max
        finite = np.where(np.isinf(matrix), np.copysign(largest, matrix), matrix)
        return xgboost.DMatrix(
            finite,
            nthread=self._threads,
            feature_names=self._booster.feature_names,
            feature_types=self._booster.feature_types,
            enable_categorical=True,
        )


def _loaded(data: bytes, where: str, threads: int) -> xgboost.Booster:
    try:
        return xgboost.Booster({"nthread": threads}, model_file=bytearray(data))
    except xgboost.core.XGBoostError as error:
        said = " ".join(str(error).split())[:300].rstrip(".")
        raise ArtifactError(
            f"XGBoost {xgboost.__version__} can not read the model: {said}.",
            where=where,
            fix="save it again as JSON or UBJSON, or install the version that wrote it",
        ) from error


def _check(learner: Any, data: bytes, where: str) -> None:
    """Refuse what has no single log-odds, and weights that this XGBoost leaves out in silence."""
    name = learner["objective"]["name"]
    if name not in LOGISTIC + RANKING:
        raise ArtifactError(
            f"the objective is {name!r}, whose margin is no log-odds of one event.",
            where=where,
            fix=f"name a model of one of {', '.join(LOGISTIC + RANKING)}",
        )
    if b"weight_drop" in data and "weight_drop" not in learner["gradient_booster"]:
        raise ArtifactError(
            f"the file holds DART weights that XGBoost {xgboost.__version__} leaves out in silence.",
            where=where,
            fix="install the XGBoost that wrote the file (3.4 or later)",
        )
    gradient = learner["gradient_booster"]
    if "model" not in (gradient.get("gbtree") or gradient) or gradient["name"] == "gblinear":
        raise ArtifactError(
            f"the booster is {gradient['name']!r}, which has no trees.",
            where=where,
            fix="name a model of gbtree or dart",
        )


def _trees(model: Any) -> Any:
    gradient = model["learner"]["gradient_booster"]
    return (gradient.get("gbtree") or gradient)["model"]["trees"]


def _present(tree: Any) -> NDArray[np.bool_]:
    """[node]: whether it is on a path from the root; pruning leaves others behind."""
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    held = np.zeros(len(left), bool)
    stack = [0]
    while stack:
        node = stack.pop()
        held[node] = True
        if left[node] >= 0:
            stack += [int(left[node]), int(right[node])]
    return held


def _base_margin(learner: Any) -> float:
    """In log-odds; files up to 3.0 hold one number, later ones a vector of one."""
    written = learner["learner_model_param"]["base_score"]
    base = float(np.float32(float(written.strip("[]").split(",")[0])))
    if learner["objective"]["name"] not in LOGISTIC[:2]:
        return base
    return float(np.float32(-math.log(1.0 / base - 1.0)))


def _threshold_le(tree: Any) -> None:
    for i, left in enumerate(tree["left_children"]):
        if left >= 0:
            threshold = np.float32(tree["split_conditions"][i])
            tree["split_conditions"][i] = float(np.nextafter(threshold, np.float32(np.inf)))


def _nan_direction(tree: Any) -> None:
    tree["default_left"] = [1 - int(way) for way in tree["default_left"]]


_CHANGES: dict[str, Callable[[Any], None]] = {
    "threshold_le": _threshold_le,
    "nan_direction": _nan_direction,
}
