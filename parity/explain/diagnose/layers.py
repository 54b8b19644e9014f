"""Layers: another activation, another epsilon in a norm, dropout, reduced precision."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.activations import activation_hypotheses
from parity.explain.diagnose.fitting import densest
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.norms import norm_hypotheses
from parity.explain.diagnose.rounding import as_bfloat16, as_float16
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.wording import REAL_BITS, number
from parity.tolerance import Floats


def layer_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """What only a layer can have."""
    if sample.is_integer or not len(sample.finite):
        return
    yield from _dropout(sample)
    yield from _computed_in(sample)
    if sample.evidence.stage not in {"layer", "output"}:
        return
    for name, values in _inputs(sample):
        if sample.num_channels == values.shape[1]:
            yield from norm_hypotheses(sample, name, values)
        if " + " not in name:
            yield from activation_hypotheses(sample, name, values[:, sample.channels].reshape(-1))


def _inputs(sample: Sample) -> Iterator[tuple[str, Floats]]:
    """[row, inner] of each parent, and of their sum: a residual stream.

    A parent that has more rows of channels, such as tokens, is looked at by its first ones and by
    its last ones: what is computed of one token only.
    """
    shape = sample.evidence.reference.shape[1:]
    width, size = shape[-1] if shape else 1, math.prod(shape)
    for take in ("first", "last"):
        found: dict[str, Floats] = {}
        cut = False
        for name in sample.evidence.parents:
            values = sample.evidence.others[name]
            if values.dtype.kind != "f" or values.ndim < 2 or values.shape[-1] != width:
                continue
            flat = sample.beside(values).reshape(len(sample.rows), -1).astype(np.float64)
            if flat.shape[1] < size:
                continue
            cut |= flat.shape[1] > size
            found[name] = flat[:, :size] if take == "first" else flat[:, -size:]
        if take == "last" and not cut:
            return
        yield from found.items()
        if 1 < len(found) <= 3:
            yield " + ".join(found), np.sum(list(found.values()), axis=0)


def _dropout(sample: Sample) -> Iterator[Hypothesis]:
    """Some values are zero, the others are larger by what the zeros took."""
    cells = sample.finite
    r, c = sample.r[cells], sample.c[cells]
    kept = (c != 0.0) & (r != 0.0)
    if not kept.any() or kept.all():
        return
    found = densest(c[kept] / r[kept], 1e-4)
    if found is None or found.value <= 1.0:
        return
    factor, share = found.value, 1.0 - 1.0 / found.value
    zeros = float(np.mean(c[r != 0.0] == 0.0))
    # Five standard deviations of a share that so many cells show.
    if abs(zeros - share) > 5.0 * math.sqrt(share * (1.0 - share) / len(cells)) + 0.01:
        return
    entropy = -share * math.log2(share) - (1.0 - share) * math.log2(1.0 - share)
    yield Hypothesis(
        kind="dropout",
        says=f"{share * 100.0:.0f} % of the values are 0 and the others {number(factor)} x as large",
        meaning="dropout is left on",
        parameters={"rate": share},
        bits=REAL_BITS,
        values=np.where(sample.c == 0.0, 0.0, sample.r * factor),
        slack=1e-5 * np.abs(sample.r),
        cost=np.full(len(sample.r), entropy),
        reach="all",
    )


def _computed_in(sample: Sample) -> Iterator[Hypothesis]:
    """Every value of the challenger is one that a narrower type has, near the reference's."""
    c, r = sample.c, sample.r
    finite = np.isfinite(c) & np.isfinite(r) & (c != 0.0)
    for name, cast, bits in (("float16", as_float16, 11), ("bfloat16", as_bfloat16, 8)):
        on_grid = cast(c) == c
        if (
            not finite.any()
            or np.mean(on_grid[finite]) < 0.9
            or np.mean((cast(r) == r)[finite]) > 0.5
        ):
            continue
        unit = 2.0 ** (np.floor(np.log2(np.abs(np.where(finite, c, 1.0)))) - (bits - 1))
        spread = 2.0 ** (np.floor(math.log2(float(np.std(r[finite])) or 1.0)) - (bits - 1))
        steps = np.abs(c - r) / np.maximum(unit, spread)
        near = finite & on_grid & (steps <= 16.0)
        yield Hypothesis(
            kind=f"precision_{name}",
            says=f"every value is a {name}, within its rounding of the reference",
            meaning=f"computed in {name}",
            values=np.where(near, c, r),
            cost=np.where(near, np.log2(2.0 * np.maximum(steps, 1.0) + 2.0) + 1.0, 0.0),
            bits=2.0,
        )
