"""What the model is fed: named arrays that the user's own function computes from a batch.

Each array is a feature, or, where its columns are named, one feature a column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from replay.checkpoint import Checkpoint, Missing, Rounding
from replay.errors import ConfigError, StackError, ToolkitError
from replay.request import RequestBatch
from replay.trace import Array, BatchKeys

Rows = Literal["request", "candidate"]
InputFunction = Callable[[RequestBatch], Mapping[str, Any]]
# From the ids of the leaves that rows come to, int32 [row, tree].
LeafFunction = Callable[[Array], Mapping[str, Any]]

_ROUNDED_ONCE = "computed in float64, rounded once to {dtype}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of the model.

    Attributes:
        name: As the model calls it.
        rows: What its first axis holds.
        shape: Sizes after the rows.
        dtype: numpy name.
        columns: Names of its columns, each a feature of its own; empty for one feature.
        missing: "nan" where NaN means a missing value.
    """

    name: str
    rows: Rows
    shape: tuple[int, ...]
    dtype: str
    columns: tuple[str, ...] = ()
    missing: Missing = "none"

    @property
    def features(self) -> tuple[str, ...]:
        """The checkpoints it is made of."""
        return tuple(f"features.{name}" for name in self.columns or (self.name,))

    def checkpoints(self) -> list[Checkpoint]:
        """Their declarations: real ones rounded once, others exact."""
        kind = np.dtype(self.dtype)
        is_real = kind.kind == "f"
        shape = () if self.columns else self.shape
        rounding = Rounding(ulps=0.5, why=_ROUNDED_ONCE.format(dtype=kind))
        return [
            Checkpoint(
                name=name,
                stage="feature",
                axes=(self.rows, *inner_axes(shape)),
                shape=shape,
                dtype=self.dtype,
                missing=self.missing,
                exact=not is_real,
                rounding=rounding if is_real else None,
            )
            for name in self.features
        ]

    def split(self, array: Array) -> dict[str, Array]:
        """The input as its features."""
        if not self.columns:
            return {self.features[0]: array}
        return {name: array[:, place] for place, name in enumerate(self.features)}

    def joined(self, features: Mapping[str, Array]) -> Array:
        """The features as the input: the inverse of `split`."""
        if not self.columns:
            return features[self.features[0]]
        return np.stack([features[name] for name in self.features], axis=1)


def inner_axes(shape: Sequence[int]) -> tuple[str, ...]:
    """Names for axes of which nothing is known but their sizes: the last one is the channels."""
    if not shape:
        return ()
    return (*(f"axis{place}" for place in range(1, len(shape))), "channel")


def specs_from_example(
    arrays: Mapping[str, Array],
    keys: BatchKeys,
    *,
    request_inputs: Sequence[str],
    columns: Mapping[str, Sequence[str]],
    nan_is_missing: Sequence[str],
) -> tuple[InputSpec, ...]:
    """What the inputs are, from what the function gave for an example.

    Raises:
        ConfigError: An option names no input, columns do not fit, or rows are not the batch's.
    """
    for option, named in (
        ("request_inputs", request_inputs),
        ("columns", columns),
        ("nan_is_missing", nan_is_missing),
    ):
        for name in named:
            if name not in arrays:
                raise ConfigError(
                    f"{option} names {name!r}, which is no input (known: {', '.join(arrays)}).",
                    where=f"the option '{option}' of a stack",
                    fix="name what the inputs function returns",
                )
    specs = [
        InputSpec(
            name=name,
            rows="request" if name in request_inputs else "candidate",
            shape=array.shape[1:],
            dtype=array.dtype.name,
            columns=_columns(name, array, columns.get(name, ())),
            missing="nan" if name in nan_is_missing else "none",
        )
        for name, array in arrays.items()
    ]
    for spec in specs:
        _check(arrays[spec.name], spec, keys)
    names = [feature for spec in specs for feature in spec.features]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            f"several inputs or columns are called {', '.join(twice)}.",
            where="the option 'columns' of a stack",
            fix="give each column a name of its own",
        )
    return tuple(specs)


