"""Work through the shards of a day on a Ray cluster: the same shards, the same results."""

from __future__ import annotations

import importlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from replay.engine.journal import HasId, Journal
from replay.engine.lane import Lane, LaneSpec
from replay.engine.local import AHEAD_PER_WORKER, require_workers
from replay.errors import ConfigError, ToolkitError, WorkerError
from replay.registry import StackSpec
from replay.threads import thread_environment

S = TypeVar("S", bound=HasId)

# A shard whose machine was lost is run elsewhere; one that loses so many is itself the reason.
MAX_LOSSES_PER_SHARD = 3
# An autoscaling cluster needs minutes for a new machine.
PLACEMENT_TIMEOUT_S = 600.0


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
) -> Iterator[tuple[S, bytes]]:
    """As `replay.engine.local.run_shards`, with each lane in a Ray actor.

    Uses the Ray that is initialised, else the cluster that RAY_ADDRESS names, else one that
    is started here and ends with the run. Logs, artifacts, the cache and the packages must be
    at the same paths on every node. The journal stays here.

    Args:
        shards: Pieces of a day, picklable; two of them never share an id.
        work: Picklable, such as a frozen dataclass with `__call__`.
        reference: The side that is trusted.
        challenger: The side that wants to replace it.
        workers: Actors, each with a lane of two processes; those that fit work.
        journal: Finished shards are taken from it and recorded in it.
        cache: Folder of the reference's traces, on each node; None keeps none.
        threads: Native threads of each process.
        timeout_s: For opening a stack, and for each batch.

    Raises:
        ConfigError: Ray is not installed or its cluster can not be reached.
        WorkerError: No actor could be placed, or a shard ended several actors.
        ToolkitError: As for local runs.
    """
    require_workers(workers)
    spec = LaneSpec(
        reference=reference,
        challenger=challenger,
        threads=threads,
        timeout_s=timeout_s,
        cache=cache,
    )
    return _run(shards, work, spec, workers, journal)


class LaneActor:
    """A lane on some node. What goes wrong on purpose is returned: Ray rewraps what is raised."""

    def __init__(self, spec: LaneSpec) -> None:
        self._spec = spec
        self._lane: Lane | None = None

    def ready(self) -> None:
        """Answer once the actor stands somewhere."""

    def run(self, work: Callable[[Lane, S], bytes], shard: S) -> bytes | ToolkitError:
        """Do the work on a shard; opens the lane when it is the first one."""
        try:
            if self._lane is None:
                self._lane = self._spec.open()
            return work(self._lane, shard)
        except ToolkitError as error:
            return error

    def close(self) -> None:
        """End the lane's processes."""
        if self._lane is not None:
            self._lane.close()


def _run(
    shards: Iterable[S],
    work: Callable[[Lane, S], bytes],
    spec: LaneSpec,
    workers: int,
    journal: Journal,
) -> Iterator[tuple[S, bytes]]:
    ray = _import_ray()
    started = _connect(ray, workers)
    try:
        crew = _Crew(ray, work, spec, workers, journal)
        try:
            yield from crew.results(shards)
        finally:
            crew.close()
    finally:
        if started:
            ray.shutdown()


