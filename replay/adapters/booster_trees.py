"""A trained booster as two steps, trees and their sum, whichever code reads the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from replay.adapters.links import Link
from replay.adapters.program import Program, Tensor
from replay.capabilities import Fault, TreeStructure
from replay.checkpoint import Rounding
from replay.errors import ConfigError, StackError
from replay.trace import EMPTY, Array

LEAVES, MARGIN = "gbdt.leaves", "return"
_U32 = 2.0**-24  # unit roundoff of float32
SCALE = 1.01  # Far beyond rounding, far below what a metric would notice.


Iterations = tuple[int, int]  # First and end.


class Library(Protocol):
    """One model, opened by the library that trained it or by another that reads its file.

    Attributes:
        feature_names: In the order of the matrix's columns.
        features_read: Places of the columns that some split reads.
        leaf_values: float64, by tree and ordinal of the leaf.
        base: What a margin has before its trees.
        scale: The logit is this many margins.
        link: From the logit to the prediction.
        own_link: The library's own code for it, where it can be called; float32 to float32.
        roundings: To float32, on the way from leaves to the logit.
    """

    feature_names: tuple[str, ...]
    features_read: tuple[int, ...]
    leaf_values: Sequence[NDArray[np.float64]]
    base: float
    scale: float
    link: Link
    own_link: Callable[[Array], Array] | None
    roundings: int

    def leaves(self, matrix: Array) -> Array:
        """[row, tree] int32, ordinals within the tree, of a float32 [row, column] matrix."""
        ...

    def leaf_ids(self, leaves: Array) -> Array:
        """[row, tree] int32, ordinals as the ids by which the library itself tells leaves."""
        ...

    def margins(self, matrix: Array) -> Array:
        """[row], the library's own sum."""
        ...

    def margins_of(self, leaves: Array) -> Array:
        """[row], the sum of given leaves: the library's own where it can carry on from them."""
        ...

    def structure(self) -> tuple[TreeStructure, ...]:
        """The trees that `leaves` walks.

        Raises:
            ConfigError: A split is no threshold.
        """
        ...

    def planted(self, kind: str) -> Library:
        """The model with one of the faults of `TREE_FAULTS` or `SUM_FAULTS`."""
        ...

    def with_threads(self, threads: int) -> Library: ...


class TreeProgram(Program, Protocol):
    """A program whose first step are trees."""

    @property
    def library(self) -> Library: ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The features in the order of the trees' columns."""
        ...


def summed(library: Library, leaves: Array) -> NDArray[np.float64]:
    """[row], the base and each tree's leaf, added in float64."""
    total = np.full(len(leaves), library.base, np.float64)
    for tree, values in enumerate(library.leaf_values):
        total += values[leaves[:, tree]]
    return total


class Ordinals:
    """Leaf ids of a library, per tree, as ordinals by rising id; and back."""

    def __init__(self, ids: Sequence[NDArray[np.int32]]) -> None:
        self._ids = [np.sort(own) for own in ids]
        self._ordinals = np.zeros((len(ids), max(int(own.max()) for own in ids) + 1), np.int32)
        for tree, own in enumerate(self._ids):
            self._ordinals[tree, own] = np.arange(len(own))

    def of(self, ids: Array) -> Array:
        """[row, tree] int32."""
        found: Array = self._ordinals[np.arange(ids.shape[1]), ids]
        return found

    def ids(self, ordinals: Array) -> Array:
        """[row, tree] int32: the inverse of `of`."""
        columns = [own[ordinals[:, tree]] for tree, own in enumerate(self._ids)]
        return np.ascontiguousarray(np.stack(columns, axis=1), np.int32)


def check_iterations(iterations: Iterations, count: int, *, where: str) -> None:
    """Refuse a range of boosting iterations that a model does not have."""
    if iterations[1] > count:
        raise ConfigError(
            f"iterations {iterations[0]} to {iterations[1]} are asked for, and there are {count}.",
            where=f"{where}, the option 'iterations'",
            fix=f"give an end of at most {count}",
        )


def no_threshold(split: str, *, where: str) -> ConfigError:
    """The refusal to show a split that is no threshold."""
    return ConfigError(
        f"the model has a split that is no threshold: {split}.",
        where=where,
        fix="compare it on logged requests (parity replay): a proof walks thresholds alone",
    )


