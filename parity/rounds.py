"""A day in rounds of requests by hash: each round is a random sample of what is left of the day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from parity.compare.request_hash import is_sampled
from parity.shard_result import ShardResult
from replay.logs.parquet import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardRound:
    """The requests of one shard whose hashes lie in a part of all hashes.

    Attributes:
        low, high: Shares of all hashes, as `is_sampled` has them: low <= hash < high.
    """

    shard: Shard
    low: float
    high: float

    @property
    def id(self) -> str:
        """Its name in the journal and in what is counted once."""
        return f"{self.shard.id}@{self.low!r}-{self.high!r}"

    def chosen(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[request]: those of this round."""
        upto: NDArray[np.bool_] = is_sampled(hashes, self.high)
        return upto if self.low == 0.0 else upto & ~is_sampled(hashes, self.low)


def rounds(
    shards: tuple[Shard, ...], shares: tuple[float, ...]
) -> Iterator[tuple[ShardRound, ...]]:
    """Every shard once a round, round after round; together they have every request once."""
    for low, high in pairwise((0.0, *shares)):
        yield tuple(ShardRound(shard=shard, low=low, high=high) for shard in shards)


def as_round(result: ShardResult, of: ShardRound) -> ShardResult:
    """A shard's result as that of one round: rows are read, and refused, in the first round only.

    A later round takes its requests from those that were not sampled before, so that read =
    compared + rejected + failed + not sampled holds after every round.
    """
    own = result.outcomes.get(of.shard.id)
    outcomes = {} if own is None else {of.id: own}
    named = replace(result, shards=(of.id,), outcomes=outcomes)
    if of.low == 0.0:
        return named
    taken = result.compared + sum(result.failed.values())
    return replace(
        named,
        read=0,
        not_sampled=-taken,
        rejected={},
        refusals=tuple(one for one in result.refusals if one.reason in result.failed),
    )
