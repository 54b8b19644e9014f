"""Ranks that moved: by rounding alone (a near tie), or for a reason (a flip)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.compare.alignment import Alignment
from parity.tolerance import Floats, Mask
from replay.request import RequestBatch
from replay.trace import Array, Trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moves:
    """[candidate]: whose rank moved for a reason, and whose moved within what rounding may do."""

    flips: Mask
    near_ties: Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranked:
    """[candidate]: the values that both sides rank by, and how far each may move."""

    reference: Floats
    challenger: Floats | None
    allowed: Floats


def moved_ranks(
    reference: Array, challenger: Array, offsets: NDArray[np.int64], ranked: Ranked | None
) -> Moves:
    """Tell flips from near ties, candidate by candidate.

    A candidate that moved is a near tie only if every pair it is inverted with is one: their
    values on the reference's side lie no further apart than both may move (each value has its
    own bound, so a pair has two), and the challenger's own values explain its order. Equal
    values on both sides explain no inversion: ties go by `ad_id`.

    Args:
        reference: [candidate], rank in its request, 0 is best.
        challenger: The same.
        offsets: [request + 1], where each request's candidates start.
        ranked: What the ranks were made from; None makes every move a flip. Its challenger's
            values may be unknown (a served rank): then the first condition decides alone.
    """
    moved = reference != challenger
    near = np.zeros_like(moved)
    if ranked is not None and moved.any():
        starts = np.searchsorted(offsets, np.flatnonzero(moved), side="right") - 1
        for request in np.unique(starts).tolist():
            rows = slice(int(offsets[request]), int(offsets[request + 1]))
            near[rows] = _near_ties(reference[rows], challenger[rows], _of(ranked, rows))
    return Moves(flips=moved & ~near, near_ties=near)


def ranked_by(
    alignment: Alignment, batch: RequestBatch, reference: Trace, challenger: Trace
) -> Ranked | None:
    """The values that rank: eCPM where both sides have it, else pCTR; None without either."""
    name = next((n for n in ("ecpm_micros", "pctr") if n in alignment.outputs), None)
    if name is None:
        return None
    pair = alignment.outputs[name]
    if pair.rows != "candidate":
        return None
    ours, theirs = pair.values(reference, challenger)
    allowed = pair.tolerance.allowed(ours, theirs)
    slack = inherited_slack(name, alignment, batch, reference, challenger)
    return Ranked(
        reference=ours.astype(np.float64),
        challenger=theirs.astype(np.float64),
        allowed=allowed if slack is None else allowed + slack,
    )


def inherited_slack(
    name: str,
    alignment: Alignment,
    batch: RequestBatch,
    reference: Trace,
    challenger: Trace,
) -> Floats | None:
    """[candidate]: what a checkpoint may differ because an allowed difference was multiplied.

    Only `ecpm_micros` multiplies by a logged value: 1000 * bid * the tolerance of `pctr`. A
    bound for all bids would be the largest bid's, and loose on every other candidate.
    """
    if name != "ecpm_micros" or "pctr" not in alignment.by_name:
        return None
    bids = bids_of(batch)
    if bids is None or alignment["pctr"].rows != "candidate":
        return None
    pair = alignment["pctr"]
    return 1000.0 * np.abs(bids) * pair.tolerance.allowed(*pair.values(reference, challenger))


def bids_of(batch: RequestBatch) -> Floats | None:
    """[candidate]: the logged bids in millionths; None where the log has none."""
    candidates = batch.records.schema.field("candidates").type.value_type
    if candidates.get_field_index("bid_micros") < 0:
        return None
    bids: Floats = (
        batch.column("candidate.bid_micros").to_numpy(zero_copy_only=False).astype(np.float64)
    )
    return bids


def _near_ties(reference: Array, challenger: Array, ranked: Ranked) -> Mask:
    moved = np.flatnonzero(reference != challenger)
    ahead = reference[moved, np.newaxis] < reference
    inverted = ahead != (challenger[moved, np.newaxis] < challenger)
    inverted &= reference[moved, np.newaxis] != reference  # itself, or a rank given twice
    apart = np.abs(ranked.reference[moved, np.newaxis] - ranked.reference)
    tied = apart <= ranked.allowed[moved, np.newaxis] + ranked.allowed
    if ranked.challenger is not None:
        # Positive when the challenger's values put the moved candidate ahead.
        lead = ranked.challenger[moved, np.newaxis] - ranked.challenger
        explains = np.where(ahead, lead < 0, lead > 0) | ((lead == 0) & (apart > 0))
        tied &= explains
    result = np.zeros(len(reference), dtype=np.bool_)
    result[moved] = inverted.any(axis=1) & (tied | ~inverted).all(axis=1)
    return result


def _of(ranked: Ranked, rows: slice) -> Ranked:
    return Ranked(
        reference=ranked.reference[rows],
        challenger=None if ranked.challenger is None else ranked.challenger[rows],
        allowed=ranked.allowed[rows],
    )
