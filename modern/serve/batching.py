"""Questions wait here until the scoring thread is free, and then go to it together."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modern.serve.admission import Admission, Shed
from modern.serve.metrics import Metrics
from modern.serve.question import Question
from modern.serve.scoring import Answer, Scorer

# Beyond this part of its time an answer counts as late: it still has a way to go to the client.
_NEARLY_LATE = 0.9


class ShedError(Exception):
    """The request was not taken on."""

    def __init__(self, shed: Shed) -> None:
        super().__init__(shed.says)
        self.shed = shed


class LateError(Exception):
    """The request was taken on, and its deadline passed before its answer was there."""


@dataclass(slots=True, eq=False)
class _Waiting:
    question: Question
    arrived: float
    deadline: float
    answer: asyncio.Future[Answer]


class Batcher:
    """Dynamic batching: whatever waits when the thread is free is scored together.

    Args:
        scorer: Used by this object's one thread alone.
        admission: Its books; decides what is taken on.
        metrics: Where counts go.
        max_wait_s: How long the first question of a batch waits for others while the thread
            has nothing to do.
    """

    def __init__(
        self,
        scorer: Scorer,
        admission: Admission,
        metrics: Metrics,
        *,
        max_wait_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.admission = admission
        self.clock = clock
        self._scorer = scorer
        self._metrics = metrics
        self._max_wait_s = max_wait_s
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to score, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; what still waits is not scored."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=True)

    async def ask(
        self, question: Question, *, size: int, arrived: float, deadline: float
    ) -> Answer:
        """Wait for the answer.

        Args:
            question: What to answer.
            size: Bytes of its body.
            arrived: When it came, by `clock`.
            deadline: When the answer has to be there, by `clock`.

        Raises:
            ShedError: It is not taken on.
            LateError: The deadline passed.
            ToolkitError: The question can not be answered.
        """
        now = self.clock()
        shed = self.admission.decide(rows=question.rows, size=size, deadline=deadline, now=now)
        if shed is not None:
            raise ShedError(shed)
        waiting = _Waiting(question, arrived, deadline, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._arrived.set()
        self._metrics.show(self.admission, now)
        try:
            async with asyncio.timeout(deadline - now):
                return await waiting.answer
        except TimeoutError:
            raise LateError from None
        finally:
            waiting.answer.cancel()
            late = self.clock() - arrived > _NEARLY_LATE * (deadline - arrived)
            self.admission.leave(size=size, late=late)

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            await self._fill()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            await self._score(batch)

    async def _fill(self) -> None:
        """Let others join the first, for as long as it may wait and there is room."""
        while self._waiting:
            left = self._waiting[0].arrived + self._max_wait_s - self.clock()
            if left <= 0 or self.admission.queued_rows >= self.admission.batch_rows:
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                self._arrived.set()

    def _take(self) -> list[_Waiting]:
        """The next batch, in order of arrival; those that can not be in time any more leave."""
        batch: list[_Waiting] = []
        others: deque[_Waiting] = deque()
        rows, now, earliest = 0, self.clock(), math.inf
        limit = self.admission.batch_rows
        while self._waiting:
            one = self._waiting.popleft()
            size = one.question.rows
            if one.answer.done() or not self.admission.worth_trying(
                rows=size, deadline=one.deadline, now=now
            ):
                self._drop(one)
                continue
            earliest = min(earliest, one.deadline)
            fits = not batch or (
                rows + size <= limit
                and self.admission.reachable(rows=rows + size, deadline=earliest, now=now)
            )
            if not fits:
                others.append(one)
                break
            if batch and not _joins(one, batch[0]):
                others.append(one)
                continue
            batch.append(one)
            rows += size
        others.extend(self._waiting)
        self._waiting = others
        return batch

    def _drop(self, one: _Waiting) -> None:
        self.admission.drop(one.question.rows)
        if not one.answer.done():
            one.answer.set_exception(LateError())

    async def _score(self, batch: list[_Waiting]) -> None:
        questions = [one.question for one in batch]
        rows = sum(question.rows for question in questions)
        began = self.clock()
        self.admission.begin(rows, began)
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, self._scorer.answers, questions)
        except Exception as error:  # noqa: BLE001 - a fault of ours: every waiting client hears of it
            found = [error for _ in batch]
        now = self.clock()
        self.admission.end(now)
        self._metrics.batch(requests=len(batch), rows=rows, seconds=now - began)
        for one, answer in zip(batch, found, strict=True):
            if one.answer.done():  # its deadline passed, or its client left
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)


def _joins(one: _Waiting, first: _Waiting) -> bool:
    joins = first.question.joins
    return joins is not None and one.question.joins == joins
