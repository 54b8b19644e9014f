"""What labels say about both sides' probabilities: entropy, order, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from parity.judge.metrics.calibration import calibration, calibration_error
from parity.judge.metrics.entropy import log_loss, losses, normalised_entropy
from parity.judge.metrics.intervals import Draws, draws
from parity.judge.metrics.measured import Measured, Values
from parity.judge.metrics.outcomes import Outcomes
from parity.judge.metrics.ranking import auc, auc_by_request, ranked_rows

LABELLED = ("ne", "auc", "gauc", "calibration", "calibration_error", "log_loss")

SideMetrics = Callable[[Draws], Mapping[str, Values]]  # of how often each request was drawn


def measure_labelled(
    evidence: Outcomes, resamples: int, seed: np.random.SeedSequence
) -> Iterator[Measured]:
    """Every metric of labels, in a fixed order, all of them on the same resamples."""
    reason = unusable(evidence)
    if reason:
        yield from (Measured(name=name, note=reason) for name in LABELLED)
        return
    hashes, request = np.unique(evidence.request_hash, return_inverse=True)
    sides = [
        _side(p, evidence.label, request, len(hashes))
        for p in (evidence.p_reference, evidence.p_challenger)
    ]
    once = np.ones((1, len(hashes)))
    found = [{name: float(v[0]) for name, v in side(once).items()} for side in sides]
    resampled: dict[str, list[Values]] = {name: [] for name in LABELLED}
    for drawn in draws(len(hashes), resamples=resamples, seed=seed, num_rows=evidence.num_labelled):
        reference, challenger = (side(drawn) for side in sides)
        for name in LABELLED:
            resampled[name].append(challenger[name] - reference[name])
    note = f"{evidence.clicks} clicks on {evidence.num_labelled} labelled candidates"
    both = _requests_with_both(evidence.label, request, len(hashes))
    for name in LABELLED:
        if name == "gauc" and both == 0:
            yield Measured(
                name=name, note="no request has both a clicked and an unclicked labelled candidate"
            )
            continue
        yield Measured(
            name=name,
            reference=found[0][name],
            challenger=found[1][name],
            differences=np.concatenate(resampled[name]),
            note=f"{both} requests with a click and without, by their labelled candidates"
            if name == "gauc"
            else note,
        )


def unusable(evidence: Outcomes) -> str:
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


def _requests_with_both(
    label: NDArray[np.int8], request: NDArray[np.int64], num_requests: int
) -> int:
    clicks = np.bincount(request, weights=label == 1, minlength=num_requests)
    rows = np.bincount(request, minlength=num_requests)
    return int(np.count_nonzero((clicks > 0) & (clicks < rows)))


def _side(
    p: Values, label: NDArray[np.int8], request: NDArray[np.int64], num_requests: int
) -> SideMetrics:
    """Precompute what does not depend on the draw: sums by request, and the order by `p`."""
    clicked = (label == 1).astype(np.float64)
    grouped, weight = auc_by_request(p, label, request, num_requests)
    sums = np.stack(
        [
            *(
                np.bincount(request, weights=column, minlength=num_requests)
                for column in (losses(p, label), p, clicked, np.ones(len(p)))
            ),
            grouped * weight,
            weight,
        ],
        axis=1,
    )  # [request, sum]
    rows = ranked_rows(p, label)

    def values(drawn: Draws) -> Mapping[str, Values]:
        loss_sum, p_sum, clicks, count, auc_sum, auc_weight = (drawn @ sums).T
        return {
            "ne": normalised_entropy(loss_sum, clicks, count),
            "auc": auc(rows, drawn[:, request]),
            "gauc": auc_sum / np.where(auc_weight > 0, auc_weight, np.nan),
            "calibration": calibration(p_sum, clicks),
            "calibration_error": calibration_error(p_sum, clicks),
            "log_loss": log_loss(loss_sum, count),
        }

    return values
