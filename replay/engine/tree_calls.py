"""A stack's trees, asked for across processes: their arrays, and leaves of a matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from replay.capabilities import ExposesTrees, TreeStructure
from replay.engine import wire
from replay.engine.wire import Message
from replay.errors import StackError
from replay.stack import Stack
from replay.trace import Array

_DTYPES: Mapping[str, str] = {
    "feature": "int32",
    "threshold": "float32",
    "left": "int32",
    "right": "int32",
    "default_left": "bool",
    "leaf": "int32",
}
assert list(_DTYPES) == [field.name for field in fields(TreeStructure)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShownTrees:
    """What a stack shows of its trees, apart from their leaves.

    Attributes:
        features: Names of the columns.
        split_points: Per column, its thresholds.
        structure: The trees.
    """

    features: tuple[str, ...]
    split_points: tuple[Array, ...]
    structure: tuple[TreeStructure, ...]


def show(stack: Stack) -> Message:
    """In the worker: all that a stack shows of its trees.

    Raises:
        StackError: It shows none, or arrays that are no trees' arrays.
    """
    trees = _exposing(stack)
    names, points = trees.tree_features(), trees.split_points()
    structure = trees.tree_structure()
    if len(points) != len(names):
        raise StackError(
            f"split_points() speaks of {len(points)} columns, tree_features() of {len(names)}.",
            where=f"stack {stack.name!r}",
            fix="give the thresholds of each column, none where nothing splits on it",
        )
    arrays: dict[str, Array] = {
        f"points.{place}": np.asarray(own, np.float32) for place, own in enumerate(points)
    }
    for name, dtype in _DTYPES.items():
        parts = [np.asarray(getattr(tree, name)) for tree in structure]
        _check_arrays(stack, name, parts, structure)
        joined = np.concatenate(parts) if parts else np.zeros(0, dtype)
        arrays[name] = joined.astype(dtype)
    descriptor, layout = wire.memory_from_arrays(arrays)
    header = {
        "features": list(names),
        "sizes": [len(tree.leaf) for tree in structure],
        "values": layout,
    }
    return Message(header=header, descriptors=(descriptor,))


def shown_from(answer: Message) -> ShownTrees:
    """In the owner: what `show` sent; the descriptors stay the caller's."""
    header = answer.header
    arrays = wire.arrays_from_memory(answer.descriptors[0], header["values"])
    ends = np.cumsum(header["sizes"], dtype=np.int64)[:-1]
    parts = {name: np.split(arrays[name], ends) for name in _DTYPES}
    return ShownTrees(
        features=tuple(header["features"]),
        split_points=tuple(arrays[f"points.{place}"] for place in range(len(header["features"]))),
        structure=tuple(
            TreeStructure(**{name: parts[name][place] for name in _DTYPES})
            for place in range(len(header["sizes"]))
        ),
    )


def question(features: Array) -> Message:
    """In the owner: the leaves of a float32 [row, feature] matrix, please."""
    descriptor, layout = wire.memory_from_arrays({"features": features})
    return Message(header={"do": "leaves", "values": layout}, descriptors=(descriptor,))


def leaves(stack: Stack, message: Message) -> Message:
    """In the worker: the leaves of the matrix that `question` sent.

    Raises:
        StackError: It shows no trees, or gives something other than leaves.
    """
    trees = _exposing(stack)
    sent = wire.arrays_from_memory(message.descriptors[0], message.header["values"])
    found = np.asarray(trees.leaves(sent["features"]))
    if found.ndim != 2 or len(found) != len(sent["features"]) or found.dtype.kind not in "iu":
        raise StackError(
            f"leaves() of {len(sent['features'])} rows gave {found.dtype}{list(found.shape)}.",
            where=f"stack {stack.name!r}",
            fix="give integers, [row, tree]",
        )
    descriptor, layout = wire.memory_from_arrays({"leaves": found.astype(np.int32)})
    return Message(header={"values": layout}, descriptors=(descriptor,))


def _exposing(stack: Stack) -> ExposesTrees:
    if not isinstance(stack, ExposesTrees):
        raise StackError(
            f"stack {stack.name!r} shows no trees.",
            where="replay.capabilities.ExposesTrees",
            fix="give it tree_features, split_points, leaves and tree_structure",
        )
    return stack


def _check_arrays(
    stack: Stack, name: str, parts: Sequence[Array], structure: Sequence[Any]
) -> None:
    for place, (part, tree) in enumerate(zip(parts, structure, strict=True)):
        if part.shape != (len(tree.leaf),):
            raise StackError(
                f"{name!r} is {list(part.shape)} where the tree has {len(tree.leaf)} nodes.",
                where=f"stack {stack.name!r}, tree_structure, tree {place}",
                fix="give one value a node",
            )
