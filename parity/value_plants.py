"""The value plants: what each kind of bug makes of a checkpoint's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError
from replay.trace import Array, BatchKeys

# Enough to be a bug anyone would want found, and small enough to be one that goes unseen: a
# feature in another unit moves by far more, a layer or output by a hundredth.
FEATURE_SCALE = 1.5
LAYER_SCALE = 1.01
# Tokyo against UTC, the shift that the Open Bandit log invites.
HOURS = 9
# What decoders write for a missing value.
DEFAULT = -1.0
# Significant decimal digits that a float printed with "%.3g" keeps.
DIGITS = 3


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


def change_for(
    kind: str, argument: str | None, checkpoint: Checkpoint, graph: CheckpointGraph
) -> Change:
    """The bug of a kind at a checkpoint.

    Raises:
        ConfigError: It does not fit there, or its argument can not be used.
    """
    chosen = VALUE_KINDS[kind]
    if not checkpoint.settable or not chosen.fits(checkpoint, graph):
        places = [one.name for one in graph.values() if one.settable and chosen.fits(one, graph)]
        raise ConfigError(
            f"{kind!r} can not be planted at {checkpoint.name!r} "
            f"(possible at: {', '.join(places) or 'no checkpoint of this stack'}).",
            where="--plant",
            fix="choose another place or kind; --plant list says what there is",
        )
    return chosen.make(argument, checkpoint, graph)


def _is_real(one: Checkpoint, _: CheckpointGraph) -> bool:
    return np.dtype(one.dtype).kind == "f"


def _may_miss(one: Checkpoint, graph: CheckpointGraph) -> bool:
    return _is_real(one, graph) and one.missing == "nan"


def _is_integer(one: Checkpoint, _: CheckpointGraph) -> bool:
    return np.dtype(one.dtype).kind in "iu"


def _is_number(one: Checkpoint, graph: CheckpointGraph) -> bool:
    return _is_real(one, graph) or _is_integer(one, graph)


def _is_hour(one: Checkpoint, graph: CheckpointGraph) -> bool:
    named = "hour" in one.name.rpartition(".")[2] and one.unit in {"1", "hour"}
    return one.stage == "feature" and _is_number(one, graph) and (named or one.unit == "hour")


def _is_weekday(one: Checkpoint, graph: CheckpointGraph) -> bool:
    named = "weekday" in one.name.rpartition(".")[2] or one.unit == "weekday"
    return one.stage == "feature" and _is_number(one, graph) and named


def _has_candidates(one: Checkpoint, _: CheckpointGraph) -> bool:
    return one.rows == "candidate"


def _constant(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    constant = _number(argument, DEFAULT, "constant_default")
    return Change(apply=lambda v, _, __: np.where(np.isnan(v), constant, v))


def _zero_swap(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    _no_argument(argument, "missing_zero_swap")
    return Change(apply=lambda v, _, __: np.where(np.isnan(v), 0.0, np.where(v == 0.0, np.nan, v)))


def _scale(argument: str | None, one: Checkpoint, _: CheckpointGraph) -> Change:
    usual = FEATURE_SCALE if one.stage == "feature" else LAYER_SCALE
    factor = _number(argument, usual, "scale")
    return Change(apply=lambda v, _, __: v.astype(np.float64) * factor)


def _hour_shift(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    hours = _number(argument, HOURS, "hour_shift")
    return Change(apply=lambda v, _, __: np.mod(v + hours, 24))


def _day_shift(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    days = _number(argument, 1, "day_shift")
    return Change(apply=lambda v, _, __: np.mod(v + days, 7))


def _rounding(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    if argument == "float16":
        return Change(apply=lambda v, _, __: _to_float16(v))
    digits = int(_number(argument, DIGITS, "rounding"))
    return Change(apply=lambda v, _, __: _to_digits(v, digits))


def _off_by_one(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    _no_argument(argument, "off_by_one")
    # One less, and 0 becomes 1: places in a table stay places in it.
    return Change(apply=lambda v, _, __: np.where(v == 0, 1, v - 1))


def _permute(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    _no_argument(argument, "permute_candidates")
    return Change(apply=lambda v, _, keys: v[_next_candidate(keys)])


def _swap(argument: str | None, one: Checkpoint, graph: CheckpointGraph) -> Change:
    partners = _alike(one, graph)
    partner = partners[0] if argument is None else argument
    if partner not in partners:
        raise ConfigError(
            f"{one.name!r} can not take the values of {partner!r} (those of its kind: "
            f"{', '.join(partners)}).",
            where="--plant, swap_columns",
            fix="name a checkpoint of the same stage, dtype and axes",
        )
    return Change(apply=lambda _, used, __: used[partner], reads=(partner,))


def _alike(one: Checkpoint, graph: CheckpointGraph) -> list[str]:
    """Checkpoints whose values could stand in its place: the next ones first."""
    names = [
        other.name
        for other in graph.values()
        if (other.stage, other.dtype, other.axes, other.shape)
        == (one.stage, one.dtype, one.axes, one.shape)
    ]
    at = names.index(one.name)
    below = graph.descendants(one.name)
    return [name for name in names[at + 1 :] + names[:at] if name not in below]


def _next_candidate(keys: BatchKeys) -> Array:
    """[candidate]: the row after it in its request; the last one gets the first."""
    rows = np.arange(keys.num_candidates) + 1
    starts, ends = keys.candidate_offsets[:-1], keys.candidate_offsets[1:]
    rows[ends[ends > starts] - 1] = starts[ends > starts]
    return rows


def _to_float16(values: Array) -> Array:
    with np.errstate(over="ignore"):  # beyond 65504 a float16 is infinite: that is the bug
        return values.astype(np.float16)


def _to_digits(values: Array, digits: int) -> Array:
    wide = values.astype(np.float64)
    usable = np.isfinite(wide) & (wide != 0.0)
    magnitude = np.floor(np.log10(np.abs(np.where(usable, wide, 1.0))))
    scale = 10.0 ** (digits - 1 - magnitude)
    return np.where(usable, np.round(wide * scale) / scale, wide)


def _number(argument: str | None, usual: float, kind: str) -> float:
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


def _no_argument(argument: str | None, kind: str) -> None:
    if argument is not None:
        raise ConfigError(
            f"{kind} takes no argument, and was given {argument!r}.",
            where="--plant",
            fix=f"write {kind}:CHECKPOINT",
        )


VALUE_KINDS: Mapping[str, ValueKind] = MappingProxyType(
    {
        "constant_default": ValueKind(
            says="a missing value becomes a constant (-1)", fits=_may_miss, make=_constant
        ),
        "missing_zero_swap": ValueKind(
            says="a missing value becomes 0, and 0 becomes missing", fits=_may_miss, make=_zero_swap
        ),
        "scale": ValueKind(
            says="times a factor (1.5 at a feature, 1.01 elsewhere): another unit, a wrong weight",
            fits=_is_real,
            make=_scale,
        ),
        "rounding": ValueKind(
            says="rounded to so many significant digits (3), or to float16",
            fits=_is_real,
            make=_rounding,
        ),
        "hour_shift": ValueKind(
            says="so many hours later (9), modulo 24: another time zone",
            fits=_is_hour,
            make=_hour_shift,
        ),
        "day_shift": ValueKind(
            says="so many days later (1), modulo 7: another first day of the week",
            fits=_is_weekday,
            make=_day_shift,
        ),
        "off_by_one": ValueKind(
            says="one less, and 0 becomes 1", fits=_is_integer, make=_off_by_one
        ),
        "swap_columns": ValueKind(
            says="takes the values of another checkpoint of its kind (the next one)",
            fits=lambda one, graph: bool(_alike(one, graph)),
            make=_swap,
        ),
        "permute_candidates": ValueKind(
            says="each candidate takes the value of the next one in its request",
            fits=_has_candidates,
            make=_permute,
        ),
    }
)
