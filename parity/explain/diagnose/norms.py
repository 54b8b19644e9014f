"""Norms: another epsilon, told from the input of a norm or from how it scales each row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.score import LEFT
from parity.explain.diagnose.wording import REAL_BITS, number
from parity.tolerance import Floats, Mask

EPSILONS = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
PERFECT = 1e-4  # relative to a layer's spread: its inputs reproduce the reference
_NO_NORM = 0.3
# A row's factor and the bias that it leaves alone, in turns; they settle within ten.
_TURNS = 20
# Of the fitted rows, so many have a positive variance where a pair of epsilons is the right one.
_POSITIVE = 0.95
# What is not linear in the inputs, against all that varies from row to row: 2e-4 of a norm in float32,
# 0.1 and more of what only looked like one (an attention's mean square in place of its variance, a GELU).
_LINEAR = 0.02
# Of the differing cells: an epsilon concerns every row.
_MOSTLY = 0.9
# Rows that one free parameter is fitted on.
_ROWS_A_CHANNEL = 32
# Two pairs of epsilons whose variances are off alike can not be told apart.
_AS_GOOD = 1.5


def norm_hypotheses(sample: Sample, name: str, inputs: Floats) -> Iterator[Hypothesis]:
    """Another epsilon of a norm over the last axis.

    Args:
        sample: Every channel of a layer.
        name: Of the inputs, in words.
        inputs: [row, channel], what may be normalised, or a part of it.
    """
    found = list(_of_input(sample, name, inputs))
    yield from found or _of_scale(sample, name, inputs)


def arithmetic_room(sample: Sample) -> Floats:
    """[cell]: how far off float32 arithmetic over a row may be."""
    spread = float(np.nanstd(sample.r)) or 1.0
    return np.full(len(sample.r), 2e-6 * spread)


def _of_input(sample: Sample, name: str, inputs: Floats) -> Iterator[Hypothesis]:
    """The parent, normalised over its last axis with another epsilon, gain and bias as they are."""
    width = sample.evidence.reference.shape[-1]
    if width < 4:
        return
    x, ours = inputs.reshape(-1, width), sample.r.reshape(-1, width)
    whole = np.isfinite(x).all(axis=1) & np.isfinite(ours).all(axis=1)
    fitted = whole & ~sample.held.reshape(-1, width)[:, 0]
    if fitted.sum() < 4:
        return
    spread = float(np.nanstd(sample.r)) or 1.0
    for centred, kind in ((True, "layer norm"), (False, "RMS norm")):
        moved = x - x.mean(axis=1, keepdims=True) if centred else x
        power = np.mean(moved * moved, axis=1, keepdims=True)
        best: tuple[float, float, Floats, Floats] | None = None
        for eps in EPSILONS:
            with np.errstate(all="ignore"):
                normal = moved / np.sqrt(power + eps)
            gain, bias = _per_channel(normal[fitted], ours[fitted])
            off = float(np.median(np.abs(normal * gain + bias - ours)[whole]))
            if best is None or off < best[0]:
                best = off, eps, gain, bias
            if off > _NO_NORM * spread:
                break  # no epsilon makes this input one of a norm
        assert best is not None
        off, own, gain, bias = best
        if not off < PERFECT * spread:
            continue
        for eps in EPSILONS:
            if eps != own:
                with np.errstate(all="ignore"):
                    values = moved / np.sqrt(power + eps) * gain + bias
                yield Hypothesis(
                    kind="epsilon",
                    says=f"the {kind} of {name} has epsilon {number(eps)} instead of {number(own)}",
                    meaning="another epsilon",
                    parameters={"reference": own, "challenger": eps},
                    bits=math.log2(len(EPSILONS)),
                    values=values.reshape(-1),
                    slack=arithmetic_room(sample) + 4.0 * off,
                )


def _per_channel(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Gain and bias of each channel by least squares."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    moved = x - x_mean
    with np.errstate(all="ignore"):
        gain = np.nan_to_num((moved * (y - y_mean)).sum(axis=0) / (moved * moved).sum(axis=0))
    return gain, y_mean - gain * x_mean


def _of_scale(sample: Sample, name: str, inputs: Floats) -> Iterator[Hypothesis]:
    """The norm of the inputs and of constants that are no checkpoint: a query, a position.

    Another epsilon scales each row by sqrt((v + eps) / (v + other)), v being its variance: so the
    factor of a row says what its variance is. That has to be the variance of the inputs plus what
    is linear in them, which is fitted on half of the rows and decides on the others.
    """
    width = sample.evidence.reference.shape[-1]
    ours, theirs = sample.r.reshape(-1, width), sample.c.reshape(-1, width)
    fitted = ~sample.held.reshape(-1, width)[:, 0]
    enough = fitted.sum() >= 2 * (width + 1) and width >= 4 and len(inputs) == len(ours)
    if not enough or not all(np.isfinite(one).all() for one in (ours, theirs, inputs)):
        return
    bias = _unscaled(ours[fitted], theirs[fitted])
    moved = ours - bias
    with np.errstate(all="ignore"):
        factor = 1.0 + (moved * (theirs - ours)).sum(axis=1) / (moved * moved).sum(axis=1)
        left = np.abs(bias + moved * factor[:, np.newaxis] - theirs)[fitted]
    if not np.median(left) < LEFT * np.median(np.abs(theirs - ours)[fitted]):
        return  # the rows are not scaled
    for centred, kind in ((True, "layer norm"), (False, "RMS norm")):
        moved_inputs = inputs - inputs.mean(axis=1, keepdims=True) if centred else inputs
        pairs = itertools.permutations(EPSILONS, 2)
        fits = [_variances(factor, fitted, moved_inputs, pair) for pair in pairs]
        close = _closest([one for one in fits if one is not None])
        if not close:
            continue
        fit = close[0]
        if not _is_norm(moved[fitted], moved_inputs[fitted], fit.variance[fitted] + fit.own):
            continue
        with np.errstate(all="ignore"):
            scale = np.sqrt((fit.variance + fit.own) / (fit.variance + fit.other))
        own = _said([one.own for one in close], fit)
        other = _said([one.other for one in close], fit)
        yield Hypothesis(
            kind="epsilon",
            says=f"the {kind} of {name} and constants has epsilon {other} instead of {own}",
            meaning="another epsilon",
            parameters={"reference": own, "challenger": other},
            bits=2.0 * math.log2(len(EPSILONS)) + REAL_BITS * (2 * width + 1),
            values=(bias + moved * scale[:, np.newaxis]).reshape(-1),
            slack=arithmetic_room(sample),
            reach="all",
            purity=_MOSTLY,
        )


def _closest(fits: Sequence[_Fit]) -> list[_Fit]:
    """The best, and those that can not be told from it: beside 1e-3, 1e-5 is as good as 1e-6."""
    fits = sorted(fits, key=lambda one: one.off)
    return [one for one in fits if one.off <= _AS_GOOD * fits[0].off]


def _said(values: Sequence[float], fit: _Fit) -> str:
    """One side's epsilon, or what is known of it."""
    if len(set(values)) == 1:
        return number(values[0])
    return "a smaller one" if values[0] == min(fit.own, fit.other) else "a larger one"


