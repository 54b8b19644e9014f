"""Outputs: the order of ties and of ranks, and the prior of a smoothed rate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.fitting import line
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.wording import REAL_BITS, nice, number
from replay.trace import Array

# Rows that a fitted rate is seen on at least.
_FEWEST = 8
# A fit is exact up to the rounding of float32 rates times thousands of trials.
_NEARLY = 2e-3


def output_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Ranks by the same score in another order, and rates with another prior."""
    if sample.num_channels != 1:
        return
    if sample.evidence.unit == "place" or sample.evidence.name == "rank":
        yield from _ranks(sample)
    if not sample.is_integer and sample.evidence.stage == "feature":
        yield from _priors(sample)
        yield from _smoothings(sample)


def _ranks(sample: Sample) -> Iterator[Hypothesis]:
    owner, rows = sample.request_of_row, np.arange(len(sample.rows), dtype=np.int64)
    sizes = np.diff(sample.starts)[owner]
    yield Hypothesis(
        kind="rank_reversed",
        says="the last rank is first",
        meaning="sorted the other way round",
        values=sizes - 1 - sample.reference,
    )
    yield Hypothesis(
        kind="rank_reversed",
        says="the last rank is first, counted from 1",
        meaning="sorted the other way round",
        values=sizes - sample.reference,
    )
    for name, scores in sample.along(sample.evidence.others).items():
        if name not in sample.evidence.parents or scores.dtype.kind != "f":
            continue
        for words, ties in (("the first row", rows), ("the last row", -rows)):
            order = np.lexsort((ties, -scores, owner))
            values = np.empty_like(rows)
            values[order] = rows - sample.starts[:-1][owner]
            yield Hypothesis(
                kind="tie_order",
                says=f"of candidates with equal {name} {words} comes first",
                meaning="ties are broken in another order",
                bits=1.0,
                values=values.astype(sample.reference.dtype),
                reach="all",
            )


def _priors(sample: Sample) -> Iterator[Hypothesis]:
    """(events + prior x weight) / (trials + weight) moves by d x weight / (trials + weight)."""
    cells = sample.finite
    apart = sample.c[cells] - sample.r[cells]
    usable = apart != 0.0
    if usable.sum() < _FEWEST:
        return
    for name, trials in sample.along(sample.evidence.context).items():
        x = trials[cells]
        known = usable & np.isfinite(x) & (x >= 0.0)
        if known.sum() < _FEWEST or np.ptp(x[known]) == 0.0:
            continue
        found = line(x[known], 1.0 / apart[known], within=1e-3)
        if found is None or found.intercept == 0.0 or found.slope / found.intercept <= 0.0:
            continue
        weight = found.intercept / found.slope
        moved = 1.0 / found.intercept
        weight = nice(weight, within=1e-3) or weight
        values: Array = sample.r + moved * weight / (trials + weight)
        yield Hypothesis(
            kind="rate_prior",
            says=f"the difference shrinks as {number(moved)} x {weight:.4g} / ({name} + "
            f"{weight:.4g})",
            meaning=f"a smoothed rate's prior is {abs(moved):.3g} too "
            f"{'high' if moved > 0 else 'low'}",
            parameters={"prior": moved, "weight": weight, "trials": name},
            bits=2.0 * REAL_BITS,
            needs=4,
            values=values,
            slack=2e-3 * np.abs(values - sample.r),
        )


def _smoothings(sample: Sample) -> Iterator[Hypothesis]:
    """A rate smoothed by another weight, or by none.

    From r (n + w) = e + p w and c (n + w') = e + p' w' follows (c - r) n = w r - w' c + k: linear
    in what is not known.
    """
    cells = sample.finite
    if len(cells) < _FEWEST:
        return
    r, c = sample.r[cells], sample.c[cells]
    for name, trials in sample.along(sample.evidence.context).items():
        n = trials[cells]
        usable = np.isfinite(n) & (n > 0.0) & (r != c)
        if usable.sum() < _FEWEST or np.ptp(n[usable]) == 0.0:
            continue
        design = np.stack([r, -c, np.ones(len(r))], axis=1)[usable]
        goal = ((c - r) * n)[usable]
        sizes = np.abs(design).max(axis=0)
        if not (np.isfinite(goal).all() and sizes.all()):
            continue
        solved, _, rank, _ = np.linalg.lstsq(design / sizes, goal, rcond=1e-9)
        weights = solved / sizes
        off = np.abs(design @ weights - goal)
        if rank < len(sizes) or float(np.median(off)) > _NEARLY * float(np.median(np.abs(goal))):
            continue
        before, after, added = (nice(float(one), within=1e-3) or float(one) for one in weights)
        after = 0.0 if abs(after) < _NEARLY * abs(before) else after
        if before <= 0.0 or after < 0.0 or abs(after - before) < _NEARLY * before:
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            values: Array = (sample.r * (trials + before) + added) / (trials + after)
        yield Hypothesis(
            kind="rate_prior",
            says=f"a rate over {name} is smoothed by {after:.4g} in place of {before:.4g} trials",
            meaning="a smoothed rate's prior is left out"
            if after == 0.0
            else "a smoothed rate's prior counts for another number of trials",
            parameters={"weight": before, "instead": after, "trials": name},
            bits=3.0 * REAL_BITS,
            needs=5,
            values=values,
            slack=_NEARLY * np.abs(np.nan_to_num(values - sample.r)),
        )
