"""The screen as work for an engine: one shard through a lane, one small result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from parity.compare.alignment import Alignment
from parity.compare.request_hash import is_sampled, request_hashes
from parity.compare.screen import capture_challenger, capture_reference, screen
from parity.plan import Plan
from parity.rounds import ShardRound, as_round
from parity.shard_result import ShardResult
from replay.engine.lane import Lane
from replay.errors import LogError
from replay.logs.parquet import Shard, read_shard
from replay.logs.schema import Rejection


@dataclass(frozen=True, kw_only=True, eq=False)
class ScreenShard:
    """Reads a shard, has both stacks score it, and counts; travels to any engine.

    Attributes:
        alignment: What is compared.
        plan: How much is kept.
        sample: Share of the requests, by request hash.
        strict: A row that is not valid is an error.
    """

    alignment: Alignment
    plan: Plan
    sample: float
    strict: bool = False

    def __call__(self, lane: Lane, unit: Shard | ShardRound) -> bytes:
        """The `ShardResult` of a shard, or of one round's part of it, as bytes.

        Raises:
            ToolkitError: The shard can not be read, or a stack fails nearly everything.
        """
        if isinstance(unit, ShardRound):
            return as_round(self._screened(lane, unit.shard, unit), unit).to_bytes()
        return self._screened(lane, unit, None).to_bytes()

    def _screened(self, lane: Lane, shard: Shard, of: ShardRound | None) -> ShardResult:
        rows = read_shard(shard)
        if self.strict and rows.rejections:
            _refuse(rows.rejections[0])
        chosen = rows.batch
        if of is not None or self.sample < 1.0:
            hashes = request_hashes(rows.batch.keys.request_ids)
            wanted = is_sampled(hashes, self.sample) if of is None else of.chosen(hashes)
            chosen = rows.batch.take(np.flatnonzero(wanted))
        both = lane.score_both(
            chosen,
            capture_reference=capture_reference(self.alignment),
            capture_challenger=capture_challenger(self.alignment),
        )
        return screen(
            shard=shard.id,
            valid=rows.batch,
            batch=both.batch,
            reference=both.reference,
            challenger=both.challenger,
            alignment=self.alignment,
            plan=self.plan,
            read=rows.read,
            not_sampled=rows.batch.num_requests - chosen.num_requests,
            rejections=rows.rejections,
            failures=both.failures,
        )


def _refuse(row: Rejection) -> NoReturn:
    raise LogError(
        f"request {row.request_id!r} is not valid ({row.reason}): {row.detail}",
        where=row.where,
        fix="write the day again with that row mended, or replay without --strict: such rows are "
        "then rejected, counted and shown",
    )
