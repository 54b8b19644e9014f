"""A trained booster as two steps, trees and their sum, whichever library reads the file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from replay.adapters.program import Tensor
from replay.capabilities import Fault
from replay.checkpoint import Rounding
from replay.errors import StackError
from replay.trace import EMPTY, Array

LEAVES, MARGIN = "gbdt.leaves", "return"
_U32 = 2.0**-24  # unit roundoff of float32
SCALE = 1.01  # Far beyond rounding, far below what a metric would notice.


class Library(Protocol):
    """One model, opened by the library that trained it.

    Attributes:
        feature_names: In the order of the matrix's columns.
        features_read: Places of the columns that some split reads.
        leaf_values: float64, by tree and ordinal of the leaf, of the output that is scored.
        base: What a margin has before its trees.
        scale: The logit is this many margins.
    """

    feature_names: tuple[str, ...]
    features_read: tuple[int, ...]
    leaf_values: Sequence[NDArray[np.float64]]
    base: float
    scale: float

    def leaves(self, matrix: Array) -> Array:
        """[row, tree] int32, ordinals within the tree, of a float32 [row, column] matrix."""
        ...

    def margins(self, matrix: Array) -> Array:
        """[row], the library's own sum."""
        ...

    def planted(self, kind: str) -> Library:
        """The model with one of the faults of `TREE_FAULTS` in its file."""
        ...

    def with_threads(self, threads: int) -> Library: ...


TREE_FAULTS = {
    "threshold_le": "a value equal to a threshold goes to the other side",
    "nan_direction": "missing values go to the other child at every split",
}
_SUM_FAULTS = {
    "tree_limit": "the last tree does not count",
    "weight_scale": "the first tree's leaves are 1.01 times as large",
    "bias_dropped": "the base score is left out",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class BoosterProgram:
    """`replay.adapters.program.Program` of a booster: leaves, then the logit.

    The logit is the float64 sum of the base and of each tree's leaf, rounded once: libraries add
    in float32 or float64, and show no way to carry on from given leaves.

    Attributes:
        library: The opened model.
        inputs: Names of the inputs, in the order in which their columns make up the matrix.
        order: Place among those of each of the model's columns.
        wide: Whether the logit is left in float64.
    """

    library: Library = field(repr=False)
    inputs: tuple[str, ...]
    order: tuple[int, ...]
    wide: bool = False
    skipped: Mapping[str, str] = field(default_factory=dict)

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
        sums = dict(_SUM_FAULTS)
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
        if fault.kind in TREE_FAULTS:
            return replace(self, library=self.library.planted(fault.kind))
        return replace(self, library=_Summed(self.library, fault.kind))

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
        bound = (_U32 + terms * 2.0**-53) * library.scale * largest
        why = f"summed in float64, rounded once: 2^-24 x the largest possible sum {largest:.6g}"
        return Rounding(absolute=bound, terms=terms, why=why)

    def _matrix(self, inputs: Mapping[str, Array]) -> Array:
        """[row, column] float32, in the model's order."""
        columns = [inputs[name].reshape(len(inputs[name]), -1) for name in self.inputs]
        joined = np.concatenate([column.astype(np.float32) for column in columns], axis=1)
        return np.ascontiguousarray(joined[:, list(self.order)])

    def _logit(self, leaves: Array | None) -> Array:
        assert leaves is not None, "given, or found before"
        total = np.full(len(leaves), self.library.base, np.float64)
        for tree, values in enumerate(self.library.leaf_values):
            own = leaves[:, tree]
            if len(own) and not (own.min() >= 0 and own.max() < len(values)):
                raise StackError(
                    f"a given leaf of tree {tree} is none of its {len(values)}.",
                    where=LEAVES,
                    fix="compare boosters of the same trees; others have other leaves",
                )
            total += values[own]
        total *= self.library.scale
        return total if self.wide else total.astype(np.float32)


class _Summed:
    """A library whose trees are as they were, and whose sum has a fault."""

    def __init__(self, library: Library, kind: str) -> None:
        self.feature_names = library.feature_names
        self.features_read = library.features_read
        self.base, self.scale = library.base, library.scale
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

    def planted(self, kind: str) -> Library:
        return _Summed(self._library.planted(kind), self._kind)

    def with_threads(self, threads: int) -> Library:
        return _Summed(self._library.with_threads(threads), self._kind)
