"""A batch in pieces: which rows are whose, how many fit in memory, and traces put together."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from replay.checkpoint import Checkpoint, RowAxis
from replay.trace import Array, BatchKeys, Trace


def bytes_per_request(
    keys: BatchKeys, checkpoints: Mapping[str, Checkpoint], capture: Collection[str]
) -> NDArray[np.int64]:
    """[request], what the captured checkpoints of each request take, by their declarations."""
    total = np.zeros(keys.num_requests, np.int64)
    for name in capture:
        checkpoint = checkpoints[name]
        row = math.prod(checkpoint.shape) * np.dtype(checkpoint.dtype).itemsize
        total += row * np.diff(_offsets(keys, checkpoint.rows))
    return total


def runs_within(sizes: NDArray[np.int64], limit: int) -> list[range]:
    """Consecutive runs whose sizes sum to at most `limit`; what is larger by itself is alone."""
    runs: list[range] = []
    start, used = 0, 0
    for place, size in enumerate(sizes.tolist()):
        if place > start and used + size > limit:
            runs.append(range(start, place))
            start, used = place, 0
        used += size
    return [*runs, range(start, len(sizes))]


def rows_of(keys: BatchKeys, axis: RowAxis, requests: range) -> slice:
    """The rows of consecutive requests along an axis."""
    offsets = _offsets(keys, axis)
    return slice(int(offsets[requests.start]), int(offsets[requests.stop]))


def empty_values(
    keys: BatchKeys, checkpoints: Mapping[str, Checkpoint], capture: Iterable[str]
) -> dict[str, Array]:
    """Arrays of the declared shapes and dtypes for a batch, to be filled."""
    return {
        name: np.empty(
            (keys.num_rows(checkpoints[name].rows), *checkpoints[name].shape),
            np.dtype(checkpoints[name].dtype),
        )
        for name in capture
    }


def trace_from_values(stack: str, keys: BatchKeys, values: Mapping[str, Array]) -> Trace:
    """A trace of arrays that nobody else holds; they become read-only."""
    for array in values.values():
        array.flags.writeable = False
    return Trace(stack=stack, keys=keys, values=MappingProxyType(dict(values)))


def joined_trace(
    traces: Sequence[Trace],
    keys: BatchKeys,
    checkpoints: Mapping[str, Checkpoint],
    capture: Collection[str],
    *,
    stack: str,
) -> Trace:
    """The traces of consecutive pieces as one; `keys` are those of all pieces together."""
    if len(traces) == 1:
        return Trace(stack=stack, keys=keys, values=traces[0].values)
    values = (
        {name: np.concatenate([trace[name] for trace in traces]) for name in capture}
        if traces
        else empty_values(keys, checkpoints, capture)
    )
    return trace_from_values(stack, keys, values)


def kept_trace(
    trace: Trace,
    checkpoints: Mapping[str, Checkpoint],
    kept: NDArray[np.bool_],
    keys: BatchKeys,
) -> Trace:
    """The trace of the requests that are kept.

    Args:
        trace: Of all requests.
        checkpoints: Its declarations.
        kept: [request] of `trace`.
        keys: Of the kept requests.
    """
    values = {
        name: array[kept[trace.keys.request_of(checkpoints[name].rows)]]
        for name, array in trace.values.items()
    }
    return trace_from_values(trace.stack, keys, values)


def _offsets(keys: BatchKeys, axis: RowAxis) -> NDArray[np.int64]:
    if axis == "request":
        return np.arange(keys.num_requests + 1, dtype=np.int64)
    return keys.candidate_offsets if axis == "candidate" else keys.step_offsets
