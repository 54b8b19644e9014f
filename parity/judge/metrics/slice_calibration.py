"""For whom calibration is worse: both sides in every slice and score decile, corrected for the number.

A mean that is right overall may hide a segment that is twice over and one that is half under. In
each slice the question is whether the challenger's predictions lie further from what happened than
the reference's, by more than a margin; it is answered with the request as unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from parity.judge.metrics.corrections import corrected
from parity.judge.metrics.intervals import LEVEL
from parity.judge.metrics.labelled import unusable
from parity.judge.metrics.outcomes import Outcomes
from parity.judge.policy import Policy
from parity.judge.report import SliceFigures, Slices

MARGIN = "slice_calibration_error"
DECILES = "pctr decile"
# A report stays readable; beyond so many those with the smallest p-values are listed.
MAX_LISTED = 300

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Slice:
    """Rows of each side: the same for a logged field, its own for a decile of its own scores."""

    field: str
    value: str
    reference: Mask
    challenger: Mask


def slices_of(outcomes: Outcomes, policy: Policy, *, level: float = LEVEL) -> Slices | None:
    """Calibration of both sides in every slice; None where there are no usable labels.

    Args:
        outcomes: What happened, and what both sides had said.
        policy: The margin, the correction, and how many clicks a slice needs to be tested.
        level: Of the intervals, and of the corrected test.
    """
    if unusable(outcomes):
        return None
    evidence = outcomes.sorted()
    margin = policy.margins.get(MARGIN)
    allowed = 0.0 if margin is None else margin.worse_by
    _, request = np.unique(evidence.request_hash, return_inverse=True)
    tested: list[SliceFigures] = []
    too_few = 0
    for one in _slices(evidence):
        found = _figures(one, evidence, request, allowed=allowed, level=level, policy=policy)
        if found is None:
            too_few += 1
        else:
            tested.append(found)
    judged = corrected(np.array([one.p_value for one in tested]), policy.slice_correction)
    figures = [
        replace(one, corrected_p=p, worse=p <= 1 - level)
        for one, p in zip(tested, judged.tolist(), strict=True)
    ]
    listed = sorted(figures, key=lambda one: one.p_value)[:MAX_LISTED]
    return Slices(
        tried=len(tested),
        too_few=too_few,
        correction=policy.slice_correction,
        level=level,
        margin=None if margin is None else margin.worse_by,
        figures=tuple(one for one in figures if one in listed),
    )


def _slices(evidence: Outcomes) -> Iterator[_Slice]:
    for name, column in evidence.slices.items():
        present = np.unique(column.codes)
        if len(present) < 2:
            continue  # it is the whole log
        for code in present.tolist():
            mask = column.codes == code
            yield _Slice(field=name, value=column.values[code], reference=mask, challenger=mask)
    ours, theirs = _deciles(evidence.p_reference), _deciles(evidence.p_challenger)
    for decile in range(10):
        yield _Slice(
            field=DECILES,
            value=str(decile + 1),
            reference=ours == decile,
            challenger=theirs == decile,
        )


def _deciles(p: Floats) -> NDArray[np.int64]:
    """[row], 0 to 9 by a side's own scores, equal scores together; some are empty when many tie."""
    edges = np.quantile(p, np.arange(1, 10) / 10)
    return np.searchsorted(edges, p, side="left").astype(np.int64)


def _figures(
    of: _Slice,
    evidence: Outcomes,
    request: NDArray[np.int64],
    *,
    allowed: float,
    level: float,
    policy: Policy,
) -> SliceFigures | None:
    """A slice's figures before the correction; None where it has too few clicks of either kind."""
    clicked = (evidence.label == 1).astype(np.float64)
    for mask in (of.reference, of.challenger):
        clicks = int(clicked[mask].sum())
        if min(clicks, int(mask.sum()) - clicks) < policy.min_clicks:
            return None
    rows = of.reference | of.challenger
    requests, place = np.unique(request[rows], return_inverse=True)

    def by_request(values: Floats, mask: Mask) -> Floats:
        sums = np.bincount(place, weights=(values * mask)[rows], minlength=len(requests))
        return sums.astype(np.float64)

    p = (
        by_request(evidence.p_reference, of.reference),
        by_request(evidence.p_challenger, of.challenger),
    )
    y = by_request(clicked, of.reference), by_request(clicked, of.challenger)
    shown = [float(side_p.sum() / side_y.sum()) for side_p, side_y in zip(p, y, strict=True)]
    influence = (p[1] - shown[1] * y[1]) / y[1].sum() - (p[0] - shown[0] * y[0]) / y[0].sum()
    half = float(NormalDist().inv_cdf((1 + level) / 2) * np.sqrt(np.sum(influence**2)))
    difference = shown[1] - shown[0]
    chance = [
        (side * (1.0 - side)) * mask
        for side, mask in (
            (evidence.p_reference, of.reference),
            (evidence.p_challenger, of.challenger),
        )
    ]
    return SliceFigures(
        field=of.field,
        value=of.value,
        rows=int(of.challenger.sum()),
        clicks=int(y[1].sum()),
        reference=shown[0],
        challenger=shown[1],
        difference=difference,
        low=difference - half,
        high=difference + half,
        p_value=_p_value(p, y, allowed, label_variance=float(2.0 * (chance[0] + chance[1]).sum())),
    )


def _p_value(
    p: tuple[Floats, Floats], y: tuple[Floats, Floats], allowed: float, *, label_variance: float
) -> float:
    """How often chance alone makes |challenger's error| exceed |reference's| by more than allowed.

    With R = sum(p - y) of each side and m what is allowed of the clicks, |R_c| > |R_r| + m means
    that R_c - R_r > m and R_c + R_r > m, or both with their signs turned. Each of these is a sum
    over requests, so each has a normal test, and both must hold: the larger p-value counts, doubled
    for the two directions. The paired difference carries no noise of labels; the sum carries twice
    theirs, whose variance is the larger of what the requests show and what the probabilities imply,
    since few clicks show too little of it.
    """
    ours, theirs = p[0] - y[0], p[1] - y[1]
    least = 1.0
    for sign in (1.0, -1.0):
        apart = sign * (theirs - ours) - allowed * y[1]
        together = sign * (theirs + ours) - allowed * y[1]
        least = min(least, max(_above(apart, 0.0), _above(together, label_variance)))
    return min(1.0, 2.0 * least)


def _above(values: Floats, variance: float) -> float:
    """One-sided p-value of a sum over requests being above zero."""
    total = float(values.sum())
    scale = float(np.sqrt(max(np.sum(values**2), variance)))
    if scale == 0.0:
        return 1.0
    return 0.5 * math.erfc(total / scale / math.sqrt(2.0))
