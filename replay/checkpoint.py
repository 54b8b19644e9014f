"""The named places in a stack where values are recorded, and the graph they form."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from replay.errors import StackError

Stage = Literal["log", "feature", "encoding", "tree", "layer", "output"]
RowAxis = Literal["request", "candidate", "step"]
Missing = Literal["none", "nan"]
ComputedIn = Literal["fp32", "fp16", "bf16", "int8"]

STAGES: tuple[Stage, ...] = ("log", "feature", "encoding", "tree", "layer", "output")
ROW_AXES: tuple[RowAxis, ...] = ("request", "candidate", "step")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """How far floating-point arithmetic may move a value, given exact inputs.

    Attributes:
        ulps: In units in the last place of the checkpoint's dtype (float64 rounded once
            to float32: 0.5).
        absolute: In the checkpoint's own unit (a sum of n terms: gamma_n * sum |term|).
        terms: Values added up in one sum on the way: measured noise grows with its square root.
        computed_in: What the step itself computes in, from its direct parents as they are given; None:
            in whatever the stack as a whole does. A norm under bf16 autocast is computed in fp32.
        why: Where the bound comes from.
    """

    ulps: float = 0.0
    absolute: float = 0.0
    terms: int = 1
    computed_in: ComputedIn | None = None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A named place in a stack where values are recorded, and may be given.

    Attributes:
        name: `features.<name>`, `encoded.<name>`, `gbdt.leaves`, a module path, `logit`,
            `pctr`, `ecpm_micros`, `rank`.
        axes: The first names the rows ("request", "candidate" or "step"), the rest the
            inner axes, such as ("candidate", "tree").
        shape: Sizes of the inner axes.
        dtype: numpy name of the recorded array's dtype.
        after: The checkpoints it is computed from, nearest first upstream.
        missing: "nan" when NaN means a missing value; otherwise NaN is non-finite.
        exact: Discrete (ids, leaves, buckets, ranks): any difference counts.
        settable: May stand in `given`.
        rounding: Bound of the rounding error of a real value; None when not derived.
    """

    name: str
    stage: Stage
    axes: tuple[str, ...]
    shape: tuple[int, ...] = ()
    dtype: str
    after: tuple[str, ...] = ()
    unit: str = "1"
    missing: Missing = "none"
    exact: bool = False
    settable: bool = True
    rounding: Rounding | None = None

    @property
    def rows(self) -> RowAxis:
        """The row axis, the first of `axes`."""
        first = self.axes[0]
        assert first in ROW_AXES, f"{self.name}: rows along {first!r}"
        return first


class CheckpointGraph(Mapping[str, Checkpoint]):
    """A stack's checkpoints in execution order, by name.

    Raises:
        StackError: A name twice, an edge to an unknown or later checkpoint, or inner axes
            without sizes.
    """

    def __init__(self, checkpoints: Iterable[Checkpoint], *, stack: str) -> None:
        self.stack = stack
        self._by_name: dict[str, Checkpoint] = {}
        for checkpoint in checkpoints:
            self._admit(checkpoint)

    def __getitem__(self, name: str) -> Checkpoint:
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise StackError(
                f"no checkpoint is called {name!r} (known: {known}).",
                where=f"stack {self.stack!r}",
                fix="use a declared name; a plan's renames map other names to it",
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    @cached_property
    def order(self) -> dict[str, int]:
        """Name to its place in execution order."""
        return {name: place for place, name in enumerate(self._by_name)}

    def ancestors(self, name: str) -> frozenset[str]:
        """Everything the checkpoint depends on, itself excluded."""
        return self._reach(name, {n: c.after for n, c in self._by_name.items()})

    def descendants(self, name: str) -> frozenset[str]:
        """Everything that depends on the checkpoint, itself excluded."""
        return self._reach(name, self.children)

    @cached_property
    def children(self) -> dict[str, tuple[str, ...]]:
        """Name to the checkpoints computed directly from it."""
        children: dict[str, list[str]] = {name: [] for name in self._by_name}
        for checkpoint in self._by_name.values():
            for parent in checkpoint.after:
                children[parent].append(checkpoint.name)
        return {name: tuple(found) for name, found in children.items()}

    def sorted(self, names: Collection[str]) -> list[str]:
        """The names in execution order."""
        return sorted(names, key=self.order.__getitem__)

    def _admit(self, checkpoint: Checkpoint) -> None:
        where = f"stack {self.stack!r}, checkpoint {checkpoint.name!r}"
        if checkpoint.name in self._by_name:
            raise StackError("the checkpoint is declared twice.", where=where, fix="rename one")
        if not checkpoint.axes or checkpoint.axes[0] not in ROW_AXES:
            raise StackError(
                f"axes {checkpoint.axes} do not start with one of {ROW_AXES}.",
                where=where,
                fix="name the rows first, such as ('candidate', 'tree')",
            )
        if len(checkpoint.shape) != len(checkpoint.axes) - 1:
            raise StackError(
                f"axes {checkpoint.axes} and inner shape {checkpoint.shape} do not fit.",
                where=where,
                fix="give one size for each axis after the first",
            )
        for parent in checkpoint.after:
            if parent not in self._by_name:
                raise StackError(
                    f"it is computed from {parent!r}, which is not declared before it.",
                    where=where,
                    fix="declare checkpoints in execution order",
                )
        self._by_name[checkpoint.name] = checkpoint

    def _reach(self, name: str, edges: Mapping[str, Collection[str]]) -> frozenset[str]:
        self[name]
        found: set[str] = set()
        front = list(edges[name])
        while front:
            current = front.pop()
            if current not in found:
                found.add(current)
                front.extend(edges[current])
        return frozenset(found)
