"""A kind of value plant: where it can be, and what it makes of the values there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError
from replay.trace import Array, BatchKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A bug, ready to be put in.

    Attributes:
        apply: From what was produced, the values used of `reads`, and the batch's keys, to
            what takes its place. It depends on no other request.
        reads: Other checkpoints it looks at.
    """

    apply: Callable[[Array, Mapping[str, Array], BatchKeys], Array]
    reads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueKind:
    """A kind of bug.

    Attributes:
        says: One sentence.
        fits: Whether a checkpoint can have it and keep its dtype.
        make: From its argument (None when not given) and the place, the bug.
    """

    says: str
    fits: Callable[[Checkpoint, CheckpointGraph], bool]
    make: Callable[[str | None, Checkpoint, CheckpointGraph], Change]


Values = Callable[[Array], Array]
Fits = Callable[[Checkpoint, CheckpointGraph], bool]


def plain(kind: str, says: str, fits: Fits, values: Values) -> ValueKind:
    """A kind that takes no argument and looks at its own values only."""

    def make(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
        no_argument(argument, kind)
        return Change(apply=lambda v, _, __: values(v))

    return ValueKind(says=says, fits=fits, make=make)


def by_keys(
    kind: str, says: str, fits: Fits, values: Callable[[Array, BatchKeys], Array]
) -> ValueKind:
    """A kind that takes no argument and looks at whose rows its values are."""

    def make(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
        no_argument(argument, kind)
        return Change(apply=lambda v, _, keys: values(v, keys))

    return ValueKind(says=says, fits=fits, make=make)


def by_number(
    kind: str, says: str, fits: Fits, usual: float, values: Callable[[Array, float], Array]
) -> ValueKind:
    """A kind with a number that may be given."""

    def make(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
        number = number_from(argument, usual, kind)
        return Change(apply=lambda v, _, __: values(v, number))

    return ValueKind(says=says, fits=fits, make=make)


def is_real(one: Checkpoint, _: CheckpointGraph) -> bool:
    """Floating-point values."""
    return np.dtype(one.dtype).kind == "f"


def may_miss(one: Checkpoint, graph: CheckpointGraph) -> bool:
    """Real values among which NaN means a missing one."""
    return is_real(one, graph) and one.missing == "nan"


def is_integer(one: Checkpoint, _: CheckpointGraph) -> bool:
    """Integers of any size."""
    return np.dtype(one.dtype).kind in "iu"


def is_code(one: Checkpoint, graph: CheckpointGraph) -> bool:
    """An integer of its own for each row, which stands for something: an id, a bucket, a column."""
    return is_integer(one, graph) and not one.shape and one.stage in {"feature", "encoding"}


def is_number(one: Checkpoint, graph: CheckpointGraph) -> bool:
    """Real or integer."""
    return is_real(one, graph) or is_integer(one, graph)


def is_real_feature(one: Checkpoint, graph: CheckpointGraph) -> bool:
    """A real value that the log gave."""
    return is_real(one, graph) and one.stage == "feature"


def has_candidates(one: Checkpoint, _: CheckpointGraph) -> bool:
    """One value, or one vector, for each candidate."""
    return one.rows == "candidate"


def number_from(argument: str | None, usual: float, kind: str) -> float:
    """The argument as a finite number; the usual one where none is given.

    Raises:
        ConfigError: It is no number.
    """
    try:
        value = usual if argument is None else float(argument)
    except ValueError:
        value = np.nan
    if np.isfinite(value):
        return value
    raise ConfigError(
        f"{kind}={argument} is no number.",
        where="--plant",
        fix=f"write {kind}={usual:g}:CHECKPOINT, or {kind}:CHECKPOINT for the usual {usual:g}",
    )


def no_argument(argument: str | None, kind: str) -> None:
    """Refuse an argument.

    Raises:
        ConfigError: There is one.
    """
    if argument is not None:
        raise ConfigError(
            f"{kind} takes no argument, and was given {argument!r}.",
            where="--plant",
            fix=f"write {kind}:CHECKPOINT",
        )
