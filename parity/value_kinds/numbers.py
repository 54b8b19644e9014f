"""Units, signs, bounds, digits and missing values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.value_kinds.kind import (
    Change,
    ValueKind,
    by_number,
    is_real,
    is_real_feature,
    may_miss,
    number_from,
    plain,
)
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.trace import Array

# Enough to be a bug anyone would want found, and small enough to be one that goes unseen: a
# feature in another unit moves by far more, a layer or output by a hundredth.
FEATURE_SCALE = 1.5
LAYER_SCALE = 1.01
# What decoders write for a missing value.
DEFAULT = -1.0
# Significant decimal digits that a float printed with "%.3g" keeps.
DIGITS = 3
# Decimals of an amount of money.
DECIMALS = 2
# The bits of a float32 that a bfloat16 drops.
_DROPPED = 16


def _scale(argument: str | None, one: Checkpoint, _: CheckpointGraph) -> Change:
    usual = FEATURE_SCALE if one.stage == "feature" else LAYER_SCALE
    factor = number_from(argument, usual, "scale")
    return Change(apply=lambda v, _, __: v.astype(np.float64) * factor)


def _rounding(argument: str | None, _: Checkpoint, __: CheckpointGraph) -> Change:
    if argument == "float16":
        return Change(apply=lambda v, _, __: _to_float16(v))
    if argument == "bfloat16":
        return Change(apply=lambda v, _, __: _to_bfloat16(v))
    digits = int(number_from(argument, DIGITS, "rounding"))
    return Change(apply=lambda v, _, __: _to_digits(v, digits))


def _to_float16(values: Array) -> Array:
    with np.errstate(over="ignore"):  # beyond 65504 a float16 is infinite: that is the bug
        return values.astype(np.float16)


def _to_bfloat16(values: Array) -> Array:
    """Rounded to nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    up = ((bits >> _DROPPED) & 1) + (1 << (_DROPPED - 1)) - 1
    rounded = ((bits + up) >> _DROPPED << _DROPPED).astype(np.uint32).view(np.float32)
    return np.where(np.isfinite(values), rounded, values)


def _to_digits(values: Array, digits: int) -> Array:
    wide = values.astype(np.float64)
    usable = np.isfinite(wide) & (wide != 0.0)
    magnitude = np.floor(np.log10(np.abs(np.where(usable, wide, 1.0))))
    scale = 10.0 ** (digits - 1 - magnitude)
    return np.where(usable, np.round(wide * scale) / scale, wide)


def _log1p(values: Array) -> Array:
    return np.log1p(np.maximum(values.astype(np.float64), 0.0))


NUMBER_KINDS: Mapping[str, ValueKind] = {
    "constant_default": by_number(
        "constant_default",
        "a missing value becomes a constant (-1)",
        may_miss,
        DEFAULT,
        lambda v, constant: np.where(np.isnan(v), constant, v),
    ),
    "missing_zero_swap": plain(
        "missing_zero_swap",
        "a missing value becomes 0, and 0 becomes missing",
        may_miss,
        lambda v: np.where(np.isnan(v), 0.0, np.where(v == 0.0, np.nan, v)),
    ),
    "value_for_missing": by_number(
        "value_for_missing",
        "a value (0) is taken for a missing one",
        may_miss,
        0.0,
        lambda v, value: np.where(v == value, np.nan, v),
    ),
    "never_filled": by_number(
        "never_filled",
        "always the same value (0): a field that nobody fills",
        is_real_feature,
        0.0,
        np.full_like,
    ),
    "scale": ValueKind(
        says="times a factor (1.5 at a feature, 1.01 elsewhere): another unit, a wrong weight",
        fits=is_real,
        make=_scale,
    ),
    "offset": by_number(
        "offset",
        "a constant more (1): another zero point",
        is_real,
        1.0,
        lambda v, constant: v.astype(np.float64) + constant,
    ),
    "sign": plain("sign", "the other sign: a difference taken the other way round", is_real, lambda v: -v),
    "absolute": plain("absolute", "the sign is lost", is_real, np.abs),
    "clipped": by_number(
        "clipped", "cut at a largest value (1)", is_real, 1.0, np.minimum
    ),
    "integer_truncation": plain(
        "integer_truncation", "cast to an integer on the way", is_real_feature, np.trunc
    ),
    "rounding": ValueKind(
        says="rounded to so many significant digits (3), to float16 or to bfloat16",
        fits=is_real,
        make=_rounding,
    ),
    "decimals": by_number(
        "decimals",
        "rounded to so many decimals (2)",
        is_real,
        DECIMALS,
        lambda v, decimals: np.round(v.astype(np.float64), int(decimals)),
    ),
    "log_added": plain("log_added", "log1p is taken once more", is_real_feature, _log1p),
    "log_left_out": plain(
        "log_left_out",
        "the logarithm of log1p is left out",
        is_real_feature,
        lambda v: np.expm1(np.minimum(v.astype(np.float64), 80.0)),
    ),
    "square": plain(
        "square", "squared: a square root is left out", is_real_feature, lambda v: v.astype(np.float64) ** 2
    ),
}  # fmt: skip
