"""Work through the shards of a day on this machine, on any number of lanes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TypeVar

from replay.engine.journal import HasId, Journal
from replay.engine.lane import Lane, LaneSpec
from replay.errors import ConfigError
from replay.registry import StackSpec

S = TypeVar("S", bound=HasId)

# Shards that may be finished before the oldest open one is: enough for a slow one not to
# leave a lane idle, and a bound on what is held in memory.
AHEAD_PER_WORKER = 4


def run_shards(
    shards: Iterable[S],
    work: Callable[[Lane, S], bytes],
    *,
    reference: StackSpec,
    challenger: StackSpec,
    workers: int = 1,
    journal: Journal,
    cache: Path | None = None,
    threads: int = 1,
    timeout_s: float = 300.0,
    lane: Lane | None = None,
) -> Iterator[tuple[S, bytes]]:
    """Do the work on every shard that the journal does not know, each with a lane of its own.

    Args:
        shards: Pieces of a day; two of them never share an id.
        work: Replays a shard on a lane and returns its result; called from `workers` threads.
        reference: The side that is trusted.
        challenger: The side that wants to replace it.
        workers: Lanes at a time, each with two processes.
        journal: Finished shards are taken from it and recorded in it.
        cache: Folder of the reference's traces; None keeps none.
        threads: Native threads of each process.
        timeout_s: For opening a stack, and for each batch.
        lane: An open lane to use first. It stays the caller's, and is closed only when the
            run ends early.

    Returns:
        Each shard with its result, in the order of the shards, however many workers.

    Raises:
        ConfigError: `workers` is less than one.
        ToolkitError: A stack can not be opened, or fails nearly everything it is given.
    """
    require_workers(workers)
    spec = LaneSpec(
        reference=reference,
        challenger=challenger,
        threads=threads,
        timeout_s=timeout_s,
        cache=cache,
    )
    return _run(shards, work, _Lanes(spec, lane), workers, journal)


def require_workers(workers: int) -> None:
    """Refuse a number of workers that can do nothing.

    Raises:
        ConfigError: It is less than one.
    """
    if workers < 1:
        raise ConfigError(
            f"{workers} workers can not replay anything.",
            where="the number of workers",
            fix="use at least one",
        )


class _Lanes:
    """Lanes that are opened when they are needed and closed together."""

    def __init__(self, spec: LaneSpec, lent: Lane | None) -> None:
        self._spec = spec
        self._free: SimpleQueue[Lane] = SimpleQueue()
        self._opened: list[Lane] = []
        self._lock = Lock()
        self._closed = False
        self._lent = lent
        if lent is not None:
            self._free.put(lent)

    def take(self) -> Lane:
        # As many threads as lanes: one that finds none free opens the one it lacks.
        if not self._free.empty():
            return self._free.get()
        lane = self._spec.open()
        with self._lock:
            self._opened.append(lane)
            closed = self._closed
        if closed:
            lane.close()
        return lane

    def give_back(self, lane: Lane) -> None:
        self._free.put(lane)

    def close(self) -> None:
        """Close what was opened here."""
        with self._lock:
            self._closed = True
            opened = list(self._opened)
        for lane in opened:
            lane.close()

    def abandon(self) -> None:
        """Close the lent lane too: nobody waits for its answer any more."""
        if self._lent is not None:
            self._lent.close()
        self.close()


def _run(
    shards: Iterable[S],
    work: Callable[[Lane, S], bytes],
    lanes: _Lanes,
    workers: int,
    journal: Journal,
) -> Iterator[tuple[S, bytes]]:
    def replayed(shard: S) -> bytes:
        lane = lanes.take()
        try:
            payload = work(lane, shard)
        finally:
            lanes.give_back(lane)
        journal.record(shard, payload)
        return payload

    window: deque[tuple[S, Future[bytes]]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="lane")
    try:
        for shard in shards:
            known = journal.finished(shard)
            window.append(
                (shard, threads.submit(replayed, shard) if known is None else _done(known))
            )
            if len(window) >= AHEAD_PER_WORKER * workers:
                yield _oldest(window)
        while window:
            yield _oldest(window)
    except BaseException:
        threads.shutdown(wait=False, cancel_futures=True)
        lanes.abandon()  # so that what runs ends now
        raise
    finally:
        lanes.close()
        threads.shutdown(cancel_futures=True)


def _oldest(window: deque[tuple[S, Future[bytes]]]) -> tuple[S, bytes]:
    """The result of the oldest shard; a failure of any shard in the window ends the wait."""
    while True:
        ended = [future for _, future in window if future.done()]
        for future in ended:
            future.result()
        if window[0][1].done():
            shard, oldest = window.popleft()
            return shard, oldest.result()
        wait([f for _, f in window if f not in ended], return_when=FIRST_COMPLETED)


def _done(payload: bytes) -> Future[bytes]:
    future: Future[bytes] = Future()
    future.set_result(payload)
    return future
