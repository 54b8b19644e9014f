"""What a diagnosis may look at: pairs of values, whose they are, and what else was recorded there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parity.compare.alignment import expanded
from parity.explain.probe import Probe
from parity.noise import Sampled
from parity.tolerance import Floats, Mask, Tolerance
from replay.checkpoint import RowAxis, Stage
from replay.errors import StackError
from replay.request import RequestBatch
from replay.trace import EMPTY, Array

NO_FLOATS: Mapping[str, Floats] = MappingProxyType({})
NO_STAGES: Mapping[str, Stage] = MappingProxyType({})
_MICROSECONDS_PER_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """One checkpoint's values on both sides, computed from the same inputs.

    Attributes:
        name: The checkpoint.
        reference: [row, *inner], a number or bool; NaN is a missing value.
        challenger: The same shape.
        tolerance: How far two values may lie apart.
        requests: [row], index of the row's request; rows of a request stand together.
        stage, unit: As the checkpoint declares them.
        differs: [row], where the comparison says so; None: by the tolerance alone.
        others: The reference's other checkpoints along the same rows, [row, *inner].
        stages: Of those others.
        parents: Names among the others that the checkpoint is computed from.
        context: Logged numbers along the same rows; `history_length` where histories are logged.
        thresholds: Of a tree's parents, the values at which its splits divide them, where known.
        times: Logged times along the same rows, in hours since 1970, UTC.

    Raises:
        StackError: The arrays do not have one row count and shape.
    """

    name: str
    reference: Array
    challenger: Array
    tolerance: Tolerance | Sampled
    requests: NDArray[np.int64]
    stage: Stage = "feature"
    unit: str = "1"
    differs: Mask | None = None
    others: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    stages: Mapping[str, Stage] = field(default_factory=lambda: NO_STAGES)
    parents: tuple[str, ...] = ()
    thresholds: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    context: Mapping[str, Floats] = field(default_factory=lambda: NO_FLOATS)
    times: Mapping[str, Floats] = field(default_factory=lambda: NO_FLOATS)

    def __post_init__(self) -> None:
        rows = len(self.requests)
        beside = {**self.others, **self.context, **self.times}
        lengths = {name: len(values) for name, values in beside.items()}
        lengths |= {"the reference": len(self.reference), "the challenger": len(self.challenger)}
        odd = [f"{name}: {length}" for name, length in lengths.items() if length != rows]
        if odd or self.reference.shape != self.challenger.shape:
            shapes = f"{list(self.reference.shape)} against {list(self.challenger.shape)}"
            raise StackError(
                f"evidence of {rows} rows has other lengths ({', '.join(odd) or shapes}).",
                where=f"diagnosis of {self.name!r}",
                fix="give one value for each row, on both sides and in everything beside them",
            )


def evidence_of(cause: str, probe: Probe, *, thresholds: Mapping[str, Array] = EMPTY) -> Evidence:
    """What a probe recorded at a cause: the reference against the run on the reference's inputs.

    Args:
        cause: The reference's name of an aligned checkpoint.
        probe: The sample.
        thresholds: Reference names of tree features to their splits' float32 thresholds, where a
            stack exposes them.
    """
    alignment, keys = probe.alignment, probe.batch.keys
    pair = alignment[cause]
    ours, theirs = probe.local_values(pair)
    others, stages = {}, {}
    for other in alignment.pairs:
        if other.name != cause and other.rows in {pair.rows, "request"}:
            ours_there, theirs_there = other.values(probe.reference, probe.free_run)
            read = theirs_there if cause in probe.mirrored else ours_there
            others[other.name] = expanded(read, other.rows, pair.rows, keys)
            stages[other.name] = other.stage
    named = {alignment.by_challenger[n].name for n in pair.challenger.after if _aligned(probe, n)}
    named |= set(pair.reference.after)
    return Evidence(
        name=cause,
        reference=ours,
        challenger=theirs,
        tolerance=pair.sampled or pair.tolerance,
        requests=keys.request_of(pair.rows),
        stage=pair.stage,
        unit=pair.reference.unit,
        differs=probe.local[cause].differs,
        others=others,
        stages=stages,
        parents=tuple(name for name in others if name in named),
        thresholds=thresholds,
        context=dict(_numbers(probe.batch, pair.rows)),
        times=dict(_times(probe.batch, pair.rows)),
    )


def _aligned(probe: Probe, name: str) -> bool:
    return name in probe.alignment.by_challenger


def _fields(batch: RequestBatch, rows: RowAxis) -> Iterator[tuple[str, RowAxis, pa.Array]]:
    """Logged fields that have one value for each row, or for each row's request."""
    yield "logged_at", "request", batch.column("logged_at")
    for top, axis in (("context", "request"), ("user", "request"), ("candidate", "candidate")):
        column = {"candidate": "candidates"}.get(top, top)
        if axis not in {"request", rows} or column not in batch.records.schema.names:
            continue
        kind = batch.records.schema.field(column).type
        struct = kind.value_type if pa.types.is_list(kind) else kind
        for one in struct if pa.types.is_struct(struct) else ():
            yield (
                f"{top}.{one.name}",
                "candidate" if top == "candidate" else "request",
                (batch.column(f"{top}.{one.name}")),
            )


def _numbers(batch: RequestBatch, rows: RowAxis) -> Iterator[tuple[str, Floats]]:
    keys = batch.keys
    lengths = np.diff(keys.step_offsets).astype(np.float64)
    yield "history_length", expanded(lengths, "request", rows, keys)
    for name, axis, column in _fields(batch, rows):
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            wide = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            yield name, expanded(wide, axis, rows, keys)


def _times(batch: RequestBatch, rows: RowAxis) -> Iterator[tuple[str, Floats]]:
    for name, axis, column in _fields(batch, rows):
        if pa.types.is_timestamp(column.type):
            ticks = pc.cast(column.cast(pa.int64()), pa.float64(), safe=False)
            hours = ticks.to_numpy(zero_copy_only=False) / _MICROSECONDS_PER_HOUR
            yield name, expanded(hours, axis, rows, batch.keys)
