"""What one figure a request says: how alike both sides rank, and what their choices are worth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.judge.metrics.intervals import draws
from parity.judge.metrics.measured import Measured, Values
from parity.judge.metrics.outcomes import Outcomes

_NO_BIDS = "the log has no bids, so there is no money"


def measure_requests(
    evidence: Outcomes, resamples: int, seed: np.random.SeedSequence
) -> Iterator[Measured]:
    """Overlap, correlation, bids flipped and auction value, in a fixed order."""
    seeds = iter(seed.spawn(5))
    k = evidence.top_k
    yield _mean(
        "top_k_overlap",
        evidence.top_k_overlap,
        itself=1.0,
        note=f"k = {k}",
        absent="no request has ranks to compare",
        resampled=_Resampled(resamples, next(seeds)),
    )
    yield _mean(
        "rank_correlation",
        evidence.rank_correlation,
        itself=1.0,
        note="requests of two or more candidates",
        absent="no request has ranks to compare",
        resampled=_Resampled(resamples, next(seeds)),
    )
    yield _mean(
        "bid_weighted_flips",
        evidence.bid_flips,
        itself=0.0,
        note=f"share of the bids in the reference's first {k} that the challenger's lack",
        absent=_NO_BIDS,
        resampled=_Resampled(resamples, next(seeds)),
    )
    yield from _values(
        "",
        evidence.value_reference,
        evidence.value_challenger,
        note=f"eCPM in millionths of each side's first {k}, by the reference's probability",
        absent=_NO_BIDS,
        resampled=_Resampled(resamples, next(seeds)),
    )
    yield from _values(
        "_labels",
        evidence.label_value_reference,
        evidence.label_value_challenger,
        note=f"eCPM in millionths of each side's first {k} among labelled candidates, by the label",
        absent=f"no request has more than {k} labelled candidates to choose from"
        if len(evidence.bid_flips)
        else _NO_BIDS,
        resampled=_Resampled(resamples, next(seeds)),
    )


class _Resampled:
    """Sums of [request, column] values over resamples of the requests."""

    def __init__(self, resamples: int, seed: np.random.SeedSequence) -> None:
        self._resamples, self._seed = resamples, seed

    def sums(self, columns: Values) -> Values:
        """[resample, column]."""
        return np.concatenate(
            [
                drawn @ columns
                for drawn in draws(len(columns), resamples=self._resamples, seed=self._seed)
            ]
        )


def _mean(
    name: str, values: Values, *, itself: float, note: str, absent: str, resampled: _Resampled
) -> Measured:
    """The mean of one figure a request, beside what the reference has with itself."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return Measured(name=name, note=absent)
    means = resampled.sums(defined[:, np.newaxis])[:, 0] / len(defined)
    return Measured(
        name=name,
        reference=itself,
        challenger=float(np.mean(defined)),
        differences=means - itself,
        note=f"{note}; {len(defined)} requests",
    )


def _values(
    which: str,
    reference: Values,
    challenger: Values,
    *,
    note: str,
    absent: str,
    resampled: _Resampled,
) -> Iterator[Measured]:
    """The mean value of both sides' choices, and the share of the reference's that is kept."""
    defined = np.isfinite(reference) & np.isfinite(challenger)
    both = np.stack([reference[defined], challenger[defined]], axis=1)
    if len(both) == 0:
        yield Measured(name=f"auction_value{which}", note=absent)
        yield Measured(name=f"auction_kept{which}", note=absent)
        return
    means = both.mean(axis=0)
    sums = resampled.sums(both)
    counted = f"{len(both)} requests"
    yield Measured(
        name=f"auction_value{which}",
        reference=float(means[0]),
        challenger=float(means[1]),
        differences=(sums[:, 1] - sums[:, 0]) / len(both),
        note=f"{note}; {counted}",
    )
    some = np.where(sums[:, 0] > 0, sums[:, 0], np.nan)
    if not means[0] > 0:
        yield Measured(
            name=f"auction_kept{which}", note="the reference's choices are worth nothing"
        )
        return
    yield Measured(
        name=f"auction_kept{which}",
        reference=1.0,
        challenger=float(means[1] / means[0]),
        differences=sums[:, 1] / some - 1.0,
        note=f"share of the reference's auction value; {counted}",
    )
