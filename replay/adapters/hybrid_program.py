"""Trees whose leaves a model reads, as one program: the booster's leaves, then the model's tensors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from replay.adapters.booster_trees import LEAVES, TREE_FAULTS, BoosterProgram, Library
from replay.adapters.inputs import LeafFunction, leaf_inputs
from replay.adapters.program import Program, Tensor
from replay.capabilities import Fault
from replay.trace import EMPTY, Array


@dataclass(frozen=True, kw_only=True, eq=False)
class HybridProgram:
    """`replay.adapters.program.Program` of a booster and what reads its leaves.

    Attributes:
        trees: The booster; its own sum is not looked at.
        model: What reads the leaves.
        joins: The user's function, from leaf ids [row, tree] to inputs of the model.
        joined: The inputs that it gives.
    """

    trees: BoosterProgram = field(repr=False)
    model: Program = field(repr=False)
    joins: LeafFunction
    joined: tuple[str, ...]

    @property
    def library(self) -> Library:
        """The booster, as the code that scores it opened it."""
        return self.trees.library

    @property
    def columns(self) -> tuple[str, ...]:
        """The features in the order of the trees' columns."""
        return self.trees.columns

    @property
    def skipped(self) -> Mapping[str, str]:
        """The model's."""
        return self.model.skipped

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The leaves, then the model's."""
        joined = set(self.joined)
        return (
            self.trees.tensors[0],
            *(
                replace(
                    tensor,
                    after=(*tensor.after, *([LEAVES] if joined & set(tensor.inputs) else [])),
                    inputs=tuple(name for name in tensor.inputs if name not in joined),
                )
                for tensor in self.model.tensors
            ),
        )

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        record: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """As `Program.run`: given leaves are what the model reads."""
        walked = LEAVES in record or LEAVES not in given
        found = self.trees.run(inputs, record=[LEAVES]) if walked else {}
        found |= self.model.run(
            self._read(inputs, given.get(LEAVES, found.get(LEAVES))),
            record=[name for name in record if name != LEAVES],
            given={name: array for name, array in given.items() if name != LEAVES},
            noise=noise,
        )
        return {name: found[name] for name in record}

    def run_bare(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the model returns of the booster's leaves."""
        return self.model.run_bare(
            self._read(inputs, self.trees.run(inputs, record=[LEAVES])[LEAVES])
        )

    def in_float64(self) -> HybridProgram:
        """The same leaves, the model in float64."""
        return replace(self, model=self.model.in_float64())

    def with_threads(self, threads: int) -> HybridProgram:
        """Both on so many of their threads."""
        return replace(
            self,
            trees=self.trees.with_threads(threads),
            model=self.model.with_threads(threads),
        )

    def faults(self) -> tuple[Fault, ...]:
        """Faults of the splits at the leaves, and the model's."""
        own = tuple(fault for fault in self.trees.faults() if fault.kind in TREE_FAULTS)
        return (*own, *self.model.faults())

    def planted(self, fault: Fault) -> HybridProgram:
        """A copy with one of its faults in it."""
        if fault.checkpoint == LEAVES:
            return replace(self, trees=self.trees.planted(fault))
        return replace(self, model=self.model.planted(fault))

    def weights(self) -> dict[str, Array]:
        """The model's: leaves' values are not read."""
        return self.model.weights()

    def configuration(self) -> dict[str, str]:
        """The model's, and how many trees there are."""
        return self.model.configuration() | self.trees.configuration()

    def _read(self, inputs: Mapping[str, Array], leaves: Array | None) -> dict[str, Array]:
        """What the model reads: the inputs, and what the leaves become."""
        assert leaves is not None, "given, or found before"
        return {**inputs, **leaf_inputs(self.joins, self.library.leaf_ids(leaves))}
