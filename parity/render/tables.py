"""The figures of every checkpoint as an Arrow table, one row each."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from parity.judge.report import CheckpointFigures, Example

# Values are text: an id above 2^53 and a float32 both keep every digit, null is missing.
_EXAMPLE = pa.struct(
    [
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("ad_id", pa.string()),
        pa.field("reference", pa.string()),
        pa.field("challenger", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("differing", pa.int64(), nullable=False),
        pa.field("requests_differing", pa.int64(), nullable=False),
        pa.field("max_difference", pa.float64()),
        pa.field("p99_difference", pa.float64()),
        pa.field("missing_reference", pa.int64(), nullable=False),
        pa.field("missing_challenger", pa.int64(), nullable=False),
        pa.field("missing_rate_reference", pa.float64()),
        pa.field("missing_rate_challenger", pa.float64()),
        pa.field("missing_mismatch", pa.int64(), nullable=False),
        pa.field("nonfinite", pa.int64(), nullable=False),
        pa.field("tolerance", pa.string(), nullable=False),
        pa.field("is_cause", pa.bool_(), nullable=False),
        pa.field("examples", pa.list_(_EXAMPLE), nullable=False),
    ]
)


def figures_table(figures: Iterable[CheckpointFigures], causes: Iterable[str]) -> pa.Table:
    """One row a checkpoint, in causal order; a rate of no rows is null.

    Args:
        figures: What the screen counted.
        causes: Names of the checkpoints that are causes.
    """
    named = frozenset(causes)
    return pa.Table.from_pylist([_row(of, named) for of in figures], schema=SCHEMA)


def _row(of: CheckpointFigures, causes: frozenset[str]) -> dict[str, object]:
    return {
        "checkpoint": of.checkpoint,
        "stage": of.stage,
        "rows": of.rows,
        "differing": of.differing,
        "requests_differing": of.requests_differing,
        "max_difference": of.max_difference,
        "p99_difference": of.p99_difference,
        "missing_reference": of.missing_reference,
        "missing_challenger": of.missing_challenger,
        "missing_rate_reference": of.missing_reference / of.rows if of.rows else None,
        "missing_rate_challenger": of.missing_challenger / of.rows if of.rows else None,
        "missing_mismatch": of.missing_mismatch,
        "nonfinite": of.nonfinite,
        "tolerance": of.tolerance,
        "is_cause": of.checkpoint in causes,
        "examples": [_example(example) for example in of.examples],
    }


def _example(of: Example) -> dict[str, str | None]:
    return {
        "request_id": of.request_id,
        "ad_id": of.ad_id,
        "reference": None if of.reference is None else repr(of.reference),
        "challenger": None if of.challenger is None else repr(of.challenger),
    }
