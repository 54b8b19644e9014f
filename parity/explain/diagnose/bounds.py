"""Values held within bounds, or moved around them: clipping, saturation, integer wrap."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.fitting import commonest
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.wording import number, price
from replay.trace import Array

# Bits of the integers that values are stored in, signed or not.
_WIDTHS = (8, 16, 32)
_LIMITS = {float(2**width - 1): f"uint{width}" for width in _WIDTHS} | {
    float(2 ** (width - 1) - 1): f"int{width}" for width in _WIDTHS
}


def bound_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Clipping from above, from below, from both, and wrap-around."""
    cells = sample.finite
    if not len(cells):
        return
    r, c = sample.reference[cells], sample.challenger[cells]
    high = commonest(c[c < r])
    low = commonest(c[c > r])
    top = high.value if high is not None and high.count > 1 else None
    bottom = low.value if low is not None and low.count > 1 else None
    if sample.is_integer and sample.num_channels == 1:
        # Of codes one that becomes another is no bound, unless it is the last one of its table.
        last = sample.reference.max()
        if top is not None and len(np.unique(r[c < r])) < 2 and top != last - 1:
            top = None
        if bottom is not None and len(np.unique(r[c > r])) < 2:
            bottom = None
    if top is not None:
        yield _clip(None, top)
    if bottom is not None:
        yield _clip(bottom, None)
    if top is not None and bottom is not None and bottom < top:
        yield _clip(bottom, top)
    if sample.is_whole:
        yield from _wraps(sample)


def _clip(low: float | None, high: float | None) -> Hypothesis:
    limits = {name: v for name, v in (("low", low), ("high", high)) if v is not None}
    if low is not None and high is not None:
        says = f"values outside {number(low)} to {number(high)} become the bound"
    elif high is not None:
        says = f"values above {number(high)} become {number(high)}"
    else:
        assert low is not None
        says = f"values below {number(low)} become {number(low)}"
    saturated = _LIMITS.get(float(high)) if high is not None else None
    return Hypothesis(
        kind="clipped",
        says=says,
        meaning=f"saturated as {saturated}" if saturated else "clipped",
        parameters=limits,
        bits=sum(price(value) for value in limits.values()),
        curve=lambda v: np.clip(v, low, high),
        reach="all",
    )


def _wraps(sample: Sample) -> Iterator[Hypothesis]:
    values = sample.reference
    finite = np.isfinite(sample.r)
    for width in _WIDTHS:
        span, half = 2**width, 2 ** (width - 1)
        for signed in (True, False):
            low = -half if signed else 0
            if not finite.any() or _within(sample.r[finite], low, low + span - 1):
                continue
            name = f"{'int' if signed else 'uint'}{width}"
            yield Hypothesis(
                kind="integer_wrap",
                says=f"challenger = reference as {name}, wrapped around",
                meaning=f"it overflows {name}",
                parameters={"bits": width, "signed": int(signed)},
                bits=math.log2(2 * len(_WIDTHS)),
                values=np.mod(values - low, span) + low,
                reach="all",
            )
    top = commonest(np.asarray([sample.c[finite & np.isfinite(sample.c)].max(initial=0.0)]))
    if top is not None and top.value >= 1.0:
        count = int(top.value) + 1
        for first in (0, 1):
            modulus = count - first
            if modulus > 1 and sample.r[finite].max(initial=0.0) >= count:
                yield Hypothesis(
                    kind="modulus",
                    says=f"challenger = reference modulo {modulus}",
                    meaning="another number of buckets",
                    parameters={"modulus": modulus, "first": first},
                    bits=2.0 * math.log2(modulus) + 2.0,
                    values=_modulo(values, modulus, first),
                    reach="all",
                )


def _within(values: Array, low: float, high: float) -> bool:
    return bool(values.min() >= low and values.max() <= high)


def _modulo(values: Array, modulus: int, first: int) -> Array:
    """Codes from `first` on wrapped around; code 0 stays what it is where 1 is the first."""
    if not first:
        return np.mod(values, modulus)
    return np.where(values == 0, 0, np.mod(values - 1, modulus) + 1)