class _Crew(Generic[S]):
    """The actors, what each of them is doing, and the results that wait for their turn."""

    def __init__(
        self,
        ray: Any,
        work: Callable[[Lane, S], bytes],
        spec: LaneSpec,
        workers: int,
        journal: Journal,
    ) -> None:
        self._ray = ray
        self._work = ray.put(work)
        self._spec = spec
        self._workers = workers
        self._journal = journal
        self._arriving: dict[Any, Any] = {}  # ready() -> actor
        self._working: dict[Any, tuple[Any, S]] = {}  # run() -> actor, shard
        self._idle: list[Any] = []
        self._waiting: deque[S] = deque()
        self._results: dict[str, bytes] = {}
        self._losses: dict[str, int] = {}
        self._placements_lost = 0

    def results(self, shards: Iterable[S]) -> Iterator[tuple[S, bytes]]:
        """Every shard with its result, in order."""
        window: deque[S] = deque()
        for shard in shards:
            self._admit(shard)
            window.append(shard)
            while len(window) >= AHEAD_PER_WORKER * self._workers:
                yield self._next(window)
        while window:
            yield self._next(window)

    def close(self) -> None:
        """End the actors, and with them their stacks."""
        actors = [*self._idle, *self._arriving.values(), *(a for a, _ in self._working.values())]
        with suppress(self._ray.exceptions.RayError):
            ending = [actor.close.remote() for actor in self._idle]
            self._ray.wait(ending, num_returns=len(ending), timeout=5.0) if ending else None
        for actor in actors:
            # A killed actor's stacks end with it: the kernel closes their lifelines.
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)

    def _admit(self, shard: S) -> None:
        known = self._journal.finished(shard)
        if known is None:
            self._waiting.append(shard)
        else:
            self._results[shard.id] = known

    def _next(self, window: deque[S]) -> tuple[S, bytes]:
        while window[0].id not in self._results:
            self._assign()
            self._wait_for_one()
        shard = window.popleft()
        return shard, self._results.pop(shard.id)

    def _assign(self) -> None:
        while self._idle and self._waiting:
            actor, shard = self._idle.pop(), self._waiting.popleft()
            self._working[actor.run.remote(self._work, shard)] = actor, shard
        present = len(self._arriving) + len(self._working) + len(self._idle)
        for _ in range(min(self._workers - present, len(self._waiting))):
            actor = self._new_actor()
            self._arriving[actor.ready.remote()] = actor

    def _wait_for_one(self) -> None:
        # An actor that is still sought is no reason to give up while others work.
        patience = None if self._working else PLACEMENT_TIMEOUT_S
        done, _ = self._ray.wait([*self._working, *self._arriving], timeout=patience)
        if not done:
            raise WorkerError(
                f"no actor could be placed within {PLACEMENT_TIMEOUT_S:g} s.",
                where=f"the Ray cluster, whose resources are {self._ray.cluster_resources()}",
                fix="add nodes with a free CPU, or replay with --engine local",
            )
        for reference in done:
            if reference in self._arriving:
                self._receive_actor(reference)
            else:
                self._receive_result(reference)

    def _receive_actor(self, reference: Any) -> None:
        actor = self._arriving.pop(reference)
        try:
            self._ray.get(reference)
        except self._lost() as error:
            self._placements_lost += 1
            if self._placements_lost > MAX_LOSSES_PER_SHARD * self._workers:
                raise WorkerError(
                    f"{self._placements_lost} actors ended before they began: {error}",
                    where="the Ray cluster",
                    fix="look at the cluster's own logs",
                ) from error
        else:
            self._idle.append(actor)

    def _receive_result(self, reference: Any) -> None:
        actor, shard = self._working.pop(reference)
        try:
            result = self._ray.get(reference)
        except self._lost() as error:
            self._ray.kill(actor)
            self._losses[shard.id] = self._losses.get(shard.id, 0) + 1
            if self._losses[shard.id] >= MAX_LOSSES_PER_SHARD:
                raise WorkerError(
                    f"shard {shard.id!r} ended {MAX_LOSSES_PER_SHARD} actors: {error}",
                    where="the Ray cluster",
                    fix="look at the cluster's own logs; machines may lack memory",
                ) from error
            self._waiting.appendleft(shard)
            return
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from error
        self._idle.append(actor)
        if isinstance(result, ToolkitError):
            raise result
        self._journal.record(shard, result)
        self._results[shard.id] = result

    def _new_actor(self) -> Any:
        actor = self._ray.remote(LaneActor).options(
            num_cpus=1,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _environment(self._spec.threads)},
        )
        return actor.remote(self._spec)

    def _lost(self) -> tuple[type[Exception], ...]:
        # The actor, its node or what it returned is gone; nothing is known about the shard.
        found = self._ray.exceptions
        return (
            found.RayActorError,
            found.ObjectLostError,
            found.NodeDiedError,
            found.WorkerCrashedError,
            found.OutOfMemoryError,
            found.LocalRayletDiedError,
        )


def _import_ray() -> Any:
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.exceptions")
    except ImportError as error:
        raise ConfigError(
            f"Ray can not be imported: {error}.",
            where="--engine ray",
            fix="install the toolkit with its [ray] extra, or use --engine local",
        ) from error
    return ray


def _connect(ray: Any, workers: int) -> bool:
    """Find a cluster, or start one here; says whether it was started."""
    if ray.is_initialized():
        return False
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            return True  # the connection is ours to end; the cluster stays
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local",
            num_cpus=max(workers, os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"no Ray cluster can be used: {error}",
            where=f"RAY_ADDRESS={address}" if address else "the Ray that was started here",
            fix="correct RAY_ADDRESS or remove it to start a cluster here, or use --engine local",
        ) from error
    return True


def _environment(threads: int) -> dict[str, str]:
    path = dict.fromkeys(entry or str(Path.cwd()) for entry in sys.path)
    return {**thread_environment(threads), "PYTHONPATH": os.pathsep.join(path)}
