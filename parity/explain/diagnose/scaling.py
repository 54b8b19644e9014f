"""Another unit, a wrong weight, an offset, or both: linear changes of the value."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.fitting import commonest, densest, line
from parity.explain.diagnose.hypothesis import Curve, Hypothesis
from parity.explain.diagnose.sample import Places, Sample
from parity.explain.diagnose.wording import PLAIN, UNITS, nice, number, price, unit_words

FACTORS = (*UNITS, *(1.0 / known for known in UNITS), *PLAIN)
# A fitted factor or offset is given as a decimal of four digits where it is this close to one.
_NICE = 2e-6
_SHORT = 20.0


def scaling_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Linear changes: by a known factor, by any, by an offset, by both."""
    finite = sample.finite
    if not len(finite):
        return
    yield from _known_factors(sample, finite)
    yield from _signs(sample)
    factor = _factor(sample, finite)
    if factor is not None and not _is_known(factor):
        bits = price(factor)
        # A short factor that two values agree on is no accident.
        yield _scale(factor, sample, bits=bits, needs=2 if bits < _SHORT else 3)
    yield from _offsets(sample, finite)
    found = line(sample.r[finite], sample.c[finite])
    if sample.is_integer:
        yield from _other_end(sample, finite)
    turned = sample.is_integer and found is not None and round(found.slope, 9) == -1.0
    if found is not None and found.slope not in {0.0, 1.0} and not turned:
        yield _affine(found.slope, found.intercept, sample)


def _known_factors(sample: Sample, finite: Places) -> Iterator[Hypothesis]:
    """Only those that some cells could have: their ratios are looked up, not tried one by one."""
    r, c = sample.r[finite], sample.c[finite]
    ratios = c[r != 0.0] / r[r != 0.0]
    bits = math.log2(len(FACTORS))
    for factor in FACTORS:
        if np.mean(np.abs(ratios / factor - 1.0) < 1e-3) > 0.1 if len(ratios) else False:
            yield _scale(factor, sample, bits=bits, needs=0)
        if factor < 1.0 and sample.is_whole:
            yield Hypothesis(
                kind="integer_division",
                says=f"challenger = reference / {number(1.0 / factor)}, rounded down",
                meaning=_after(unit_words(factor, sample.evidence.unit), "by integer division"),
                parameters={"factor": factor},
                bits=bits,
                values=np.floor(sample.r / round(1.0 / factor, 12)),
            )


def _signs(sample: Sample) -> Iterator[Hypothesis]:
    yield Hypothesis(
        kind="sign",
        says="challenger = -reference",
        meaning="the sign is turned",
        curve=np.negative,
    )
    yield Hypothesis(
        kind="absolute",
        says="challenger = |reference|",
        meaning="the sign is lost",
        curve=np.abs,
    )
    binary = len(np.unique(sample.reference)) == len(np.unique(sample.challenger)) == 2
    yield Hypothesis(
        kind="negation",
        says="challenger = 1 - reference",
        meaning="negated: a mask, a flag or a probability of the opposite",
        curve=lambda v: 1 - v,
        # Of two values a differing one is the other: that all do is what has to be explained.
        reach="all" if binary else "either",
        certain=binary,
    )


def _scale(factor: float, sample: Sample, *, bits: float, needs: int) -> Hypothesis:
    words = unit_words(factor, sample.evidence.unit)
    if not words:
        words = "a wrong weight or another unit"
    if factor < 1.0 and math.isclose(1.0 / factor, round(1.0 / factor), rel_tol=1e-12):
        says = f"challenger = reference / {number(round(1.0 / factor))}"
    else:
        says = f"challenger = reference x {number(factor)}"
    return Hypothesis(
        kind="scale",
        says=says,
        meaning=words,
        parameters={"factor": factor},
        bits=bits,
        needs=needs,
        curve=_times(factor, sample),
    )


def _times(factor: float, sample: Sample) -> Curve:
    if sample.is_integer and factor == int(factor):
        whole = int(factor)
        return lambda v: v * whole
    return lambda v: v * factor


def _factor(sample: Sample, finite: Places) -> float | None:
    """The factor that most of the larger values agree on."""
    r, c = sample.r[finite], sample.c[finite]
    if not (np.abs(r) > 0.0).any():
        return None
    large = np.abs(r) >= max(float(np.median(np.abs(r))), np.finfo(np.float64).tiny)
    r, c = r[large], c[large]
    with np.errstate(over="ignore"):
        ratios = c / r
    agreed = densest(ratios, 1e-4 * np.abs(np.sort(ratios[np.isfinite(ratios)])))
    if agreed is None or agreed.value in {0.0, 1.0}:
        return None
    inside = np.abs(ratios - agreed.value) <= 1e-4 * abs(agreed.value)
    exact = float(r[inside] @ c[inside] / (r[inside] @ r[inside])) if inside.any() else math.nan
    if not math.isfinite(exact) or exact in {0.0, 1.0}:
        return None
    return nice(exact, within=_NICE) or exact


