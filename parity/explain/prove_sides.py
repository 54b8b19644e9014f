"""The two sides of a proof: their declared trees over one common matrix of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.explain.prove_trees import NO_LEAF, DeclaredTree, trees_of
from replay.capabilities import ExposesTrees
from replay.errors import ConfigError, StackError

_PREFIX = "features."
_REFERENCE: Literal["reference"] = "reference"
_CHALLENGER: Literal["challenger"] = "challenger"


class NamedTrees(ExposesTrees, Protocol):
    """A stack, or its process, that shows its trees."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One side: what it declares, and its own code.

    Attributes:
        role: Reference or challenger.
        name: What reports call it.
        stack: Answers for leaves.
        columns: Of each of its columns, the place in the proof's matrix.
        trees: What it declares.
    """

    role: Literal["reference", "challenger"]
    name: str
    stack: ExposesTrees
    columns: NDArray[np.int64]
    trees: tuple[DeclaredTree, ...]

    @property
    def label(self) -> str:
        """Role and name: two versions of one stack may share a name."""
        return f"{self.role} {self.name}"

    def leaves(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        """[row, tree], as the side's own code finds them in the proof's rows.

        Raises:
            StackError: It gives something other than [row, tree].
        """
        found = np.asarray(self.stack.leaves(np.ascontiguousarray(rows[:, self.columns])))
        if found.ndim != 2 or len(found) != len(rows):
            raise StackError(
                f"leaves() of {len(rows)} rows gave {found.dtype}{list(found.shape)}.",
                where=f"stack {self.name!r}",
                fix="give integers, [row, tree]",
            )
        return found.astype(np.int64)


def sides_of(
    reference: NamedTrees, challenger: NamedTrees, renames: Mapping[str, str]
) -> tuple[Side, Side, tuple[str, ...]]:
    """Both sides, and the names of the columns of the matrix that they share.

    Raises:
        ConfigError: A split of one side reads a feature that the other does not have.
        StackError: What a side declares are no trees.
    """
    ours = [feature_checkpoint(name) for name in reference.tree_features()]
    theirs = [feature_checkpoint(name) for name in challenger.tree_features()]
    theirs = [renames.get(name, name) for name in theirs]
    for stack, own, others, other in (
        (reference, ours, theirs, challenger),
        (challenger, theirs, ours, reference),
    ):
        _check_known(own, stack, others, other)
    names = tuple(dict.fromkeys([*ours, *theirs]))
    sides = [
        Side(
            role=role,
            name=stack.name,
            stack=stack,
            columns=np.asarray(columns, np.int64),
            trees=trees_of(stack.tree_structure(), columns, stack=stack.name),
        )
        for role, stack, columns in (
            (_REFERENCE, reference, [names.index(name) for name in ours]),
            (_CHALLENGER, challenger, [names.index(name) for name in theirs]),
        )
    ]
    return sides[0], sides[1], names


def _check_known(
    columns: Sequence[str], stack: NamedTrees, others: Sequence[str], other: NamedTrees
) -> None:
    if len(set(columns)) != len(columns):
        raise ConfigError(
            f"two tree features of {stack.name!r} have one name: {', '.join(columns)}.",
            where="its tree_features, after the plan's renames",
            fix="give each column a name of its own",
        )
    used = {int(c) for tree in stack.tree_structure() for c in tree.feature[tree.leaf == NO_LEAF]}
    # A place that is no column is refused with its tree, by trees_of.
    unknown = [columns[c] for c in sorted(used) if c < len(columns) and columns[c] not in others]
    if unknown:
        raise ConfigError(
            f"the trees of {stack.name!r} read {', '.join(unknown)}, which {other.name!r} does not "
            f"have (it has: {', '.join(others)}).",
            where="the features of both sides' trees",
            fix="compare stacks of one feature set, or map the names with the plan's renames",
        )


def feature_checkpoint(name: str) -> str:
    """The checkpoint of a tree feature, which a stack may name without its prefix."""
    return name if name.startswith(_PREFIX) else f"{_PREFIX}{name}"