TREE_FAULTS = {
    "threshold_le": "a value equal to a threshold goes to the other side",
    "nan_direction": "missing values go to the other child at every split",
}
SUM_FAULTS = {
    "tree_limit": "the last tree does not count",
    "weight_scale": "the first tree's leaves are 1.01 times as large",
    "bias_dropped": "the base score is left out",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class BoosterProgram:
    """`replay.adapters.program.Program` of a booster: leaves, then the logit.

    XGBoost and LightGBM show no way to carry on from given leaves: there the logit is the float64
    sum of the base and of each tree's leaf, rounded once.

    Attributes:
        library: The opened model.
        inputs: Names of the inputs, in the order in which their columns make up the matrix.
        names: What those columns are called.
        order: Place among those of each of the model's columns.
        wide: Whether the logit is left in float64.
    """

    library: Library = field(repr=False)
    inputs: tuple[str, ...]
    names: tuple[str, ...]
    order: tuple[int, ...]
    wide: bool = False
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The features in the order of the model's columns."""
        return tuple(self.names[place] for place in self.order)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The leaves of all trees, and the logit."""
        trees = len(self.library.leaf_values)
        return (
            Tensor(
                name=LEAVES, shape=(trees,), dtype="int32", unit=0.0, after=(),
                inputs=self.inputs, stage="tree", axes=("tree",),
            ),
            Tensor(
                name=MARGIN, shape=(), dtype="float32", unit=_U32, after=(LEAVES,), inputs=(),
                terms=trees + 1, returned=True,
            ),
        )  # fmt: skip

    def features_read(self) -> tuple[str, ...]:
        """The features that some split reads, in the inputs' order."""
        read = {self.order[column] for column in self.library.features_read}
        return tuple(f"features.{self.names[place]}" for place in sorted(read))

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        record: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """As `Program.run`; noise reaches the logit alone, of which nothing is computed."""
        del noise
        found: dict[str, Array] = {}
        if LEAVES in record or LEAVES not in given:
            found[LEAVES] = self.library.leaves(self._matrix(inputs))
        if MARGIN in record:
            found[MARGIN] = self._logit(given.get(LEAVES, found.get(LEAVES)))
        return {name: found[name] for name in record}

    def run_bare(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The library's own margins, times the model's steepness."""
        margins = self.library.margins(self._matrix(inputs)).astype(np.float64)
        return {MARGIN: (self.library.scale * margins).astype(np.float32)}

    def in_float64(self) -> BoosterProgram:
        """The same leaves, their sum left in float64."""
        return replace(self, wide=True)

    def with_threads(self, threads: int) -> BoosterProgram:
        """The same model on so many of its library's threads."""
        return replace(self, library=self.library.with_threads(threads))

    def faults(self) -> tuple[Fault, ...]:
        """Faults of the splits at the leaves, faults of the sum at the logit."""
        sums = dict(SUM_FAULTS)
        if len(self.library.leaf_values) < 2:  # A model without any tree is none.
            del sums["tree_limit"]
        if self.library.base == 0.0:
            del sums["bias_dropped"]
        return tuple(
            Fault(kind=kind, checkpoint=at, where="artifact", says=says)
            for at, kinds in ((LEAVES, TREE_FAULTS), (MARGIN, sums))
            for kind, says in kinds.items()
        )

    def planted(self, fault: Fault) -> BoosterProgram:
        """A copy with one of its faults in it."""
        return replace(self, library=self.library.planted(fault.kind))

    def weights(self) -> dict[str, Array]:
        """Leaf values, one tree after another."""
        values = np.concatenate(self.library.leaf_values).astype(np.float32)
        return {"leaf_weights": values, "bias": np.array(self.library.base, np.float32)}

    def configuration(self) -> dict[str, str]:
        """How many trees there are."""
        return {"num_trees": str(len(self.library.leaf_values))}

    def rounding(self) -> Rounding:
        """How far the logit may be from the exact sum, given the leaves."""
        library = self.library
        largest = abs(library.base) + sum(float(np.abs(tree).max()) for tree in library.leaf_values)
        terms = len(library.leaf_values) + 1
        bound = (library.roundings * _U32 + terms * 2.0**-53) * library.scale * largest
        times = "once" if library.roundings == 1 else f"{library.roundings} times"
        why = f"rounded {times} to float32: 2^-24 x the largest possible sum {largest:.6g} each"
        return Rounding(absolute=bound, terms=terms, why=why)

    def _matrix(self, inputs: Mapping[str, Array]) -> Array:
        """[row, column] float32, in the model's order."""
        columns = [inputs[name].reshape(len(inputs[name]), -1) for name in self.inputs]
        joined = np.concatenate([column.astype(np.float32) for column in columns], axis=1)
        return np.ascontiguousarray(joined[:, list(self.order)])

    def _logit(self, leaves: Array | None) -> Array:
        assert leaves is not None, "given, or found before"
        for tree, values in enumerate(self.library.leaf_values):
            own = leaves[:, tree]
            if len(own) and not (own.min() >= 0 and own.max() < len(values)):
                raise StackError(
                    f"a given leaf of tree {tree} is none of its {len(values)}.",
                    where=LEAVES,
                    fix="compare boosters of the same trees; a model of another training has other "
                    "leaves: leave gbdt.* out in a plan of outputs: statistical",
                )
        if self.wide:
            return self.library.scale * summed(self.library, leaves)
        margins = self.library.margins_of(leaves).astype(np.float64)
        return np.asarray(self.library.scale * margins).astype(np.float32)


class Summed:
    """A library whose trees are as they were, and whose sum has one of `SUM_FAULTS`."""

    def __init__(self, library: Library, kind: str) -> None:
        self.feature_names = library.feature_names
        self.features_read = library.features_read
        self.base, self.scale = library.base, library.scale
        self.link, self.own_link = library.link, library.own_link
        self.roundings = library.roundings
        values = list(library.leaf_values)
        if kind == "tree_limit":
            values[-1] = np.zeros_like(values[-1])
        elif kind == "weight_scale":
            values[0] = values[0] * SCALE
        else:
            self.base = 0.0
        self.leaf_values: Sequence[NDArray[np.float64]] = values
        self._library, self._kind = library, kind
        self.leaves, self.margins = library.leaves, library.margins
        self.structure, self.leaf_ids = library.structure, library.leaf_ids

    def margins_of(self, leaves: Array) -> Array:
        return summed(self, leaves)

    def planted(self, kind: str) -> Library:
        return Summed(self._library.planted(kind), self._kind)

    def with_threads(self, threads: int) -> Library:
        return Summed(self._library.with_threads(threads), self._kind)
