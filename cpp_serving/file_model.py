"""A bare model file in C++, one step at a time: leaves, the margin of given leaves, the prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cpp_serving._core import TreeSteps
from replay.adapters.booster_objectives import LIGHTGBM, XGBOOST, link_of
from replay.adapters.booster_trees import Iterations, Ordinals, no_threshold
from replay.capabilities import TreeStructure
from replay.trace import Array


class FileModel:
    """As `replay.adapters.booster_trees.Library`."""

    # LightGBM's leaf values (float64 in its file) or DART's weighted ones; their sum; with the
    # base; as log-odds.
    roundings = 4

    def __init__(
        self,
        data: bytes,
        *,
        where: str,
        threads: int,
        kernel: str = "auto",
        iterations: Iterations | None = None,
        faults: tuple[str, ...] = (),
    ) -> None:
        self._data, self._where, self._threads = data, where, threads
        self._kernel, self._iterations, self._faults = kernel, iterations, faults
        self._steps = steps = TreeSteps(
            data, where, iterations=iterations, faults=faults, kernel=kernel, threads=threads
        )
        known = XGBOOST if steps.library == "xgboost" else LIGHTGBM
        self.link = link_of(steps.objective, known, outputs=steps.num_outputs, where=where)
        names = steps.feature_names or [f"f{place}" for place in range(steps.num_features)]
        self.feature_names = tuple(names)
        self._trees, self._columns = steps.trees(), steps.columns()
        columns = np.unique(np.concatenate([own for own, *_ in self._trees]))
        self._read = [int(column) for column in columns if column >= 0]
        self.features_read = tuple(sorted({self._columns[c][0] for c in self._read}))
        self._ordinals = Ordinals([ids for *_, ids, _ in self._trees])
        self._share = 1 / len(self._trees) if steps.averaged else 1.0
        self.leaf_values: Sequence[NDArray[np.float64]] = [
            weights[np.argsort(ids)].astype(np.float64) * self._share
            for *_, ids, weights in self._trees
        ]
        self.base = steps.base_margins[0]
        is_binary = steps.objective == "binary"
        self.scale = steps.steepness if is_binary else 1.0
        # The scorer's link takes margins: the logit itself, where nothing lies between.
        as_it_is = self.scale == self._share == 1.0 and steps.objective in _OWN_LINK
        self.own_link: Callable[[Array], Array] | None = self._predicted if as_it_is else None

    def leaves(self, matrix: Array) -> Array:
        """[row, tree] int32, ordinals by rising node id or leaf index."""
        return self._ordinals.of(self._steps.leaves(matrix))

    def leaf_ids(self, leaves: Array) -> Array:
        """[row, tree] int32: node ids or leaf indices."""
        return self._ordinals.ids(leaves)

    def margins(self, matrix: Array) -> Array:
        """[row]: the scorer's sum, of a random forest its mean."""
        return self._mean(self._steps.margins(matrix))

    def margins_of(self, leaves: Array) -> Array:
        """[row]: the same bits from leaves, by the scorer's own sum."""
        return self._mean(self._steps.margins_of_leaves(self._ordinals.ids(leaves)))

    def structure(self) -> tuple[TreeStructure, ...]:
        """The trees that the kernels are compiled from.

        Raises:
            ConfigError: A split is of categories, or takes zero for a missing value.
        """
        for kind in sorted({self._columns[c][1] for c in self._read}):
            if kind != "value":
                said = "takes zero for a missing value" if "zero" in kind else "asks for categories"
                raise no_threshold(f"it {said}", where=self._where)
        features = np.array([feature for feature, _ in self._columns] or [-1], np.int32)
        return tuple(_structure(tree, features) for tree in self._trees)

    def planted(self, kind: str) -> FileModel:
        """The model with one more fault in what was read."""
        return self._again(threads=self._threads, faults=(*self._faults, kind))

    def with_threads(self, threads: int) -> FileModel:
        """The same model on so many threads."""
        return self._again(threads=threads, faults=self._faults)

    def _again(self, *, threads: int, faults: tuple[str, ...]) -> FileModel:
        return FileModel(
            self._data,
            where=self._where,
            threads=threads,
            kernel=self._kernel,
            iterations=self._iterations,
            faults=faults,
        )

    def _mean(self, sums: Array) -> Array:
        if self._share == 1.0:
            return sums
        return (sums.astype(np.float64) / len(self._trees)).astype(np.float32)

    def _predicted(self, margins: Array) -> Array:
        return self._steps.scores_of_margins(np.ascontiguousarray(margins))


# Objectives whose prediction by the library is the stack's pctr; others' margins are log-odds, or
# scores of a ranking, of which the library makes no probability.
_OWN_LINK = frozenset({*XGBOOST, *LIGHTGBM}) - {
    "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map", "lambdarank", "rank_xendcg",
}  # fmt: skip


def _structure(tree: tuple[Array, ...], features: Array) -> TreeStructure:
    columns, thresholds, left, missing_left, leaf_nodes, ids, _ = tree
    leaf = np.full(len(columns), -1, np.int32)
    leaf[leaf_nodes] = np.argsort(np.argsort(ids))
    return TreeStructure(
        feature=np.where(columns < 0, -1, features[columns]).astype(np.int32),
        threshold=thresholds,
        left=left,
        right=np.where(left < 0, -1, left + 1).astype(np.int32),
        default_left=missing_left.astype(bool),
        leaf=leaf,
    )
