"""Which requests are taken on: those that will be answered in time, estimated by their work.

Work is counted in rows, the candidates and history steps of a request: what a batch costs is a
base and so much a row, learned from the batches that were scored. A request whose turn would come
too late is shed at once, which costs next to nothing, so that overload never grows a queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ShedReason = Literal["late", "full"]

# What a batch is taken to cost before one was scored: a transformer of width 64 on one CPU thread
# (FACTS of the prototype: 75-100 ms for 500 candidates and 500 steps).
_FIRST_BASE_S = 1e-3
_FIRST_ROW_S = 1e-4
# A batch counts half after 14 more: a machine's speed changes over seconds, batches take milliseconds.
_DECAY = 0.95
# A late answer takes a tenth of the headroom, one in time gives this much back: at a headroom of 0.3
# they balance when two of three hundred are late, whatever else the machine does.
_LATE_FACTOR = 0.9
_IN_TIME_GAIN = 0.0002
_LEAST_HEADROOM = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the server takes on at once.

    Attributes:
        max_batch_rows: Rows of requests that are scored together (one larger request alone).
        max_batch_s: What a batch may take: who arrives while one is scored waits so long first.
        max_requests: Requests waiting or being scored; bounds memory whatever the estimates say.
        max_bytes: Of the bodies of all of these.
        headroom: Part of the time left that the estimate may fill, at most. The rest is for what
            it does not know: parsing, other processes, a slow batch (benchmarks/server_load).
    """

    max_batch_rows: int = 16_384
    max_batch_s: float = 0.05
    max_requests: int = 512
    max_bytes: int = 256 << 20
    headroom: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """A request that is not taken on.

    Attributes:
        reason: "late": its answer would come after its deadline; "full": no room for it.
        says: One sentence for the client.
        retry_after_s: When the work that is queued now will be done.
    """

    reason: ShedReason
    says: str
    retry_after_s: float


class BatchCost:
    """Seconds of a batch as base + rows * per_row, by least squares over recent batches."""

    def __init__(self, *, base_s: float = _FIRST_BASE_S, row_s: float = _FIRST_ROW_S) -> None:
        self.base_s = base_s
        self.row_s = row_s
        self.mean_rows = 0.0
        self.tells_apart = True  # what was given counts until a batch was seen
        self._sums = [0.0] * 5  # weight, rows, seconds, rows^2, rows * seconds

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch."""
        new = (1.0, rows, seconds, rows * rows, rows * seconds)
        self._sums = [_DECAY * old + value for old, value in zip(self._sums, new, strict=True)]
        weight, sum_x, sum_y, sum_xx, sum_xy = self._sums
        spread = weight * sum_xx - sum_x * sum_x
        self.mean_rows = sum_x / weight
        # Batches of nearly one size do not tell the two apart: then all of it is by the row.
        self.tells_apart = spread > 0.01 * sum_x * sum_x
        if self.tells_apart:
            slope = (weight * sum_xy - sum_x * sum_y) / spread
            self.row_s = min(max(slope, 0.0), sum_y / sum_x)
            self.base_s = (sum_y - self.row_s * sum_x) / weight
        elif sum_x > 0:
            self.row_s = sum_y / sum_x
            self.base_s = 0.0

    def seconds(self, rows: int, *, max_batch_rows: int) -> float:
        """What these rows take, in batches of at most so many."""
        return math.ceil(rows / max_batch_rows) * self.base_s + rows * self.row_s


class Admission:
    """The books of what waits and what runs; times are seconds of one monotonic clock."""

    def __init__(self, limits: Limits, cost: BatchCost) -> None:
        self.limits = limits
        self.cost = cost
        self.requests = 0
        self.bytes = 0
        self.queued_rows = 0
        self.headroom = limits.headroom
        self._running: tuple[int, float] | None = None  # rows, when it began

    def decide(self, *, rows: int, size: int, deadline: float, now: float) -> Shed | None:
        """None takes the request on: `leave` has to be called for it, however it ends."""
        ahead = self.wait_s(now)
        shed = self._reason(rows=rows, size=size, left=deadline - now, ahead=ahead)
        if shed is not None:
            return shed
        self.requests += 1
        self.bytes += size
        self.queued_rows += rows
        return None

    def wait_s(self, now: float) -> float:
        """Until everything taken on so far is scored."""
        queued = self._seconds(self.queued_rows)
        if self._running is None:
            return queued
        rows, began = self._running
        return queued + max(0.0, self._seconds(rows) - (now - began))

    @property
    def batch_rows(self) -> int:
        """Rows of the largest batch that is worth its time.

        At least as many as cost what the base does: smaller batches would mostly pay the base. Where
        the two can not be told apart yet, twice as many as lately, and the next batch will tell.
        """
        limits, cost = self.limits, self.cost
        affordable = max(limits.max_batch_s - cost.base_s, cost.base_s) / max(cost.row_s, 1e-12)
        if not cost.tells_apart:
            affordable = max(affordable, 2 * cost.mean_rows)
        return max(1, int(min(limits.max_batch_rows, affordable)))

    def reachable(self, *, rows: int, deadline: float, now: float) -> bool:
        """Whether a batch of these rows that begins now is scored by then."""
        return now + self._seconds(rows) <= deadline

    def worth_trying(self, *, rows: int, deadline: float, now: float) -> bool:
        """The same for a request by itself; the only one there is tried, whatever is estimated."""
        alone = self.requests == 1 and now < deadline
        return alone or self.reachable(rows=rows, deadline=deadline, now=now)

    def begin(self, rows: int, now: float) -> None:
        """These rows leave the queue and are scored as a batch."""
        self.queued_rows -= rows
        self._running = (rows, now)

    def end(self, now: float) -> None:
        """The batch is scored."""
        assert self._running is not None, "a batch ends after it began"
        rows, began = self._running
        self._running = None
        self.cost.observe(rows, now - began)

    def drop(self, rows: int) -> None:
        """A queued request is not scored: its deadline passed, or its client left."""
        self.queued_rows -= rows

    def leave(self, *, size: int, late: bool = False) -> None:
        """A request taken on was answered, or its deadline passed: then fewer are taken on."""
        self.requests -= 1
        self.bytes -= size
        if late:
            self.headroom = max(self.headroom * _LATE_FACTOR, _LEAST_HEADROOM)
        else:
            self.headroom = min(self.headroom + _IN_TIME_GAIN, self.limits.headroom)

    def _reason(self, *, rows: int, size: int, left: float, ahead: float) -> Shed | None:
        limits = self.limits
        if self.requests >= limits.max_requests or self.bytes + size > limits.max_bytes:
            return Shed(
                reason="full",
                says=f"{self.requests} requests of {self.bytes:,} bytes are in the server",
                retry_after_s=ahead,
            )
        if not self.requests:
            # With nothing to wait for only trying tells. Else a stall, once believed to be the
            # price, would shed everything for ever: nothing would be scored that could correct it.
            return None
        # Others may still join its batch and are scored with it.
        needed = ahead + self._seconds(max(rows, self.batch_rows))
        if needed > self.headroom * left:
            return Shed(
                reason="late",
                says=f"its {rows} rows would be scored in {needed * 1e3:.0f} ms, and it has to be "
                f"answered within {max(left, 0.0) * 1e3:.0f} ms",
                retry_after_s=ahead,
            )
        return None

    def _seconds(self, rows: int) -> float:
        if not rows:
            return 0.0
        return self.cost.seconds(rows, max_batch_rows=self.batch_rows)
