"""Does replaying the reference reproduce what production served? Counted field by field."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from parity.compare.alignment import Pair, expanded
from parity.compare.counts import FieldCounts
from parity.compare.difference import compare
from parity.compare.ranks import Ranked, bids_of, moved_ranks
from parity.compare.shard_rows import ShardRows, Shown, shown
from parity.plan import Plan
from parity.tolerance import Exact, Mask, tolerance_for
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError
from replay.trace import Array, Trace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """Served field ("pctr", "rank", "features.<name>") to its counts, and fields left over."""

    fields: dict[str, FieldCounts]
    unmatched: tuple[str, ...]


def served_counts(rows: ShardRows, reference: Trace, graph: CheckpointGraph, plan: Plan) -> Served:
    """Compare the reference's trace with the `served_*` fields of the log.

    The log was served by a stack of the reference's own kind, so a value may move by twice
    the reference's own rounding bound; a rank that moved within it is a near tie.

    Returns:
        No fields where the log has none. A served feature that the reference does not compute,
        or of a type that can not be compared, is unmatched.
    """
    fields: dict[str, FieldCounts] = {}
    unmatched: list[str] = []
    for name, column in _served(rows).items():
        if name not in graph or name not in reference.values or graph[name].rows == "step":
            unmatched.append(name)
            continue
        checkpoint = graph[name]
        ours = expanded(reference[name], checkpoint.rows, "candidate", reference.keys)
        theirs = _comparable(column, checkpoint)
        if theirs is None or ours.ndim != 1:
            unmatched.append(name)
        elif name == "rank":
            differs = _moved(rows, reference, graph, plan, theirs)
            fields[name] = _counts(
                rows, ours=ours, theirs=theirs, differs=differs, checkpoint=checkpoint, plan=plan
            )
        else:
            pair = _pair(checkpoint, theirs, plan)
            if isinstance(pair.tolerance, Exact) and ours.dtype.kind == "f":
                theirs = theirs.astype(ours.dtype)  # a log may keep float32 values as float64
            absent = np.asarray(column.is_null()) if ours.dtype.kind != "f" else np.False_
            differs = compare(ours, theirs, pair).differs | absent
            fields[name] = _counts(
                rows, ours=ours, theirs=theirs, differs=differs, checkpoint=checkpoint, plan=plan
            )
    return Served(fields=fields, unmatched=tuple(sorted(unmatched)))


def _served(rows: ShardRows) -> dict[str, pa.Array]:
    """Checkpoint name to the served values, [candidate]."""
    candidates = rows.batch.records.schema.field("candidates").type.value_type
    names = {field.name for field in candidates}
    found = {
        name: rows.batch.column(f"candidate.served_{name}")
        for name in ("pctr", "rank")
        if f"served_{name}" in names
    }
    if "served_features" in names:
        struct = rows.batch.column("candidate.served_features")
        for field, values in zip(struct.type, struct.flatten(), strict=True):
            found[f"features.{field.name}"] = values
    return found


def _comparable(column: pa.Array, checkpoint: Checkpoint) -> Array | None:
    """Served values in the checkpoint's kind of number; None where they are no such thing."""
    real = np.dtype(checkpoint.dtype).kind == "f"
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int64())
    if not (pa.types.is_integer(column.type) or (real and pa.types.is_floating(column.type))):
        return None
    if real:
        values: Array = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values
    exact: Array = column.fill_null(0).to_numpy(zero_copy_only=False)
    return exact


def _pair(checkpoint: Checkpoint, served: Array, plan: Plan) -> Pair:
    try:
        tolerance = tolerance_for(checkpoint, checkpoint, plan.tolerances)
    except ConfigError:
        # A statistical plan asks for no bounds: the served value is then the reference's own.
        tolerance = Exact(why="the reference declares no rounding bound")
    theirs = replace(checkpoint, dtype=str(served.dtype))
    return Pair(reference=checkpoint, challenger=theirs, tolerance=tolerance)


def _moved(
    rows: ShardRows, reference: Trace, graph: CheckpointGraph, plan: Plan, served_rank: Array
) -> Mask:
    ranked = _ranked(rows, reference, graph, plan)
    offsets = rows.batch.keys.candidate_offsets
    return moved_ranks(reference["rank"], served_rank, offsets, ranked).flips


def _ranked(rows: ShardRows, reference: Trace, graph: CheckpointGraph, plan: Plan) -> Ranked | None:
    """What the reference ranks by, beside what production ranked by where that is logged."""
    if "pctr" not in reference.values or graph["pctr"].rows != "candidate":
        return None
    pctr = reference["pctr"].astype(np.float64)
    column = _served(rows).get("pctr")
    served = None if column is None else _comparable(column, graph["pctr"])
    pair = _pair(graph["pctr"], pctr, plan)
    allowed = pair.tolerance.allowed(reference["pctr"], reference["pctr"])
    bids = bids_of(rows.batch) if "ecpm_micros" in reference.values else None
    money = 1.0 if bids is None else 1000.0 * np.abs(bids)
    return Ranked(
        reference=pctr if bids is None else reference["ecpm_micros"].astype(np.float64),
        challenger=None if served is None else served * money,
        allowed=allowed * money,
    )


def _counts(
    rows: ShardRows,
    *,
    ours: Array,
    theirs: Array,
    differs: Mask,
    checkpoint: Checkpoint,
    plan: Plan,
) -> FieldCounts:
    def values(row: int) -> tuple[Shown, Shown]:
        nan_is_missing = checkpoint.missing == "nan"
        return (
            shown(ours[row], missing=nan_is_missing),
            shown(theirs[row], missing=nan_is_missing),
        )

    return FieldCounts(
        rows=len(differs),
        differing=int(np.count_nonzero(differs)),
        examples=rows.examples(differs, "candidate", plan.examples, values),
    )
