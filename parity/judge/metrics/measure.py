"""Every metric of both sides with its paired interval, and what a policy makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parity.judge.metrics.intervals import LEVEL, interval
from parity.judge.metrics.labelled import measure_labelled
from parity.judge.metrics.measured import Measured
from parity.judge.metrics.outcomes import Outcomes
from parity.judge.metrics.per_request import measure_requests
from parity.judge.policy import Margin, Policy
from parity.judge.report import Decision, Metric

# How much worse the challenger is, from `challenger - reference`.
WORSE_WHEN_HIGHER = 1
WORSE_WHEN_LOWER = -1

DIRECTIONS: Mapping[str, int] = {
    "ne": WORSE_WHEN_HIGHER,
    "auc": WORSE_WHEN_LOWER,
    "gauc": WORSE_WHEN_LOWER,
    "calibration": 0,  # judged through its error: 0.9 is no better than 1.1
    "calibration_error": WORSE_WHEN_HIGHER,
    "log_loss": WORSE_WHEN_HIGHER,
    "top_k_overlap": WORSE_WHEN_LOWER,
    "rank_correlation": WORSE_WHEN_LOWER,
    "bid_weighted_flips": WORSE_WHEN_HIGHER,
    "auction_value": WORSE_WHEN_LOWER,
    "auction_kept": WORSE_WHEN_LOWER,
    "auction_value_labels": WORSE_WHEN_LOWER,
    "auction_kept_labels": WORSE_WHEN_LOWER,
    "dp_p99": WORSE_WHEN_HIGHER,
    "dp_max": WORSE_WHEN_HIGHER,
    "sum_p_error": WORSE_WHEN_HIGHER,
    "pair_flips": WORSE_WHEN_HIGHER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rules:
    policy: Policy
    level: float


def metrics_of(
    outcomes: Outcomes, policy: Policy, seed: int, *, level: float = LEVEL
) -> tuple[Metric, ...]:
    """Measure both sides on the labelled candidates, how alike they rank, and what that is worth.

    The order of the evidence does not matter; the same evidence and seed give the same
    figures. The `reference` of an overlap, a correlation or a kept share is 1: the reference
    with itself.

    Args:
        outcomes: What happened, and what both sides had said.
        policy: Margins, and the least number of clicks that decides.
        seed: Of the resampling.
        level: Of every interval.

    Returns:
        In a fixed order; a figure that can not be computed is None, and its note says why.
    """
    evidence = outcomes.sorted()
    of_labels, of_ranks = np.random.SeedSequence(seed).spawn(2)
    rules = _Rules(policy=policy, level=level)
    few = min(evidence.clicks, evidence.num_labelled - evidence.clicks)
    return (
        *(
            _metric(one, rules, enough=few >= policy.min_clicks)
            for one in measure_labelled(evidence, policy.resamples, of_labels)
        ),
        *(
            _metric(
                one,
                rules,
                # A choice valued by what was clicked is as uncertain as the clicks are few.
                enough=not one.name.endswith("_labels") or few >= policy.min_clicks,
            )
            for one in measure_requests(evidence, policy.resamples, of_ranks)
        ),
    )


def decision(
    difference: float | None,
    low: float | None,
    high: float | None,
    *,
    direction: int,
    margin: Margin | None,
) -> Decision:
    """Where the whole interval of the difference lies, seen from the margin."""
    if margin is None or direction == 0:
        return "informative"
    if difference is None or low is None or high is None:
        return "undecided"
    worst, best = (high, low) if direction == WORSE_WHEN_HIGHER else (-low, -high)
    if worst <= margin.worse_by:
        return "no_worse"
    return "worse" if best > margin.worse_by else "undecided"


def _metric(measured: Measured, rules: _Rules, *, enough: bool) -> Metric:
    name, note = measured.name, measured.note
    margin = rules.policy.margins.get(name)
    found = interval(measured.differences, level=rules.level)
    difference = measured.challenger - measured.reference
    low, high = (None, None) if found is None else (found.low, found.high)
    if not measured.unknown:
        if not enough:
            note = f"{note}: fewer than {rules.policy.min_clicks} of either kind decide nothing"
        elif found is None:
            note = f"{note}: undefined on too many resamples"
    decided = decision(
        _known(difference) if enough else None,
        low,
        high,
        direction=DIRECTIONS[name],
        margin=margin,
    )
    return Metric(
        name=name,
        reference=_known(measured.reference),
        challenger=_known(measured.challenger),
        difference=_known(difference),
        low=low,
        high=high,
        margin=None if margin is None else margin.worse_by,
        decision=decided,
        note=note,
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