def _is_known(factor: float) -> bool:
    return any(math.isclose(factor, known, rel_tol=1e-7) for known in (*FACTORS, -1.0))


def _offsets(sample: Sample, finite: Places) -> Iterator[Hypothesis]:
    if sample.is_whole:
        apart = sample.challenger[finite] - sample.reference[finite]
        found = commonest(apart)
        if found is None:
            return
        for shift in dict.fromkeys((int(found.value), 1, -1)):
            yield _whole_offset(shift, sample)
        yield from _one_lower(sample)
        return
    r, c = sample.r[finite], sample.c[finite]
    unit = float(np.spacing(np.abs(sample.evidence.challenger.dtype.type(np.abs(r).max()))))
    apart = c - r
    agreed = densest(apart, 1e-5 * np.abs(np.sort(apart)) + 4.0 * unit)
    if agreed is None or agreed.value == 0.0:
        return
    value = nice(agreed.value, within=1e-5) or agreed.value
    yield _offset(value, sample, unit)


def _offset(value: float, sample: Sample, unit: float = 0.0) -> Hypothesis:
    return Hypothesis(
        kind="offset",
        says=f"challenger = reference {_signed(value)}",
        meaning="a constant is added or left out: a bias, a base score, another origin",
        parameters={"offset": value},
        bits=price(value),
        needs=3,
        curve=lambda v: v + value,
        slack=np.full(len(sample.reference), 2.0 * unit),
    )


def _one_lower(sample: Sample) -> Iterator[Hypothesis]:
    """One lower, where the first value has nothing below it."""
    finite = sample.reference[np.isfinite(sample.r)]
    first = finite.min()
    for lowest, words in ((first, "stays"), (first + 1, f"becomes {number(float(first) + 1.0)}")):
        values = np.where(sample.reference == first, lowest, sample.reference - 1)
        yield Hypothesis(
            kind="off_by_one",
            says=f"one lower, and {number(float(first))} {words}",
            meaning="off by one: an index that starts elsewhere",
            parameters={"offset": -1},
            bits=3.0,
            values=values,
            reach="all",
            certain=sample.is_integer and sample.meets_each_value(values),
        )


def _whole_offset(shift: int, sample: Sample) -> Hypothesis:
    if abs(shift) == 1:
        return Hypothesis(
            kind="off_by_one",
            says=f"one {'higher' if shift > 0 else 'lower'}",
            meaning="off by one: an index that starts elsewhere"
            + (", or values that all lie on a bucket's edge" if _is_bucket(sample) else ""),
            parameters={"offset": shift},
            bits=1.0,
            curve=lambda v: v + shift,
            certain=sample.is_integer and sample.meets_each_value(sample.reference + shift),
        )
    is_id = sample.is_integer
    return Hypothesis(
        kind="id_offset" if is_id else "offset",
        says=f"challenger = reference {_signed(shift)}",
        meaning=(
            "ids or codes start elsewhere: reserved ids, another first column"
            if is_id
            else "a constant is added or left out"
        ),
        parameters={"offset": shift},
        bits=2.0 * math.log2(abs(shift) + 1) + 1.0,
        needs=3,
        curve=lambda v: v + shift,
        # Ids below zero where there were none are a sign that is lost, not another first id.
        reach="all"
        if is_id and sample.challenger.min() < 0 <= sample.reference.min()
        else "either",
    )


def _other_end(sample: Sample, finite: Places) -> Iterator[Hypothesis]:
    """Codes counted from the other end: their sum is one number."""
    found = commonest(sample.challenger[finite] + sample.reference[finite])
    if found is None:
        return
    total = int(found.value)
    yield Hypothesis(
        kind="relabelled",
        says=f"codes are counted from the other end: {total} - reference",
        meaning="the vocabulary stands in reverse order",
        parameters={"sum": total},
        bits=2.0 * math.log2(abs(total) + 1) + 1.0,
        needs=3,
        values=total - sample.reference,
    )


def _is_bucket(sample: Sample) -> bool:
    return "bucket" in f"{sample.evidence.unit} {sample.evidence.name}"


def _affine(slope: float, intercept: float, sample: Sample) -> Hypothesis:
    slope = nice(slope, within=_NICE) or slope
    intercept = nice(intercept, within=_NICE) or intercept
    if slope == 1.0:
        return _offset(intercept, sample)
    return Hypothesis(
        kind="affine",
        says=f"challenger = reference x {number(slope)} {_signed(intercept)}",
        meaning="weights are scaled and the bias is not, or another gain and bias"
        if sample.evidence.stage == "layer"
        else "another scale and origin, such as a standardisation with other figures",
        parameters={"slope": slope, "intercept": intercept},
        bits=price(slope) + price(intercept),
        needs=4,
        curve=lambda v: v * slope + intercept,
    )


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '-'} {number(abs(value))}"


def _after(words: str, more: str) -> str:
    return f"{words}, {more}" if words else more
