"""Missing values: a default in their place, swapped with zero, or missing where nothing was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.fitting import commonest
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Sample
from parity.explain.diagnose.wording import number, price


def missing_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """What may have become of missing values, and what may have become missing."""
    if sample.is_integer:
        return
    learning = sample.learning
    r, c = sample.r, sample.c
    filled = learning[np.isnan(r[learning]) & ~np.isnan(c[learning])]
    emptied = learning[~np.isnan(r[learning]) & np.isnan(c[learning])]
    default = commonest(c[filled])
    if default is not None:
        yield _default(default.value)
        yield Hypothesis(
            kind="stale_for_missing",
            says="a missing value becomes that of the row before it",
            meaning="a buffer that is not cleared, or a forward fill",
            values=np.where(np.isnan(r), _before(sample), r),
        )
    if (c[filled] == 0.0).any() and (r[emptied] == 0.0).any():
        yield Hypothesis(
            kind="missing_zero_swap",
            says="a missing value becomes 0, and 0 becomes missing",
            meaning="missing and zero are swapped",
            curve=lambda v: np.where(np.isnan(v), 0.0, np.where(v == 0.0, np.nan, v)),
            reach="all",
        )
    sentinel = commonest(r[emptied])
    if sentinel is not None:
        taken = sentinel.value
        yield Hypothesis(
            kind="value_for_missing",
            says=f"{number(taken)} becomes missing",
            meaning=f"{number(taken)} is taken for a missing value",
            parameters={"value": taken},
            bits=price(taken),
            curve=lambda v: np.where(v == taken, np.nan, v),
            reach="all",
        )
        yield Hypothesis(
            kind="not_finite",
            says="the value becomes NaN",
            meaning="it is lost, or an undefined operation was asked for",
            values=np.full(len(r), np.nan),
            reach="some",
        )


def infinite_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Values that become infinite."""
    for value, sign in ((np.inf, ""), (-np.inf, "minus ")):
        if (sample.c[sample.learning] == value).any():
            yield Hypothesis(
                kind="not_finite",
                says=f"the value becomes {sign}infinite",
                meaning="a logarithm of zero, a division by it, or an overflow",
                values=np.full(len(sample.r), value),
                reach="some",
            )


def _default(value: float) -> Hypothesis:
    return Hypothesis(
        kind="constant_default",
        says=f"a missing value becomes {number(value)}",
        meaning="a constant default stands for missing",
        parameters={"default": value},
        bits=price(value),
        curve=lambda v: np.where(np.isnan(v), value, v),
    )


def _before(sample: Sample) -> np.ndarray:
    rows = np.arange(len(sample.rows), dtype=np.int64)
    moved: np.ndarray = sample.moved(np.maximum(rows - 1, 0))
    return moved
