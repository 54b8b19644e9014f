"""How long something takes: warmed up, repeated, sorted; on a GPU by its own clock as well."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

_WARM_UPS = 3
# A 99th percentile of fewer is the maximum.
_MOST = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Sorted durations in milliseconds."""

    ms: tuple[float, ...]

    def quantile(self, q: float) -> float:
        """The duration that a share q is no longer than."""
        return self.ms[min(int(q * len(self.ms)), len(self.ms) - 1)]


def time_host(run: Callable[[int], object], *, seconds: float) -> Times:
    """From call to return, `run(i)` with i = 0, 1, 2, ...; `run` waits for the device itself."""
    for place in range(_WARM_UPS):
        run(place)
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < _MOST and (len(found) < _WARM_UPS or time.perf_counter() < until):
        began = time.perf_counter()
        run(len(found))
        found.append((time.perf_counter() - began) * 1e3)
    return Times(ms=tuple(sorted(found)))


def time_device(
    prepare: Callable[[int], object], run: Callable[[], object], *, device: str, seconds: float
) -> Times:
    """What the device spends in `run`, by its events; on a CPU the host's clock.

    Args:
        prepare: Called with 0, 1, 2, ... before each run, outside of the measurement.
        run: What is measured.
        device: Where it runs.
        seconds: How long to repeat.
    """
    if device == "cpu":
        return _time_on_cpu(prepare, run, seconds)
    for place in range(_WARM_UPS):
        prepare(place)
        run()
    torch.cuda.synchronize()
    found: list[float] = []
    until = time.perf_counter() + seconds
    while len(found) < _MOST and (len(found) < _WARM_UPS or time.perf_counter() < until):
        prepare(len(found))
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        began.record()
        run()
        ended.record()
        ended.synchronize()
        found.append(began.elapsed_time(ended))
    return Times(ms=tuple(sorted(found)))


def _time_on_cpu(
    prepare: Callable[[int], object], run: Callable[[], object], seconds: float
) -> Times:
    found: list[float] = []
    until = time.perf_counter() + seconds
    prepare(0)
    run()
    while len(found) < _MOST and (len(found) < _WARM_UPS or time.perf_counter() < until):
        prepare(len(found))
        began = time.perf_counter()
        run()
        found.append((time.perf_counter() - began) * 1e3)
    return Times(ms=tuple(sorted(found)))
