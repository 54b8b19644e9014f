"""Outputs: the order of ties and of ranks, and the prior of a smoothed rate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.fitting import line
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.wording import REAL_BITS, nice, number
from replay.trace import Array


def output_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Ranks by the same score in another order, and rates with another prior."""
    if sample.num_channels != 1:
        return
    if sample.evidence.unit == "place" or sample.evidence.name == "rank":
        yield from _ranks(sample)
    if not sample.is_integer and sample.evidence.stage == "feature":
        yield from _priors(sample)


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
    if usable.sum() < 8:
        return
    for name, trials in sample.along(sample.evidence.context).items():
        x = trials[cells]
        known = usable & np.isfinite(x) & (x >= 0.0)
        if known.sum() < 8 or np.ptp(x[known]) == 0.0:
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
