"""What was asked and what was computed: logged requests, traces, and running stacks over days.

Importing this package loads no framework, and numpy only when a name below is first used,
so that a process can fix its native thread counts before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
    from replay.errors import ToolkitError
    from replay.registry import StackSpec, open_stack
    from replay.request import RequestBatch, batch_from_records
    from replay.stack import Stack, StackIdentity
    from replay.trace import BatchKeys, Trace, check_given, make_trace

__all__ = [
    "BatchKeys",
    "Checkpoint",
    "CheckpointGraph",
    "RequestBatch",
    "Rounding",
    "Stack",
    "StackIdentity",
    "StackSpec",
    "ToolkitError",
    "Trace",
    "batch_from_records",
    "check_given",
    "make_trace",
    "open_stack",
]

_HOME = {
    "replay.checkpoint": ("Checkpoint", "CheckpointGraph", "Rounding"),
    "replay.errors": ("ToolkitError",),
    "replay.registry": ("StackSpec", "open_stack"),
    "replay.request": ("RequestBatch", "batch_from_records"),
    "replay.stack": ("Stack", "StackIdentity"),
    "replay.trace": ("BatchKeys", "Trace", "check_given", "make_trace"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'replay' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
