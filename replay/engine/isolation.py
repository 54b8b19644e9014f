"""Score a batch of which some requests crash, hang or fail a stack: find them, score the rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from replay.checkpoint import CheckpointGraph
from replay.engine.child import Usage
from replay.engine.failures import (
    FailureKind,
    WorkerCrashedError,
    WorkerHungError,
    detail_of,
    kind_of,
)
from replay.engine.pieces import joined_trace
from replay.errors import ToolkitError, WorkerError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace

# When this many requests, spread over a failed batch, fail one by one, the stack itself is
# broken: a stack that works on half of all requests would fail them all once in 256 batches.
WITNESSES = 8
# Each lost request costs a few restarts (seconds with a large framework). A stack that loses
# more than this of one batch (6 % of 512) is no longer worth its restarts.
MAX_LOST_PER_BATCH = 32


class LaneStack(Protocol):
    """A stack that can be started again: a StackProcess, or something around one."""

    @property
    def name(self) -> str: ...

    @property
    def checkpoints(self) -> CheckpointGraph: ...

    def identity(self) -> StackIdentity: ...

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        time_share: float = 1.0,
    ) -> Trace: ...

    def usage(self) -> Usage: ...

    def restart(self) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """How a stack failed on a request."""

    kind: FailureKind
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Isolated:
    """What could be scored, and what could not.

    Attributes:
        trace: Of the requests that are not lost, in the batch's order.
        lost: Place in the batch to how the stack failed there.
    """

    trace: Trace
    lost: Mapping[int, Loss] = field(default_factory=dict)


def score_isolated(stack: LaneStack, batch: RequestBatch, *, capture: Collection[str]) -> Isolated:
    """Score a batch; where that fails, halve it until the requests at fault stand alone.

    A batch, and a request, that crashed its process is tried once more in a new one: a
    process killed from outside is nobody's fault, and its batch gives the bits it always
    gives.

    Raises:
        WorkerError: The stack can not be restarted, or fails nearly everything it is given.
        ToolkitError: What the stack raised on every request that was tried alone.
    """
    return _Search(stack, batch, capture).run()


class _Search:
    def __init__(self, stack: LaneStack, batch: RequestBatch, capture: Collection[str]) -> None:
        self.stack = stack
        self.batch = batch
        self.capture = capture
        self.lost: dict[int, Loss] = {}

    def run(self) -> Isolated:
        everything = range(self.batch.num_requests)
        whole = self._attempt(everything)
        if isinstance(whole, Trace):
            return Isolated(trace=whole)
        self._refuse_a_broken_stack(everything)
        pieces = self._divide(everything, whole)
        kept = [place for place in everything if place not in self.lost]
        keys = self.batch.take(kept).keys
        graph = self.stack.checkpoints
        trace = joined_trace(pieces, keys, graph, self.capture, stack=self.stack.name)
        return Isolated(trace=trace, lost=self.lost)

    def _divide(self, places: range, error: ToolkitError) -> list[Trace]:
        """The traces of what works among places that failed together."""
        if len(places) == 1:
            self._lose(places[0], error)
            return []
        middle = len(places) // 2
        pieces: list[Trace] = []
        for half in (places[:middle], places[middle:]):
            outcome = self._attempt(half)
            if isinstance(outcome, Trace):
                pieces.append(outcome)
            else:
                pieces += self._divide(half, outcome)
        return pieces

    def _attempt(self, places: range) -> Trace | ToolkitError:
        outcome = self._try_once(places)
        if not isinstance(outcome, WorkerCrashedError):
            return outcome
        if len(places) in {1, self.batch.num_requests}:
            return self._try_once(places)
        return outcome

    def _try_once(self, places: range) -> Trace | ToolkitError:
        share = len(places) / max(1, self.batch.num_requests)
        batch = self.batch if share == 1 else self.batch.slice(places.start, places.stop)
        try:
            return self.stack.score(batch, capture=self.capture, time_share=share)
        except (WorkerCrashedError, WorkerHungError) as error:
            self.stack.restart()
            return error
        except WorkerError:
            raise
        except ToolkitError as error:
            return error

    def _lose(self, place: int, error: ToolkitError) -> None:
        self.lost[place] = Loss(kind=kind_of(error), detail=detail_of(error))
        ended = sum(loss.kind != "raised" for loss in self.lost.values())
        if ended > MAX_LOST_PER_BATCH:
            raise WorkerError(
                f"stack {self.stack.name!r} crashed or hung on more than {MAX_LOST_PER_BATCH} "
                f"of {self.batch.num_requests} requests, the last time so: {detail_of(error)}",
                where=error.where,
                fix="mend the stack; a replay lists the requests it fails on once they are few",
            ) from error

    def _refuse_a_broken_stack(self, everything: range) -> None:
        count = len(everything)
        if count <= WITNESSES:
            return
        for witness in range(WITNESSES):
            place = witness * count // WITNESSES
            outcome = self._try_once(range(place, place + 1))
            if isinstance(outcome, Trace):
                return
            error = outcome
        if not isinstance(error, WorkerError):
            raise error
        raise WorkerError(
            f"stack {self.stack.name!r} fails on every request that was tried alone "
            f"({WITNESSES} of {count}): {detail_of(error)}",
            where=error.where,
            fix="mend the stack",
        ) from error
