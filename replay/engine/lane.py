"""Both sides of a replay, each in its own process, scoring the same batch at the same time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from replay.engine.failures import Failure
from replay.engine.isolation import Isolated, LaneStack, Loss, score_isolated
from replay.engine.pieces import kept_trace
from replay.engine.process import StackProcess
from replay.engine.trace_cache import CachedStack
from replay.registry import StackSpec
from replay.request import RequestBatch
from replay.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BothTraces:
    """What both stacks recorded for the requests that both could score.

    Attributes:
        batch: Those requests, in their order; empty when none is left.
        reference, challenger: Their traces, with the rows of `batch`.
        failures: The other requests, each once: asked == batch + failures.
    """

    batch: RequestBatch
    reference: Trace
    challenger: Trace
    failures: tuple[Failure, ...] = ()


class Lane:
    """Two stacks that are asked together. Close it, or use it with `with`.

    Attributes:
        reference: The side that is trusted.
        challenger: The side that wants to replace it.
    """

    def __init__(self, reference: LaneStack, challenger: LaneStack) -> None:
        self.reference = reference
        self.challenger = challenger
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="challenger")

    def score_both(
        self,
        batch: RequestBatch,
        *,
        capture_reference: Collection[str],
        capture_challenger: Collection[str],
    ) -> BothTraces:
        """Score a batch with both stacks; a request that fails either of them is listed.

        Raises:
            StackError: A checkpoint that is not declared.
            WorkerError: A stack can not be restarted or fails nearly everything. The lane is
                closed then.
            ToolkitError: What a stack raised on every request that was tried alone; as above.
        """
        for stack, capture in (
            (self.reference, capture_reference),
            (self.challenger, capture_challenger),
        ):
            for name in capture:
                stack.checkpoints[name]
        beside = self._beside.submit(
            score_isolated, self.challenger, batch, capture=capture_challenger
        )
        try:
            reference = score_isolated(self.reference, batch, capture=capture_reference)
            challenger = beside.result()
        except BaseException:
            # Nobody waits for the other side's answer any more, least of all after Ctrl-C.
            self.close()
            raise
        return self._joined(batch, reference, challenger)

    def close(self) -> None:
        """End both processes; calling it again does nothing."""
        self.challenger.close()
        self.reference.close()
        self._beside.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _joined(self, batch: RequestBatch, reference: Isolated, challenger: Isolated) -> BothTraces:
        failures = _failures(batch, reference.lost, challenger.lost)
        if not failures:
            return BothTraces(batch=batch, reference=reference.trace, challenger=challenger.trace)
        lost = {*reference.lost, *challenger.lost}
        kept = batch.take(place for place in range(batch.num_requests) if place not in lost)
        return BothTraces(
            batch=kept,
            reference=_without(lost, batch, self.reference, reference, kept),
            challenger=_without(lost, batch, self.challenger, challenger, kept),
            failures=failures,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSpec:
    """How to open a lane, as plain values that travel.

    Attributes:
        reference, challenger: The two stacks.
        threads: Native threads of each process.
        timeout_s: For opening a stack, and for each batch.
        cache: Folder of the reference's traces; None keeps none.
    """

    reference: StackSpec
    challenger: StackSpec
    threads: int = 1
    timeout_s: float = 300.0
    cache: Path | None = None

    def open(self) -> Lane:
        """Open both stacks, at the same time.

        Raises:
            ToolkitError: The opening error of a stack; the other one is closed.
        """
        with ThreadPoolExecutor(1) as beside:
            challenger = beside.submit(self._open, self.challenger)
            try:
                reference = self._open(self.reference)
            except BaseException:
                if challenger.exception() is None:
                    challenger.result().close()
                raise
        try:
            cached = reference if self.cache is None else CachedStack(reference, folder=self.cache)
            return Lane(cached, challenger.result())
        except BaseException:
            reference.close()
            if challenger.exception() is None:
                challenger.result().close()
            raise

    def _open(self, spec: StackSpec) -> StackProcess:
        return StackProcess(spec, threads=self.threads, timeout_s=self.timeout_s)


def _failures(
    batch: RequestBatch, reference: Mapping[int, Loss], challenger: Mapping[int, Loss]
) -> tuple[Failure, ...]:
    failures: list[Failure] = []
    for place in sorted({*reference, *challenger}):
        first = reference.get(place) or challenger[place]
        detail = first.detail
        if place in reference and place in challenger:
            detail = f"{detail} And: {challenger[place].detail}"
        failures.append(
            Failure(
                request_id=str(batch.keys.request_ids[place].as_py()),
                side="challenger"
                if place not in reference
                else "both"
                if place in challenger
                else "reference",
                kind=first.kind,
                detail=detail,
            )
        )
    return tuple(failures)


def _without(
    lost: Collection[int], batch: RequestBatch, stack: LaneStack, side: Isolated, kept: RequestBatch
) -> Trace:
    scored = [place for place in range(batch.num_requests) if place not in side.lost]
    stays = np.array([place not in lost for place in scored], dtype=np.bool_)
    return kept_trace(side.trace, stack.checkpoints, stays, kept.keys)
