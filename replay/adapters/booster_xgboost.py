"""An XGBoost model by XGBoost itself: leaf ordinals, leaf values, and faults in its file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from replay.adapters.booster_objectives import XGBOOST, link_of
from replay.adapters.booster_trees import (
    SUM_FAULTS,
    Iterations,
    Library,
    Ordinals,
    Summed,
    check_iterations,
    no_threshold,
    summed,
)
from replay.adapters.links import EXPONENTIAL, Link
from replay.capabilities import TreeStructure
from replay.errors import ArtifactError
from replay.trace import Array

_LOGIT_BASE = ("binary:logistic", "reg:logistic")  # Their base_score is a probability.
CATEGORICAL = 1  # Of split_type.


class XgboostModel:
    """As `replay.adapters.booster_trees.Library`."""

    scale = 1.0
    own_link: Callable[[Array], Array] | None = None
    roundings = 1

    def __init__(
        self, data: bytes, *, where: str, threads: int, iterations: Iterations | None = None
    ) -> None:
        self._data, self._where, self._threads = data, where, threads
        self._iterations = iterations
        self._booster = _loaded(data, where, threads)
        self._file = json.loads(bytes(self._booster.save_raw("json")))
        self.link = _checked(self._file["learner"], data, where)
        if iterations is not None:
            check_iterations(iterations, self._booster.num_boosted_rounds(), where=where)
            self._booster = self._booster[iterations[0] : iterations[1]]
            self._booster.set_param({"nthread": threads})
            self._file = json.loads(bytes(self._booster.save_raw("json")))
        learner = self._file["learner"]
        width = int(learner["learner_model_param"]["num_feature"])
        self.feature_names = tuple(self._booster.feature_names or (f"f{i}" for i in range(width)))
        gradient = learner["gradient_booster"]
        trees = _trees(self._file)
        dropped = gradient.get("weight_drop") or [1.0] * len(trees)
        read: set[int] = set()
        leaf_values, leaf_nodes = [], []
        for i, tree in enumerate(trees):
            left = np.array(tree["left_children"])
            nodes = np.flatnonzero((left < 0) & _present(tree))
            leaf_nodes.append(nodes.astype(np.int32))
            values = np.array(tree["split_conditions"], np.float32)[nodes]
            leaf_values.append(values.astype(np.float64) * dropped[i])
            read |= set(np.array(tree["split_indices"])[(left >= 0) & _present(tree)].tolist())
        self._ordinals = Ordinals(leaf_nodes)
        self.leaf_values: Sequence[NDArray[np.float64]] = leaf_values
        self.features_read = tuple(sorted(read))
        self.base = _base_margin(learner)

    def leaves(self, matrix: Array) -> Array:
        """[row, tree] int32, ordinals by rising node id."""
        nodes = self._booster.predict(self._rows(matrix), pred_leaf=True, strict_shape=True)
        return self._ordinals.of(nodes.reshape(len(matrix), -1).astype(np.int64))

    def leaf_ids(self, leaves: Array) -> Array:
        """[row, tree] int32: node ids, as `pred_leaf` gives them."""
        return self._ordinals.ids(leaves)

    def margins(self, matrix: Array) -> Array:
        """[row] float32: XGBoost's sum."""
        found: Array = self._booster.predict(self._rows(matrix), output_margin=True)
        return found

    def margins_of(self, leaves: Array) -> Array:
        """[row] float64."""
        return summed(self, leaves)

    def structure(self) -> tuple[TreeStructure, ...]:
        """The trees as XGBoost holds them, nodes by rising id.

        Raises:
            ConfigError: A split is of categories.
        """
        return tuple(_structure(tree, self._where) for tree in _trees(self._file))

    def with_threads(self, threads: int) -> XgboostModel:
        """The same model on so many threads."""
        return XgboostModel(
            self._data, where=self._where, threads=threads, iterations=self._iterations
        )

    def planted(self, kind: str) -> Library:
        """The model with every split changed, or with a fault in its sum."""
        if kind in SUM_FAULTS:
            return Summed(self, kind)
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


def _checked(learner: Any, data: bytes, where: str) -> Link:
    """Refuse what has no single prediction, and weights that this XGBoost leaves out in silence."""
    sizes = learner["learner_model_param"]
    outputs = max(int(sizes.get("num_class", 0)), int(sizes.get("num_target", 1)), 1)
    quantiles = learner["objective"].get("quantile_loss_param", {}).get("quantile_alpha", "")
    link = link_of(
        learner["objective"]["name"],
        XGBOOST,
        outputs=max(outputs, quantiles.count(",") + 1),
        where=where,
    )
    if b"weight_drop" in data and "weight_drop" not in learner["gradient_booster"]:
        raise ArtifactError(
            f"the file holds DART weights that XGBoost {xgboost.__version__} leaves out in silence.",
            where=where,
            fix="install the XGBoost that wrote the file (3.3 or later)",
        )
    gradient = learner["gradient_booster"]
    if "model" not in (gradient.get("gbtree") or gradient) or gradient["name"] == "gblinear":
        raise ArtifactError(
            f"the booster is {gradient['name']!r}, which has no trees.",
            where=where,
            fix="name a model of gbtree or dart",
        )
    return link


def _structure(tree: Any, where: str) -> TreeStructure:
    """The nodes on a path from the root, numbered anew."""
    kept = np.flatnonzero(_present(tree))
    place = np.full(len(tree["left_children"]), -1, np.int32)
    place[kept] = np.arange(len(kept))
    left, right = (np.array(tree[f"{side}_children"])[kept] for side in ("left", "right"))
    is_leaf = left < 0
    kinds = np.array(tree.get("split_type") or np.zeros(len(place)))[kept]
    if (kinds[~is_leaf] == CATEGORICAL).any():
        raise no_threshold("it asks for categories", where=where)
    return TreeStructure(
        feature=np.where(is_leaf, -1, np.array(tree["split_indices"])[kept]).astype(np.int32),
        threshold=np.array(tree["split_conditions"], np.float32)[kept],
        left=np.where(is_leaf, -1, place[left]).astype(np.int32),
        right=np.where(is_leaf, -1, place[right]).astype(np.int32),
        default_left=np.array(tree["default_left"], bool)[kept] & ~is_leaf,
        leaf=np.where(is_leaf, np.cumsum(is_leaf) - 1, -1).astype(np.int32),
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
    """Before the link; files up to 3.0 hold one number, later ones a vector of one."""
    written = learner["learner_model_param"]["base_score"]
    base = np.float32(float(written.strip("[]").split(",")[0]))
    objective = learner["objective"]["name"]
    if objective in _LOGIT_BASE:  # XGBoost's logf of float32: what numpy's is an ulp away from.
        return float(np.float32(-math.log(np.float32(1.0) / base - np.float32(1.0))))
    return float(np.float32(math.log(base)) if XGBOOST[objective] is EXPONENTIAL else base)


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
