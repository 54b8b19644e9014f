"""Another function of the same value: logarithms, roots, squares, exponentials, sigmoids."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.fitting import densest, line
from parity.explain.diagnose.hypothesis import Curve, Hypothesis
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.scaling import FACTORS
from parity.explain.diagnose.wording import REAL_BITS, number, unit_words
from replay.trace import Array


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(values, dtype=np.float64))))


def logit(values: Array) -> Array:
    """log(p / (1 - p)); infinite at 0 and 1."""
    return np.asarray(np.log(values) - np.log1p(-np.asarray(values, dtype=np.float64)))


# kind, what the challenger does, what it means, the curve
_CURVES: tuple[tuple[str, str, str, Curve], ...] = (
    ("log_for_log1p", "challenger = log(x) where reference = log(1 + x)",
     "the logarithm without its 1 +", lambda v: np.log(np.expm1(v))),
    ("log1p_for_log", "challenger = log(1 + x) where reference = log(x)",
     "log1p in place of log", lambda v: np.logaddexp(0.0, v)),
    ("log_left_out", "challenger = exp(reference) - 1", "log1p is left out", np.expm1),
    ("log_left_out", "challenger = exp(reference)",
     "the logarithm is left out, or an exponential is added", np.exp),
    ("log_added", "challenger = log(1 + reference)", "log1p is taken once more", np.log1p),
    ("log_added", "challenger = log(reference)", "a logarithm is taken once more", np.log),
    ("log_added", "challenger = log10(reference)", "a logarithm to base 10 is added", np.log10),
    ("log_added", "challenger = log2(reference)", "a logarithm to base 2 is added", np.log2),
    ("log_added", "challenger = log10(1 + reference)", "a logarithm to base 10 is added",
     lambda v: np.log10(1.0 + v)),
    ("log_added", "challenger = log2(1 + reference)", "a logarithm to base 2 is added",
     lambda v: np.log2(1.0 + v)),
    ("square_root", "challenger = sqrt(reference)", "a square root is added", np.sqrt),
    ("square", "challenger = reference squared", "squared, or a square root is left out",
     lambda v: v * 1.0 * v),
    ("inverse", "challenger = 1 / reference", "the ratio is upside down", lambda v: 1.0 / v),
    ("double_sigmoid", "challenger = sigmoid(reference)",
     "a sigmoid is applied once more", sigmoid),
    ("sigmoid_left_out", "challenger = log-odds of reference", "the sigmoid is left out", logit),
    ("tanh_added", "challenger = tanh(reference)", "a tanh is added", np.tanh),
)  # fmt: skip


def curve_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Fixed curves, then those with a parameter inside."""
    for kind, says, meaning, curve in _CURVES:
        yield Hypothesis(kind=kind, says=says, meaning=meaning, curve=_in_floats(curve))
    if sample.is_integer or not len(sample.finite):
        return
    yield from _inside_log1p(sample)
    yield from _calibration(sample)


def _in_floats(curve: Curve) -> Curve:
    return lambda v: curve(np.asarray(v, dtype=np.float64))


def _inside_log1p(sample: Sample) -> Iterator[Hypothesis]:
    """log1p of another unit, or of a later time, under a logarithm that both sides take."""
    cells = sample.finite
    r, c = sample.r[cells], sample.c[cells]
    usable = (r > 0.0) & (r < 60.0) & (c > -1.0) & (c < 60.0)
    if not usable.any():
        return
    inner, other = np.expm1(r[usable]), np.expm1(c[usable])
    ratio = densest(other / inner, 1e-3 * np.abs(np.sort(other / inner)))
    for factor in FACTORS:
        if ratio is not None and math.isclose(ratio.value, factor, rel_tol=1e-3):
            yield Hypothesis(
                kind="scale_in_log",
                says=f"challenger = log(1 + x x {number(factor)}) where reference = log(1 + x)",
                meaning=unit_words(factor, ""),
                parameters={"factor": factor},
                bits=math.log2(len(FACTORS)),
                curve=_log1p_scaled(factor),
            )
    shift = densest(other - inner, 1e-3)
    if shift is not None and abs(shift.value) >= 0.2:
        hours = round(shift.value * 4.0) / 4.0
        if abs(hours - shift.value) < 0.01 and hours:
            yield Hypothesis(
                kind="shift_in_log",
                says=f"challenger = log(1 + x {'+' if hours > 0 else '-'} {number(abs(hours))}) "
                "where reference = log(1 + x)",
                meaning="a constant is added under the logarithm: where x is hours, a time zone",
                parameters={"shift": hours},
                bits=2.0 * math.log2(4.0 * abs(hours) + 1.0) + 1.0,
                needs=3,
                curve=lambda v: np.log1p(np.maximum(np.expm1(v) + hours, 0.0)),
            )


def _log1p_scaled(factor: float) -> Curve:
    return lambda v: np.log1p(np.expm1(v) * factor)


def _calibration(sample: Sample) -> Iterator[Hypothesis]:
    """A probability whose log-odds were changed by a line."""
    cells = sample.finite
    r, c = sample.r[cells], sample.c[cells]
    both = np.concatenate([r, c])
    if both.min() <= 0.0 or both.max() >= 1.0:
        return
    found = line(logit(r), logit(c), within=1e-4)
    if found is None:
        return
    slope, intercept = found.slope, found.intercept
    yield Hypothesis(
        kind="calibration",
        says=f"log-odds of challenger = log-odds of reference x {number(slope)} "
        f"{'+' if intercept >= 0 else '-'} {number(abs(intercept))}",
        meaning="another calibration of the probability (its slope, its intercept, or a base score)",
        parameters={"slope": slope, "intercept": intercept},
        bits=2.0 * REAL_BITS,
        needs=4,
        curve=lambda v: sigmoid(slope * logit(v) + intercept),
    )
