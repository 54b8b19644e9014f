"""Shards of made requests, and the work of digesting what both stacks recorded for one."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from replay.engine.lane import Lane
from tests.replay.engine.requests import some_requests
from tests.replay.engine.toy_stack import EVERY


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyShard:
    id: str
    seed: int
    count: int = 20


def some_shards(count: int) -> list[ToyShard]:
    return [ToyShard(id=f"part-{place:05d}.parquet#0", seed=place) for place in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """Writes down each shard it is called for, and returns what both sides recorded."""

    seen: Path | None = None
    pause_s: float = 0.0

    def __call__(self, lane: Lane, shard: ToyShard) -> bytes:
        if self.seen is not None:
            with self.seen.open("a") as file:
                file.write(f"{shard.id} {os.getpid()}\n")
        time.sleep(self.pause_s)
        batch = some_requests(shard.count, seed=shard.seed, prefix=f"{shard.id}:")
        both = lane.score_both(batch, capture_reference=EVERY, capture_challenger=EVERY)
        return json.dumps(
            {
                "ids": both.batch.keys.request_ids.to_pylist(),
                "failures": [[f.request_id, f.side, f.kind, f.detail] for f in both.failures],
                "digests": {
                    f"{trace.stack}.{name}": hashlib.sha256(trace[name].tobytes()).hexdigest()
                    for trace in (both.reference, both.challenger)
                    for name in EVERY
                },
            }
        ).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaks:
    """Work with a mistake of its own on one shard."""

    shard: str

    def __call__(self, lane: Lane, shard: ToyShard) -> bytes:
        if shard.id == self.shard:
            raise ZeroDivisionError(shard.id)
        return b"fine"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndsItsProcess:
    """Ends the process it runs in on one shard, the first times it sees it."""

    shard: str
    seen: Path
    times: int

    def __call__(self, lane: Lane, shard: ToyShard) -> bytes:
        if shard.id == self.shard:
            with self.seen.open("a") as file:
                file.write("x")
            if len(self.seen.read_text()) <= self.times:
                os._exit(9)
        return shard.id.encode()
