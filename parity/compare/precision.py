"""How another precision moves the outputs: sizes of |dp|, pairs that change order, predicted clicks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from parity.compare.counts import added
from parity.compare.difference import histogram, percentile
from parity.compare.exact_sum import exact_sum
from parity.judge.metrics.measure import DIRECTIONS, decision
from parity.judge.policy import Policy
from parity.judge.report import Metric
from parity.tolerance import Floats
from replay.trace import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionSums:
    """Counts over candidates and over pairs of one request's, that merge exactly in any order.

    Attributes:
        p_reference, p_challenger: Exact sums of probabilities, in units of 2^-1074.
        sizes: Histogram of |dp|, as `difference.histogram` gives it.
        most: The largest |dp|; a probability that is not finite counts as 1 away.
        pairs: Pairs of candidates of one request.
        flipped: Those whose order by rank changed.
    """

    rows: int = 0
    p_reference: int = 0
    p_challenger: int = 0
    sizes: Mapping[int, int] = field(default_factory=dict)
    most: float = 0.0
    pairs: int = 0
    flipped: int = 0

    def merge(self, other: PrecisionSums) -> PrecisionSums:
        """Both parts together."""
        return PrecisionSums(
            rows=self.rows + other.rows,
            p_reference=self.p_reference + other.p_reference,
            p_challenger=self.p_challenger + other.p_challenger,
            sizes=added(self.sizes, other.sizes),
            most=max(self.most, other.most),
            pairs=self.pairs + other.pairs,
            flipped=self.flipped + other.flipped,
        )


def precision_sums(
    p: tuple[Array, Array], ranks: tuple[Array, Array] | None, offsets: NDArray[np.int64]
) -> PrecisionSums:
    """The sums of one shard.

    Args:
        p: [candidate] of the reference and the challenger.
        ranks: [candidate] of both; None where either side has none.
        offsets: [request + 1], where each request's candidates start.
    """
    ours, theirs = (side.astype(np.float64) for side in p)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    apart: Floats = np.where(finite, np.abs(np.where(finite, theirs - ours, 0.0)), 1.0)
    pairs, flipped = (0, 0) if ranks is None else _flipped(*ranks, offsets)
    return PrecisionSums(
        rows=len(ours),
        p_reference=exact_sum(ours[finite]),
        p_challenger=exact_sum(theirs[finite]),
        sizes=histogram(apart),
        most=float(apart.max(initial=0.0)),
        pairs=pairs,
        flipped=flipped,
    )


def precision_metrics(sums: PrecisionSums, policy: Policy) -> tuple[Metric, ...]:
    """The outputs' envelope against the policy's limits, over every request that was read.

    A replay of a whole day needs no inference about it, so a difference is its own interval.
    """
    if sums.rows == 0:
        return tuple(
            _metric(name, None, policy, note="no candidate has both probabilities")
            for name in ("dp_p99", "dp_max", "sum_p_error", "pair_flips")
        )
    p99 = min(percentile(sums.sizes, sums.rows, 0.99), sums.most)
    counted = f"{sums.rows} candidates"
    error = None
    if sums.p_reference > 0:
        error = abs(sums.p_challenger - sums.p_reference) / sums.p_reference
    return (
        _metric("dp_p99", p99, policy, note=f"99th percentile of |dp|; {counted}"),
        _metric("dp_max", sums.most, policy, note=f"largest |dp|; {counted}"),
        _metric(
            "sum_p_error",
            error,
            policy,
            note=f"|predicted clicks / the reference's - 1|; {counted}",
        ),
        _metric(
            "pair_flips",
            sums.flipped / sums.pairs if sums.pairs else None,
            policy,
            note=f"share of {sums.pairs} pairs of one request's candidates that change order",
        ),
    )


def _metric(name: str, value: float | None, policy: Policy, *, note: str) -> Metric:
    margin = policy.margins.get(name)
    return Metric(
        name=name,
        reference=None if value is None else 0.0,  # the reference with itself
        challenger=value,
        difference=value,
        low=value,
        high=value,
        margin=None if margin is None else margin.worse_by,
        decision=decision(value, value, value, direction=DIRECTIONS[name], margin=margin),
        note=note,
    )


def _flipped(reference: Array, challenger: Array, offsets: NDArray[np.int64]) -> tuple[int, int]:
    """Pairs of candidates within a request, and those that both sides order differently."""
    flipped = 0
    moved = np.flatnonzero(reference != challenger)
    of = np.unique(np.searchsorted(offsets, moved, side="right") - 1)
    sizes = np.diff(offsets)
    pairs = int(np.sum(sizes * (sizes - 1) // 2))
    for request in of.tolist():
        rows = slice(int(offsets[request]), int(offsets[request + 1]))
        order = np.argsort(reference[rows], kind="stable")
        theirs = challenger[rows][order]
        flipped += int(np.count_nonzero(np.triu(theirs[:, np.newaxis] > theirs, 1)))
    return pairs, flipped
