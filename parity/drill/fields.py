"""Which logged fields a challenger reads: those of which a change changes something."""

from __future__ import annotations

from parity.drill.bench import Bench
from parity.drill.floor import moved
from parity.log_plants import LOG_KINDS, PREFIX, readable_fields
from parity.planting import Plant
from replay.errors import ToolkitError

# Of each type of field, the misreading that nothing which reads it can overlook.
_LOUD = ("local_time", "not_decoded")


def read_fields(bench: Bench) -> list[str]:
    """Logged fields that the challenger computes something from, in the log's order."""
    return [
        field
        for field, kind in readable_fields(bench.batch.records.schema)
        for loud in _LOUD
        if LOG_KINDS[loud].fits(kind) and _matters(bench, loud, field)
    ]


def _matters(bench: Bench, kind: str, field: str) -> bool:
    try:
        return bool(
            moved(
                bench, bench.look(bench.planter([Plant(kind=kind, checkpoint=f"{PREFIX}{field}")]))
            )
        )
    except ToolkitError:  # it can not do without the field
        return True
