"""What each side's choice is worth, request by request: bids moved, and eCPM of the first k."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parity.tolerance import Floats, Mask
from replay.trace import Array

Offsets = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Auction:
    """[request]: see `Outcomes` for each."""

    bid_flips: Floats
    value_reference: Floats
    value_challenger: Floats
    label_value_reference: Floats
    label_value_challenger: Floats


def auction(
    *,
    bids: Floats,
    p: Floats,
    label: Floats,
    ranks: tuple[Array, Array],
    offsets: Offsets,
    top_k: int,
) -> Auction:
    """Both sides' first k candidates of each request, valued by one and the same judge.

    The judge is the reference's probability for all candidates, and the label for those that have
    one: among them each side chooses its own first k, as if only they had competed.

    Args:
        bids: [candidate], in millionths of the currency.
        p: [candidate], the reference's probability of a click.
        label: [candidate], 1 or 0; NaN where unknown.
        ranks: [candidate] of the reference and of the challenger, 0 is best.
        offsets: [request + 1], where each request's candidates start.
        top_k: How many are chosen.
    """
    chosen = [rank < top_k for rank in ranks]
    lost = _sums(bids * (chosen[0] & ~chosen[1]), offsets)
    held = _sums(bids * chosen[0], offsets)
    value = [_mean_of(1000.0 * bids * p, mask, offsets) for mask in chosen]
    known = np.isfinite(label)
    enough = _sums(known.astype(np.float64), offsets) > top_k
    among = [_first_of(rank, known, offsets, top_k) for rank in ranks]
    happened = 1000.0 * bids * np.where(known, label, 0.0)
    label_value = [np.where(enough, _mean_of(happened, mask, offsets), np.nan) for mask in among]
    with np.errstate(invalid="ignore"):  # 0 / 0: nothing was bid
        flips: Floats = lost / held
    return Auction(
        bid_flips=flips,
        value_reference=value[0],
        value_challenger=value[1],
        label_value_reference=label_value[0],
        label_value_challenger=label_value[1],
    )


def _first_of(rank: Array, allowed: Mask, offsets: Offsets, top_k: int) -> Mask:
    """[candidate]: the first k in rank of those that are allowed, request by request."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((rank, ~allowed, request))
    place = np.arange(len(rank)) - np.repeat(offsets[:-1], np.diff(offsets))
    first = np.zeros(len(rank), dtype=np.bool_)
    first[order] = place < top_k
    return first & allowed


def _mean_of(values: Floats, mask: Mask, offsets: Offsets) -> Floats:
    count = _sums(mask.astype(np.float64), offsets)
    means: Floats = _sums(np.where(mask, values, 0.0), offsets) / np.maximum(count, 1.0)
    return means


def _sums(values: Floats, offsets: Offsets) -> Floats:
    """[request]; a request has at least one candidate, so no segment is empty."""
    if len(offsets) == 1:
        return np.zeros(0)
    sums: Floats = np.add.reduceat(values, offsets[:-1])
    return sums
