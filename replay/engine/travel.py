"""What a stack says of itself, and the errors it raises, as plain JSON values and back."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from replay import errors
from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.engine.failures import StackRaisedError
from replay.errors import ToolkitError
from replay.stack import StackIdentity

# The frames next to the error; the full traceback is in the worker's own output.
FRAMES = 3

_KINDS: dict[str, type[ToolkitError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ToolkitError)
}


def json_from_graph(graph: Mapping[str, Checkpoint]) -> list[dict[str, Any]]:
    """A graph's checkpoints in execution order."""
    return [asdict(checkpoint) for checkpoint in graph.values()]


def graph_from_json(checkpoints: Iterable[Mapping[str, Any]], *, stack: str) -> CheckpointGraph:
    """The graph that `json_from_graph` wrote."""
    return CheckpointGraph((_checkpoint(value) for value in checkpoints), stack=stack)


def json_from_identity(identity: StackIdentity) -> dict[str, Any]:
    """An identity, with whatever mappings it holds as plain ones."""
    return {
        "name": identity.name,
        "digest": identity.digest,
        "training_id": identity.training_id,
        "code": identity.code,
        "versions": dict(identity.versions),
        "device": identity.device,
        "threads": dict(identity.threads),
    }


def identity_from_json(value: Mapping[str, Any]) -> StackIdentity:
    """The identity that `json_from_identity` wrote."""
    return StackIdentity(**value)


def json_from_faults(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """The faults a stack can put into itself."""
    return [asdict(fault) for fault in faults]


def faults_from_json(values: Iterable[Mapping[str, Any]]) -> tuple[Fault, ...]:
    """The faults that `json_from_faults` wrote."""
    return tuple(Fault(**value) for value in values)


def json_from_error(error: BaseException) -> dict[str, Any]:
    """An error as its nearest kind among `replay.errors`, or as a foreign one with its frames."""
    if isinstance(error, ToolkitError):
        kind = next(k.__name__ for k in type(error).__mro__ if _KINDS.get(k.__name__) is k)
        return {"kind": kind, "what": error.what, "where": error.where, "fix": error.fix}
    last = "".join(traceback.format_exception(error, limit=-FRAMES)).rstrip()
    text = str(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return {"kind": None, "what": what, "where": last, "fix": ""}


def error_from_json(value: Mapping[str, Any], *, stack: str) -> ToolkitError:
    """The error that `json_from_error` wrote; a foreign one becomes a StackRaisedError."""
    if value["kind"] is not None:
        return _KINDS[value["kind"]](value["what"], where=value["where"], fix=value["fix"])
    return StackRaisedError(
        value["what"],
        where=f"stack {stack!r}\n" + _indented(value["where"]),
        fix="mend the stack, or what it was opened from",
    )


def _checkpoint(value: Mapping[str, Any]) -> Checkpoint:
    rounding = value["rounding"]
    return Checkpoint(
        **{
            **value,
            "axes": tuple(value["axes"]),
            "shape": tuple(value["shape"]),
            "after": tuple(value["after"]),
            "rounding": None if rounding is None else Rounding(**rounding),
        }
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
