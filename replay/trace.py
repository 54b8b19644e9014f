"""What a stack recorded for a batch: jagged arrays, one per checkpoint, rows by key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.checkpoint import Checkpoint, RowAxis
from replay.errors import StackError

Array = NDArray[Any]
EMPTY: Mapping[str, Array] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchKeys:
    """The row labels of a batch, shared by every array recorded for it.

    Attributes:
        request_ids: [request], utf8.
        ad_ids: [candidate], int64 or utf8, requests one after another.
        candidate_offsets: [request + 1], int64; request r owns rows offsets[r]:offsets[r+1].
        step_offsets: [request + 1], int64; the same for the logged history, oldest first.
    """

    request_ids: pa.Array
    ad_ids: pa.Array
    candidate_offsets: NDArray[np.int64]
    step_offsets: NDArray[np.int64]

    @property
    def num_requests(self) -> int:
        return len(self.request_ids)

    @property
    def num_candidates(self) -> int:
        return len(self.ad_ids)

    def num_rows(self, axis: RowAxis) -> int:
        """Rows along a row axis."""
        if axis == "request":
            return self.num_requests
        offsets = self.candidate_offsets if axis == "candidate" else self.step_offsets
        return int(offsets[-1])

    def request_of(self, axis: RowAxis) -> NDArray[np.int64]:
        """[row] of an axis to the request's index in the batch."""
        requests = np.arange(self.num_requests, dtype=np.int64)
        if axis == "request":
            return requests
        offsets = self.candidate_offsets if axis == "candidate" else self.step_offsets
        return np.repeat(requests, np.diff(offsets))

    def same_rows(self, other: BatchKeys) -> bool:
        """Whether both label the same rows in the same order."""
        return (
            self.request_ids.equals(other.request_ids)
            and self.ad_ids.equals(other.ad_ids)
            and np.array_equal(self.candidate_offsets, other.candidate_offsets)
            and np.array_equal(self.step_offsets, other.step_offsets)
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """What one stack recorded for a batch, one array per checkpoint.

    Attributes:
        stack: The stack's name.
        keys: Row labels, shared by every array.
        values: Checkpoint name to a read-only array; its first axis is the checkpoint's row axis.
    """

    stack: str
    keys: BatchKeys
    values: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.values[name]


def make_trace(
    *,
    stack: str,
    keys: BatchKeys,
    values: Mapping[str, Array],
    checkpoints: Mapping[str, Checkpoint],
    capture: Collection[str],
) -> Trace:
    """Check what a stack recorded against what it declared, and freeze a copy of it.

    Raises:
        StackError: A captured checkpoint is absent, or has another shape or dtype.
    """
    recorded: dict[str, Array] = {}
    for name in capture:
        if name not in values:
            raise StackError(
                f"checkpoint {name!r} was asked for and not recorded.",
                where=f"stack {stack!r}",
                fix="record it in score(), or do not declare it",
            )
        check_array(values[name], checkpoints[name], keys, where=f"stack {stack!r}, recorded")
        recorded[name] = frozen(values[name])
    return Trace(stack=stack, keys=keys, values=MappingProxyType(recorded))


def check_given(
    given: Mapping[str, Array],
    checkpoints: Mapping[str, Checkpoint],
    keys: BatchKeys,
    *,
    stack: str,
) -> None:
    """Refuse `given` that is not settable, not complete for the batch, or of another dtype.

    Raises:
        StackError: Naming the checkpoint and what does not fit.
    """
    for name, array in given.items():
        if not checkpoints[name].settable:
            raise StackError(
                f"checkpoint {name!r} can not be given.",
                where=f"stack {stack!r}",
                fix="give a settable checkpoint (settable=True in its declaration)",
            )
        check_array(array, checkpoints[name], keys, where=f"stack {stack!r}, given")


def check_array(array: Array, checkpoint: Checkpoint, keys: BatchKeys, *, where: str) -> None:
    """Refuse an array whose shape or dtype is not the checkpoint's.

    Raises:
        StackError: Naming the checkpoint, what was declared and what was found.
    """
    shape = (keys.num_rows(checkpoint.rows), *checkpoint.shape)
    if array.shape != shape or array.dtype != np.dtype(checkpoint.dtype):
        raise StackError(
            f"{checkpoint.name!r} is {array.dtype}{list(array.shape)}, declared "
            f"{checkpoint.dtype}{list(shape)} along {checkpoint.axes}.",
            where=where,
            fix="make the array and the declaration agree; values are never cast or broadcast",
        )


def frozen(array: Array) -> Array:
    """A read-only C-ordered copy: stacks reuse their buffers."""
    copy = np.array(array, order="C", copy=True)
    copy.flags.writeable = False
    return copy