def computed(function: InputFunction, batch: RequestBatch) -> dict[str, Array]:
    """What the user's function gives for a batch.

    Raises:
        StackError: It failed, or gave no mapping of numeric arrays.
    """
    return _arrays(
        function,
        batch,
        what="inputs function",
        fix="let it take every valid request: missing values, no history, one candidate",
    )


def leaf_inputs(function: LeafFunction, leaves: Array) -> dict[str, Array]:
    """What the user's function makes of the leaves that rows come to.

    Args:
        function: The user's.
        leaves: int32 [row, tree].

    Raises:
        StackError: It failed, or gave no named numeric arrays of as many rows.
    """
    found = _arrays(
        function, leaves, what="function of leaves", fix="let it take any leaf ids of the booster"
    )
    for name, array in found.items():
        if len(array) != len(leaves):
            raise StackError(
                f"input {name!r} has {len(array)} rows for {len(leaves)} rows of leaves.",
                where=_where(function),
                fix="give one row for each row of leaves",
            )
    return found


def check_inputs(
    arrays: Mapping[str, Array], specs: Sequence[InputSpec], keys: BatchKeys
) -> dict[str, Array]:
    """The inputs of a batch, refused where they are not what they were in the example.

    Raises:
        StackError: One is missing, or has another shape or dtype.
    """
    for spec in specs:
        if spec.name not in arrays:
            raise StackError(
                f"the inputs function gave no {spec.name!r} for this batch.",
                where=f"input {spec.name!r}",
                fix="return the same names for every batch",
            )
        _check(arrays[spec.name], spec, keys)
    return {spec.name: arrays[spec.name] for spec in specs}


def _columns(name: str, array: Array, columns: Sequence[str]) -> tuple[str, ...]:
    if columns and (array.ndim != 2 or array.shape[1] != len(columns)):
        raise ConfigError(
            f"{len(columns)} columns are named for {name!r}, whose rows have shape "
            f"{list(array.shape[1:])}.",
            where=f"the option 'columns' of a stack, {name!r}",
            fix="name every column of a matrix [row, column], in order",
        )
    return tuple(columns)


def _check(array: Array, spec: InputSpec, keys: BatchKeys) -> None:
    wanted = (keys.num_rows(spec.rows), *spec.shape)
    if array.shape != wanted or array.dtype != np.dtype(spec.dtype):
        raise StackError(
            f"input {spec.name!r} is {array.dtype}{list(array.shape)}, expected "
            f"{spec.dtype}{list(wanted)}: one row a {spec.rows}.",
            where=f"input {spec.name!r}, as the inputs function gave it",
            fix="give one row per candidate, or list the input under request_inputs; pad inner axes "
            "to one size",
        )


def _where(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{getattr(function, '__name__', '?')}"


def _arrays(
    function: Callable[[Any], Any], argument: object, *, what: str, fix: str
) -> dict[str, Array]:
    where = _where(function)
    try:
        found = function(argument)
    except ToolkitError:
        raise
    except Exception as error:
        raise StackError(
            f"the {what} failed: {type(error).__name__}: {error}.",
            where=where,
            fix=fix,
        ) from error
    if not isinstance(found, Mapping) or not found:
        raise StackError(
            f"the {what} returned {type(found).__name__}, not named arrays.",
            where=where,
            fix="return a mapping from the model's argument names to numpy arrays",
        )
    arrays = {name: np.asarray(array) for name, array in found.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.ndim == 0:
            raise StackError(
                f"input {name!r} is {array.dtype}{list(array.shape)}, which is no array of numbers "
                "with rows.",
                where=where,
                fix="return one array of floats, integers or booleans per argument, rows first",
            )
    return arrays