def _is_norm(moved: Floats, inputs: Floats, power: Floats) -> bool:
    """Whether the reference, not normalised again, is linear in the inputs, channel by channel."""
    with np.errstate(all="ignore"):
        before = moved * np.sqrt(power)[:, np.newaxis]
    gain, constant = _per_channel(inputs, before)
    left = np.abs(inputs * gain + constant - before)
    return bool(np.median(left) < _LINEAR * np.std(before - before.mean(axis=0)))


def _unscaled(ours: Floats, theirs: Floats) -> Floats:
    """[channel]: what stays where each row is scaled by a factor of its own."""
    apart, bias = theirs - ours, np.zeros(ours.shape[1])
    with np.errstate(all="ignore"):
        for _ in range(_TURNS):
            moved = ours - bias
            by = ((apart * moved).sum(axis=1) / (moved * moved).sum(axis=1))[:, np.newaxis]
            bias = np.nan_to_num(((by * ours - apart) * by).sum(axis=0) / (by * by).sum(axis=0))
    return bias


class _Fit(NamedTuple):
    """Two epsilons, the variance of each row that goes with them, and how far it is off."""

    own: float
    other: float
    variance: Floats
    off: float


def _variances(
    factor: Floats, fitted: Mask, inputs: Floats, epsilons: tuple[float, float]
) -> _Fit | None:
    """The variance that inputs and constants have, where the factors of rows say what it is."""
    own, other = epsilons
    with np.errstate(all="ignore"):
        seen = (own - factor**2 * other) / (factor**2 - 1.0)
    good = fitted & np.isfinite(seen) & (seen > 0.0)
    if good.sum() < _POSITIVE * fitted.sum():
        return None
    used = np.flatnonzero(good)
    used = used[:: max(len(used) // (_ROWS_A_CHANNEL * inputs.shape[1]), 1)]
    power = np.mean(inputs * inputs, axis=1)
    known = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    # Of a small variance a small error matters as much as a large one of a large variance.
    weight = 1.0 / seen[used, np.newaxis]
    solved = np.linalg.lstsq(known[used] * weight, (seen - power)[used] * weight[:, 0], rcond=None)
    variance = power + known @ solved[0]
    off = float(np.median(np.abs(variance[used] / seen[used] - 1.0)))
    return _Fit(own, other, variance, off)
