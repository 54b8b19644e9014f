"""Which requests are looked at again: some of every place where divergence begins."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import zip_longest

from parity.compare.alignment import Alignment
from parity.compare.counts import SampledRequest
from parity.shard_result import ShardResult


def choose_sample(result: ShardResult, alignment: Alignment, limit: int) -> list[SampledRequest]:
    """At most `limit` diverging requests and as many agreeing ones, by shard and row.

    Places take turns in causal order, so that a rare cause is seen beside one that touches
    every request; what is left goes to any that differ, where a later fault may hide beneath an
    earlier one. Without divergence the agreeing ones alone are probed.
    """
    places = [result.diverging.get(pair.name, ()) for pair in alignment.pairs]
    turns = (one for turn in zip_longest(*places) for one in turn if one is not None)
    diverging = _first_distinct([*turns, *result.differing], limit)
    return sorted([*diverging, *result.agreeing[:limit]], key=lambda one: (one.shard, one.row))


def _first_distinct(requests: Iterable[SampledRequest], limit: int) -> list[SampledRequest]:
    return list(dict.fromkeys(requests))[:limit]
