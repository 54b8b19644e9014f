"""What a shard says about quality: labelled candidates with both probabilities, and rankings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.compare.alignment import Alignment
from parity.compare.shard_rows import ShardRows
from parity.judge.metrics.outcomes import Outcomes
from parity.tolerance import Floats
from replay.trace import Array, Trace


def evidence(
    rows: ShardRows, reference: Trace, challenger: Trace, alignment: Alignment, *, top_k: int
) -> Outcomes:
    """The evidence of one shard: labels where the log has clicks, rankings where both rank."""
    keys = rows.batch.keys
    labelled = np.zeros(0, dtype=np.int64)
    label = np.zeros(0, dtype=np.int8)
    pctr = np.zeros(0), np.zeros(0)
    if "pctr" in alignment.outputs and _has_clicks(rows):
        pair = alignment.outputs["pctr"]
        clicks = rows.batch.column("candidate.click")
        if pair.rows == "candidate":
            labelled = np.flatnonzero(~np.asarray(clicks.is_null()))
            label = clicks.fill_null(0).to_numpy(zero_copy_only=False)[labelled].astype(np.int8)
            ours, theirs = pair.values(reference, challenger)
            pctr = ours[labelled].astype(np.float64), theirs[labelled].astype(np.float64)
    overlap = correlation = np.zeros(0)
    if "rank" in alignment.outputs and alignment.outputs["rank"].rows == "candidate":
        ours, theirs = alignment.outputs["rank"].values(reference, challenger)
        overlap = top_k_overlap(ours, theirs, keys.candidate_offsets, top_k)
        correlation = rank_correlation(ours, theirs, keys.candidate_offsets)
    return Outcomes(
        request_hash=rows.hashes[keys.request_of("candidate")[labelled]],
        label=label,
        p_reference=pctr[0],
        p_challenger=pctr[1],
        top_k_overlap=overlap,
        rank_correlation=correlation,
        top_k=top_k,
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


def _has_clicks(rows: ShardRows) -> bool:
    candidates = rows.batch.records.schema.field("candidates").type.value_type
    return bool(candidates.get_field_index("click") >= 0)
