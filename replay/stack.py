"""A stack: everything from a logged request to a rank, as one object that can be replayed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

from replay.checkpoint import CheckpointGraph
from replay.request import RequestBatch
from replay.trace import EMPTY, Array, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class StackIdentity:
    """What would be needed to run a stack again, as it ran.

    Attributes:
        name: The stack's name.
        digest: "sha256:..." over the artifact's bytes, as `replay.digests` computes it.
        training_id: Of the training that made the artifact; None where there is none.
        code: "sha256:..." over the stack's own source files.
        versions: Package to version, of what computes.
        device: "cpu", or the accelerator's name.
        threads: The native thread variables of its process.
    """

    name: str
    digest: str
    training_id: str | None = None
    code: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    threads: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The identity as plain JSON values."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return plain | {"versions": dict(self.versions), "threads": dict(self.threads)}


@runtime_checkable
class Stack(Protocol):
    """One side of a migration.

    A stack is opened by a callable `open_stack(artifact: Path | None, **options) -> Stack`
    (`package.module:open_stack` names it) and lives in a process of its own.
    """

    @property
    def name(self) -> str: ...

    @property
    def checkpoints(self) -> CheckpointGraph: ...

    def identity(self) -> StackIdentity: ...

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Run the requests and record the captured checkpoints.

        Args:
            batch: Requests in canonical form.
            capture: Names of the checkpoints to record; the fewer, the faster.
            given: Values to use in place of computing them, in the batch's row order,
                complete and of the declared dtype. The stack records what it *would*
                have produced there, and carries on with what it was given.

        Raises:
            StackError: An unknown checkpoint, or `given` that does not fit.
        """
        ...
