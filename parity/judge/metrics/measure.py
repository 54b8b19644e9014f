"""Every metric of both sides with its paired interval, and what a policy makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from parity.judge.metrics.calibration import calibration, calibration_error
from parity.judge.metrics.entropy import log_loss, losses, normalised_entropy
from parity.judge.metrics.intervals import Draws, draws, interval
from parity.judge.metrics.outcomes import Outcomes
from parity.judge.metrics.ranking import auc, ranked_rows
from parity.judge.policy import Margin, Policy
from parity.judge.report import Decision, Metric

# How much worse the challenger is, from `challenger - reference`.
WORSE_WHEN_HIGHER = 1
WORSE_WHEN_LOWER = -1

DIRECTIONS: Mapping[str, int] = {
    "ne": WORSE_WHEN_HIGHER,
    "auc": WORSE_WHEN_LOWER,
    "calibration": 0,  # judged through its error: 0.9 is no better than 1.1
    "calibration_error": WORSE_WHEN_HIGHER,
    "log_loss": WORSE_WHEN_HIGHER,
    "top_k_overlap": WORSE_WHEN_LOWER,
    "rank_correlation": WORSE_WHEN_LOWER,
}
LABELLED = ("ne", "auc", "calibration", "calibration_error", "log_loss")

Values = NDArray[np.float64]


SideMetrics = Callable[[Draws], Mapping[str, Values]]  # of how often each request was drawn


def metrics_of(outcomes: Outcomes, policy: Policy, seed: int) -> tuple[Metric, ...]:
    """Measure both sides on the labelled candidates, and how alike they rank.

    The order of the evidence does not matter; the same evidence and seed give the same
    figures. An overlap's or a correlation's `reference` is 1: the reference with itself.

    Args:
        outcomes: What happened, and what both sides had said.
        policy: Margins, and the least number of clicks that decides.
        seed: Of the resampling.

    Returns:
        In a fixed order; a figure that can not be computed is None, and its note says why.
    """
    evidence = outcomes.sorted()
    of_labels, of_ranks = np.random.SeedSequence(seed).spawn(2)
    return (
        *_labelled_metrics(evidence, policy, of_labels),
        *_rank_metrics(evidence, policy, of_ranks),
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


def _labelled_metrics(
    evidence: Outcomes, policy: Policy, seed: np.random.SeedSequence
) -> list[Metric]:
    reason = _unusable(evidence)
    if reason:
        return [_unknown(name, policy, reason) for name in LABELLED]
    hashes, request = np.unique(evidence.request_hash, return_inverse=True)
    sides = [
        _side(p, evidence.label, request, len(hashes))
        for p in (evidence.p_reference, evidence.p_challenger)
    ]
    once = np.ones((1, len(hashes)))
    found = [{name: float(v[0]) for name, v in side(once).items()} for side in sides]
    resampled: dict[str, list[Values]] = {name: [] for name in LABELLED}
    for drawn in draws(
        len(hashes), resamples=policy.resamples, seed=seed, num_rows=evidence.num_labelled
    ):
        reference, challenger = (side(drawn) for side in sides)
        for name in LABELLED:
            resampled[name].append(challenger[name] - reference[name])
    unclicked = evidence.num_labelled - evidence.clicks
    few = min(evidence.clicks, unclicked)
    note = f"{evidence.clicks} clicks on {evidence.num_labelled} labelled candidates"
    return [
        _metric(
            name,
            found[0][name],
            found[1][name],
            np.concatenate(resampled[name]),
            policy=policy,
            note=note,
            enough=few >= policy.min_clicks,
        )
        for name in LABELLED
    ]


def _rank_metrics(evidence: Outcomes, policy: Policy, seed: np.random.SeedSequence) -> list[Metric]:
    named = {
        "top_k_overlap": (evidence.top_k_overlap, f"k = {evidence.top_k}"),
        "rank_correlation": (evidence.rank_correlation, "requests of two or more candidates"),
    }
    metrics = []
    for (name, (values, note)), own_seed in zip(named.items(), seed.spawn(2), strict=True):
        defined = values[np.isfinite(values)]
        if len(defined) == 0:
            metrics.append(_unknown(name, policy, "no request has ranks to compare"))
            continue
        means = [
            (drawn @ defined) / len(defined)
            for drawn in draws(len(defined), resamples=policy.resamples, seed=own_seed)
        ]
        metrics.append(
            _metric(
                name,
                1.0,
                float(np.mean(defined)),
                np.concatenate(means) - 1.0,
                policy=policy,
                note=f"{note}; {len(defined)} requests",
                enough=True,
            )
        )
    return metrics


def _side(
    p: Values, label: NDArray[np.int8], request: NDArray[np.int64], num_requests: int
) -> SideMetrics:
    """Precompute what does not depend on the draw: sums by request, and the order by `p`."""
    clicked = (label == 1).astype(np.float64)
    sums = np.stack(
        [
            np.bincount(request, weights=column, minlength=num_requests)
            for column in (losses(p, label), p, clicked, np.ones(len(p)))
        ],
        axis=1,
    )  # [request, sum]
    rows = ranked_rows(p, label)

    def values(drawn: Draws) -> Mapping[str, Values]:
        loss_sum, p_sum, clicks, count = (drawn @ sums).T
        return {
            "ne": normalised_entropy(loss_sum, clicks, count),
            "auc": auc(rows, drawn[:, request]),
            "calibration": calibration(p_sum, clicks),
            "calibration_error": calibration_error(p_sum, clicks),
            "log_loss": log_loss(loss_sum, count),
        }

    return values


def _metric(
    name: str,
    reference: float,
    challenger: float,
    differences: Values,
    *,
    policy: Policy,
    note: str,
    enough: bool,
) -> Metric:
    found = interval(differences)
    margin = policy.margins.get(name)
    difference = challenger - reference
    low, high = (None, None) if found is None else (found.low, found.high)
    if not enough:
        note = f"{note}: fewer than {policy.min_clicks} of either kind decide nothing"
    elif found is None:
        note = f"{note}: undefined on too many resamples"
    decided = decision(
        difference if enough else None, low, high, direction=DIRECTIONS[name], margin=margin
    )
    return Metric(
        name=name,
        reference=_known(reference),
        challenger=_known(challenger),
        difference=_known(difference),
        low=low,
        high=high,
        margin=None if margin is None else margin.worse_by,
        decision=decided,
        note=note,
    )


def _unknown(name: str, policy: Policy, note: str) -> Metric:
    margin = policy.margins.get(name)
    return Metric(
        name=name,
        reference=None,
        challenger=None,
        difference=None,
        low=None,
        high=None,
        margin=None if margin is None else margin.worse_by,
        decision=decision(None, None, None, direction=DIRECTIONS[name], margin=margin),
        note=note,
    )


def _unusable(evidence: Outcomes) -> str:
    """Why no metric of labels can be computed; empty when it can."""
    if evidence.num_labelled == 0:
        return "the log has no labelled candidate"
    for side, p in (("reference", evidence.p_reference), ("challenger", evidence.p_challenger)):
        outside = int(np.count_nonzero(~((p >= 0) & (p <= 1))))
        if outside:
            return f"{outside} probabilities of the {side} lie outside [0, 1]"
    if evidence.clicks == 0:
        return f"none of {evidence.num_labelled} labelled candidates was clicked"
    if evidence.clicks == evidence.num_labelled:
        return f"every one of {evidence.num_labelled} labelled candidates was clicked"
    return ""


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
