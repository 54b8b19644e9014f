"""Fewer digits or bits than the reference has."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.fitting import densest
from parity.explain.diagnose.hypothesis import Curve, Hypothesis
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.wording import REAL_BITS, number
from parity.tolerance import Floats
from replay.trace import Array

_DIGITS = range(1, 7)
_DECIMALS = range(7)
_CHOICES = math.log2(len(_DIGITS) + len(_DECIMALS) + 7)


def rounding_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Rounding to digits, decimals, a step, an integer, or a narrower type."""
    if sample.is_integer:
        yield _rounded("float32", "precision_float32", "an integer passes through a float32",
                       lambda v: v.astype(np.float32).astype(np.float64), sample)  # fmt: skip
        return
    if not len(sample.finite):
        return
    yield _rounded("float16", "precision_float16", "half precision", as_float16, sample)
    yield _rounded("bfloat16", "precision_bfloat16", "brain floating point", as_bfloat16, sample)
    yield _rounded("bfloat16, cut off", "precision_bfloat16", "the low 16 bits are dropped",
                   cut_bfloat16, sample)  # fmt: skip
    if sample.evidence.reference.dtype.itemsize > 4:
        yield _rounded("float32", "precision_float32", "single precision",
                       lambda v: v.astype(np.float32).astype(np.float64), sample)  # fmt: skip
    if sample.is_whole:
        return
    for name, curve in (("truncated", np.trunc), ("rounded down", np.floor),
                        ("rounded up", np.ceil)):  # fmt: skip
        yield Hypothesis(
            kind="integer_truncation",
            says=f"challenger = reference {name} to an integer",
            meaning="a cast to an integer" if name == "truncated" else "fractions are lost",
            bits=_CHOICES,
            curve=curve,
            steps=True,
        )
    for digits in _DIGITS:
        yield Hypothesis(
            kind="rounding",
            says=f"challenger = reference rounded to {digits} significant digit"
            f"{'s' if digits > 1 else ''}",
            meaning="text with few digits in between",
            parameters={"digits": digits},
            bits=_CHOICES,
            curve=_to_digits(digits),
            steps=True,
        )
    for decimals in _DECIMALS:
        yield Hypothesis(
            kind="rounding",
            says=f"challenger = reference rounded to {decimals} decimal"
            f"{'s' if decimals != 1 else ''}",
            meaning="text with few digits in between" if decimals else "fractions are lost",
            parameters={"decimals": decimals},
            bits=_CHOICES,
            curve=_to_decimals(decimals),
            steps=True,
        )
    yield from _step(sample)


def as_float16(values: Array) -> Floats:
    """Rounded to half precision; beyond 65504 it is infinite."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float16).astype(np.float64)


def as_bfloat16(values: Array) -> Floats:
    """Rounded to the nearest of the floats with 8 significant bits, ties to even."""
    words = _words(values)
    rounded = words + np.uint32(0x7FFF) + ((words >> np.uint32(16)) & np.uint32(1))
    return _floats(np.where(np.isnan(values), words, rounded))


def cut_bfloat16(values: Array) -> Floats:
    """The same with the low bits dropped."""
    return _floats(_words(values))


def _words(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)


def _floats(words: Array) -> Floats:
    return (words & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)


def _rounded(name: str, kind: str, meaning: str, curve: Curve, sample: Sample) -> Hypothesis:
    # Cell by cell: a bound carried through a cast would let every neighbour pass.
    return Hypothesis(
        kind=kind,
        says=f"challenger = reference rounded to {name}",
        meaning=meaning,
        bits=_CHOICES,
        values=curve(sample.reference),
    )


def _to_digits(digits: int) -> Curve:
    def rounded(values: Array) -> Array:
        usable = np.isfinite(values) & (values != 0.0)
        magnitude = np.floor(np.log10(np.abs(np.where(usable, values, 1.0))))
        scale = 10.0 ** (digits - 1 - magnitude)
        return np.where(usable, np.round(values * scale) / scale, values)

    return rounded


def _to_decimals(decimals: int) -> Curve:
    return lambda v: np.round(v, decimals)


def _step(sample: Sample) -> Iterator[Hypothesis]:
    """Multiples of one step: a quantised value."""
    values = np.unique(sample.c[np.isfinite(sample.c)])
    if not 2 < len(values) <= 256:
        return
    gaps = np.diff(values)
    found = densest(gaps, 1e-4 * np.abs(np.sort(gaps)))
    if found is None or found.value <= 0.0:
        return
    whole = np.round(values / found.value)
    step = float(values @ whole / (whole @ whole)) if whole.any() else found.value
    if abs(step * 10.0 ** round(-math.log10(step)) - 1.0) < 1e-6:
        return  # a power of ten is so many decimals
    for name, curve in (("rounded", np.round), ("cut off", np.floor)):
        yield Hypothesis(
            kind="quantised",
            says=f"challenger = reference {name} to multiples of {number(step)}",
            meaning="quantised, or computed from a coarser number",
            parameters={"step": step},
            bits=REAL_BITS,
            needs=3,
            values=curve(sample.r / step) * step,
            slack=np.full(len(sample.r), 1e-6 * step),
        )
