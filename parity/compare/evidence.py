"""What a shard says about quality: labelled candidates with both probabilities, and rankings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.compare.alignment import Alignment
from parity.compare.auction import Auction, auction
from parity.compare.ranks import bids_of
from parity.compare.shard_rows import ShardRows
from parity.compare.slice_values import slice_columns
from parity.judge.metrics.outcomes import Outcomes
from parity.plan import Plan
from parity.tolerance import Floats
from replay.trace import Array, Trace


def evidence(
    rows: ShardRows, reference: Trace, challenger: Trace, alignment: Alignment, *, plan: Plan
) -> Outcomes:
    """The evidence of one shard: labels where the log has clicks, rankings where both rank."""
    offsets = rows.batch.keys.candidate_offsets
    request = rows.batch.keys.request_of("candidate")
    label = _labels(rows)
    ranks = candidate_values("rank", alignment, reference, challenger)
    pctr = candidate_values("pctr", alignment, reference, challenger)
    overlap = correlation = np.zeros(0)
    money = _NO_MONEY
    if ranks is not None:
        overlap = top_k_overlap(*ranks, offsets, plan.top_k)
        correlation = rank_correlation(*ranks, offsets)
        bids = bids_of(rows.batch)
        if bids is not None and pctr is not None:
            money = auction(
                bids=bids,
                p=pctr[0].astype(np.float64),
                label=label,
                ranks=ranks,
                offsets=offsets,
                top_k=plan.top_k,
            )
    known = np.flatnonzero(np.isfinite(label)) if pctr is not None else np.zeros(0, dtype=np.int64)
    ours, theirs = (np.zeros(0), np.zeros(0)) if pctr is None else pctr
    return Outcomes(
        request_hash=rows.hashes[request[known]],
        label=label[known].astype(np.int8),
        p_reference=ours[known].astype(np.float64),
        p_challenger=theirs[known].astype(np.float64),
        top_k_overlap=overlap,
        rank_correlation=correlation,
        bid_flips=money.bid_flips,
        value_reference=money.value_reference,
        value_challenger=money.value_challenger,
        label_value_reference=money.label_value_reference,
        label_value_challenger=money.label_value_challenger,
        slices=slice_columns(rows.batch, known, plan.slices) if len(known) else {},
        top_k=plan.top_k,
    )


def top_k_overlap(
    reference: Array, challenger: Array, offsets: NDArray[np.int64], top_k: int
) -> Floats:
    """[request]: share of the reference's first k candidates that the challenger's first k have.

    Of a request with fewer than k candidates, all are its first: the share is 1.
    """
    if len(offsets) == 1:
        return np.zeros(0)
    both = ((reference < top_k) & (challenger < top_k)).astype(np.float64)
    shares: Floats = np.add.reduceat(both, offsets[:-1]) / np.minimum(np.diff(offsets), top_k)
    return shares


def rank_correlation(reference: Array, challenger: Array, offsets: NDArray[np.int64]) -> Floats:
    """[request]: Spearman's correlation of both sides' ranks; NaN of a single candidate."""
    if len(offsets) == 1:
        return np.zeros(0)
    starts, sizes = offsets[:-1], np.diff(offsets)

    def centred(ranks: Array) -> Floats:
        values = ranks.astype(np.float64)
        means = np.add.reduceat(values, starts) / sizes
        return values - np.repeat(means, sizes)

    ours, theirs = centred(reference), centred(challenger)
    covariance = np.add.reduceat(ours * theirs, starts)
    scale = np.sqrt(np.add.reduceat(ours**2, starts) * np.add.reduceat(theirs**2, starts))
    with np.errstate(invalid="ignore"):  # 0 / 0: one candidate has no order
        correlation: Floats = covariance / scale
    return correlation


_NO_MONEY = Auction(
    bid_flips=np.zeros(0),
    value_reference=np.zeros(0),
    value_challenger=np.zeros(0),
    label_value_reference=np.zeros(0),
    label_value_challenger=np.zeros(0),
)


def candidate_values(
    name: str, alignment: Alignment, reference: Trace, challenger: Trace
) -> tuple[Array, Array] | None:
    """Both sides' values of an output; None where they do not share it, one a candidate."""
    pair = alignment.outputs.get(name)
    if pair is None or pair.rows != "candidate":
        return None
    return pair.values(reference, challenger)


def _labels(rows: ShardRows) -> Floats:
    """[candidate]: 1 when clicked, 0 when shown and not, NaN where that is not known."""
    candidates = rows.batch.records.schema.field("candidates").type.value_type
    if candidates.get_field_index("click") < 0:
        return np.full(rows.batch.num_candidates, np.nan)
    clicks = rows.batch.column("candidate.click")
    known: Floats = clicks.cast("float64").to_numpy(zero_copy_only=False)
    return known
