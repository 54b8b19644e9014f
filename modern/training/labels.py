"""What became of shown candidates, task by task: 0, 1, or not known (yet)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modern.transformer.config import Task
from replay.request import RequestBatch

MICROS_OF_AN_HOUR = 3_600_000_000


def outcomes(
    batch: RequestBatch,
    tasks: Sequence[Task],
    *,
    known_until: int | None = None,
    attribution_hours: float,
) -> NDArray[np.float32]:
    """[candidate, task] 0 or 1; NaN where it is null in the log, or can not be known yet.

    A conversion takes time. Until the attribution window of its request has passed, "none so far"
    and "none" are two things; and leaving out only the former would leave too many conversions. So
    a request whose window has not passed says nothing, whatever the log knows of it by now.

    Args:
        batch: Requests with their candidates.
        tasks: In the order of the columns.
        known_until: Microseconds since 1970 up to which outcomes are known: the end of the
            training days. None: all of them are.
        attribution_hours: The window.

    Raises:
        LogError: The log lacks the field of a task.
    """
    columns = [_OUTCOMES[task](batch) for task in tasks]
    if known_until is not None and "conversion" in tasks:
        logged_at = batch.column("logged_at").cast(pa.int64()).to_numpy()
        is_open = logged_at + attribution_hours * MICROS_OF_AN_HOUR > known_until
        open_rows = is_open[batch.keys.request_of("candidate")]
        columns[tasks.index("conversion")][open_rows] = np.nan
    return np.stack(columns, axis=1)


def _click(batch: RequestBatch) -> NDArray[np.float32]:
    return _float32(batch.column("candidate.click"))


def _conversion(batch: RequestBatch) -> NDArray[np.float32]:
    return _float32(batch.column("candidate.conversion"))


def _viewed(least_ms: int) -> Callable[[RequestBatch], NDArray[np.float32]]:
    def outcome(batch: RequestBatch) -> NDArray[np.float32]:
        return _float32(pc.greater_equal(batch.column("candidate.view_ms"), least_ms))

    return outcome


_OUTCOMES: Mapping[Task, Callable[[RequestBatch], NDArray[np.float32]]] = MappingProxyType(
    {
        "click": _click,
        "conversion": _conversion,
        "view_2s": _viewed(2000),
        "view_5s": _viewed(5000),
    }
)


def _float32(column: pa.Array) -> NDArray[np.float32]:
    """Null is NaN; writable."""
    values = column.cast(pa.int8()).cast(pa.float32()).to_numpy(zero_copy_only=False)
    return np.array(values, dtype=np.float32)
