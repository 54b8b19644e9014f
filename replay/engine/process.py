"""A stack that lives in its own process and is used like one that does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Any, Self

from replay.capabilities import Fault, TreeStructure
from replay.checkpoint import CheckpointGraph, RowAxis
from replay.engine import travel, tree_calls, wire
from replay.engine.child import Child, Usage
from replay.engine.pieces import (
    bytes_per_request,
    empty_values,
    rows_of,
    runs_within,
    trace_from_values,
)
from replay.engine.wire import Message
from replay.errors import ArtifactError, ConfigError, WorkerError
from replay.registry import StackSpec, Wrapper
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given

# DESIGN: what one answer of a stack may hold, before a batch is asked for in pieces.
CAPTURE_BYTES = 256 << 20
# A fraction of a batch gets that fraction of the time, and never less than this part of it:
# some costs do not shrink with the batch.
LEAST_TIME_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Introduction:
    checkpoints: CheckpointGraph
    identity: StackIdentity
    faults: tuple[Fault, ...]
    exposes_trees: bool
    capabilities: Mapping[str, Any]


class StackProcess:
    """A stack in its own process; satisfies the Stack protocol. Close it, or use it with `with`.

    Args:
        spec: What to open; its name becomes the stack's.
        threads: Native threads of the process.
        timeout_s: For opening, and for each batch (each piece of one that is split).
        capture_bytes: A batch whose captured arrays would be larger is scored in pieces.

    Raises:
        ToolkitError: The stack's own opening error, of the kind it was raised with.
        WorkerError: The process could not be started, or ended or hung at opening.
    """

    def __init__(
        self,
        spec: StackSpec,
        *,
        threads: int = 1,
        timeout_s: float = 300.0,
        capture_bytes: int = CAPTURE_BYTES,
    ) -> None:
        self.spec = spec
        self.threads = threads
        self.timeout_s = timeout_s
        self.capture_bytes = capture_bytes
        self._spec_json = _plain(spec)
        self._past = Usage()
        self._closed = False
        self._lock = threading.Lock()
        self._shown_trees: tree_calls.ShownTrees | None = None
        self._child = self._start()
        try:
            self._introduction = self._open()
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self._introduction.checkpoints

    @property
    def pid(self) -> int:
        """The process id of the worker, or of the last one that ended."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether a process stands behind this stack; `restart` starts another."""
        return self._child.is_alive

    def identity(self) -> StackIdentity:
        """The stack's identity, with the thread variables of its process."""
        return self._introduction.identity

    def faults(self) -> tuple[Fault, ...]:
        """The real faults the stack can put into itself; none when it can not."""
        return self._introduction.faults

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What `replay.engine.capability_calls` can ask of the stack: `able`, `variations`."""
        return self._introduction.capabilities

    @property
    def exposes_trees(self) -> bool:
        """Whether the stack has the `ExposesTrees` capability; the calls below ask for it."""
        return self._introduction.exposes_trees

    def tree_features(self) -> tuple[str, ...]:
        """As `ExposesTrees.tree_features`."""
        return self._trees().features

    def split_points(self) -> tuple[Array, ...]:
        """As `ExposesTrees.split_points`."""
        return self._trees().split_points

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        """As `ExposesTrees.tree_structure`."""
        return self._trees().structure

    def leaves(self, features: Array) -> Array:
        """As `ExposesTrees.leaves`, in the process.

        Raises:
            StackError: The stack shows no trees, or refuses the matrix.
            StackRaisedError, WorkerCrashedError, WorkerHungError: As for `score`.
        """
        count = len(features)
        answer = self._child_answer(
            tree_calls.question(features), doing=f"finding the leaves of {count} rows"
        )
        try:
            return wire.arrays_from_memory(answer.descriptors[0], answer.header["values"])["leaves"]
        finally:
            wire.close_all(answer.descriptors)

    def usage(self) -> Usage:
        """What its processes have used, as of the last answer."""
        return self._past + self._child.usage

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        time_share: float = 1.0,
    ) -> Trace:
        """Score in the process; as `Stack.score`.

        Args:
            batch: Requests in canonical form.
            capture: Names of the checkpoints to record.
            given: Values to use in place of computing them.
            time_share: Part of `timeout_s` that is enough for this batch.

        Raises:
            StackError: An unknown checkpoint, unusable `given`, or a broken contract.
            StackRaisedError: The stack raised an exception that is not the toolkit's.
            WorkerCrashedError, WorkerHungError: No answer came; `restart` before the next call.
        """
        names = list(dict.fromkeys(capture))
        for name in names:
            self.checkpoints[name]
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        sizes = bytes_per_request(batch.keys, self.checkpoints, names)
        runs = runs_within(sizes, self.capture_bytes)
        if batch.num_requests == 0 or not names:
            values = empty_values(batch.keys, self.checkpoints, names)
            return trace_from_values(self.name, batch.keys, values)
        timeout_s = self.timeout_s * max(time_share, LEAST_TIME_SHARE)
        if len(runs) == 1:
            found = self._score_piece(batch, names, given, timeout_s)
            return Trace(stack=self.name, keys=batch.keys, values=MappingProxyType(found))
        values = empty_values(batch.keys, self.checkpoints, names)
        for run in runs:
            part = {
                name: array[rows_of(batch.keys, self.checkpoints[name].rows, run)]
                for name, array in given.items()
            }
            found = self._score_piece(batch.slice(run.start, run.stop), names, part, timeout_s)
            for name, array in found.items():
                values[name][rows_of(batch.keys, self.checkpoints[name].rows, run)] = array
        return trace_from_values(self.name, batch.keys, values)

    def wrap(self, *wrappers: Wrapper) -> None:
        """Put wrappers around the stack as it was opened, in place of those put there before.

        They change no checkpoint and no identity, cost no new process, and are gone after `restart`.

        Raises:
            ToolkitError: What a wrapper raised; the wrappers from before stay.
        """
        plain = _plain(replace(self.spec, wrappers=wrappers))["wrappers"]
        question = Message(header={"do": "wrap", "wrappers": plain})
        self._ask(question, doing="being wrapped", timeout_s=self.timeout_s)

    def restart(self) -> None:
        """End the process and open the stack again in a new one.

        Raises:
            ArtifactError: What opened now is not what was opened before.
            ToolkitError: As when the stack was opened.
        """
        with self._lock:
            self._child.kill()
            self._past += self._child.usage
            self._child = self._start()
            if self._closed:  # by another thread, which saw the process before this one
                self._child.kill()
                self._start()
            before, after = self._introduction.identity, self._open().identity
        if after != before:
            self._child.kill()
            raise ArtifactError(
                f"stack {self.name!r} is not what it was when the replay began: "
                f"{before.digest} then, {after.digest} now.",
                where=str(self.spec.artifact or self.spec.opener),
                fix="leave artifacts and code alone while they are replayed, and start again",
            )

    def close(self) -> None:
        """End the process; calling it again does nothing. May be called from another thread."""
        self._closed = True
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> Child:
        if self._closed:
            raise WorkerError(
                f"stack {self.name!r} was closed.",
                where="the replay that used it",
                fix="open it again",
            )
        try:
            return Child(stack=self.name, threads=self.threads)
        except OSError as error:
            raise WorkerError(
                f"the process of stack {self.name!r} could not be started: {error}.",
                where="the operating system",
                fix="raise the limits on processes, open files or memory",
            ) from error

    def _open(self) -> _Introduction:
        question = Message(header={"do": "open", "spec": self._spec_json})
        answer = self._ask(question, doing="opening", timeout_s=self.timeout_s)
        try:
            return _Introduction(
                checkpoints=travel.graph_from_json(answer["checkpoints"], stack=self.name),
                identity=travel.identity_from_json(answer["identity"]),
                faults=travel.faults_from_json(answer["faults"]),
                exposes_trees=answer["exposes_trees"],
                capabilities=answer["capabilities"],
            )
        except BaseException:
            self._child.kill()
            raise

    def _score_piece(
        self, batch: RequestBatch, names: list[str], given: Mapping[str, Array], timeout_s: float
    ) -> dict[str, Array]:
        count = batch.num_requests
        doing = f"scoring {count} request{'' if count == 1 else 's'}"
        header = {"do": "score", "capture": names}
        return self.ask_for_arrays(
            header, batch=batch, given=given, doing=doing, timeout_s=timeout_s
        )[1]

    def ask_for_arrays(
        self,
        header: Mapping[str, Any],
        *,
        batch: RequestBatch | None = None,
        given: Mapping[str, Array] = EMPTY,
        doing: str,
        timeout_s: float | None = None,
    ) -> tuple[Mapping[str, Any], dict[str, Array]]:
        """Ask the worker one question whose answer is arrays.

        Raises:
            StackError, StackRaisedError, WorkerCrashedError, WorkerHungError: As for `score`.
        """
        with self._lock:
            descriptors = [] if batch is None else [wire.memory_from_batch(batch)]
            layout: list[dict[str, Any]] = []
            if given:
                try:
                    memory, layout = wire.memory_from_arrays(given)
                except BaseException:
                    wire.close_all(descriptors)
                    raise
                descriptors.append(memory)
            question = Message(header={**header, "given": layout}, descriptors=tuple(descriptors))
            answer = self._child.ask(
                question, doing=doing, timeout_s=self.timeout_s if timeout_s is None else timeout_s
            )
        try:
            self._raise_error(answer.header)
            values = wire.arrays_from_memory(answer.descriptors[0], answer.header["values"])
            return answer.header, values
        finally:
            wire.close_all(answer.descriptors)

    def rows_of_given(self, name: str) -> RowAxis:
        """The row axis of what is sent under a name: a checkpoint's, else candidates."""
        return self.checkpoints[name].rows if name in self.checkpoints else "candidate"

    def _trees(self) -> tree_calls.ShownTrees:
        """What the stack shows of its trees, asked for once."""
        if self._shown_trees is None:
            answer = self._child_answer(Message(header={"do": "trees"}), doing="showing its trees")
            try:
                self._shown_trees = tree_calls.shown_from(answer)
            finally:
                wire.close_all(answer.descriptors)
        return self._shown_trees

    def _child_answer(self, question: Message, *, doing: str) -> Message:
        """An answer whose descriptors the caller closes."""
        with self._lock:
            answer = self._child.ask(question, doing=doing, timeout_s=self.timeout_s)
        if "error" in answer.header:
            wire.close_all(answer.descriptors)
            self._raise_error(answer.header)
        return answer

    def _ask(self, question: Message, *, doing: str, timeout_s: float) -> Mapping[str, Any]:
        answer = self._child.ask(question, doing=doing, timeout_s=timeout_s)
        wire.close_all(answer.descriptors)
        self._raise_error(answer.header)
        return answer.header

    def _raise_error(self, header: Mapping[str, Any]) -> None:
        if "error" in header:
            raise travel.error_from_json(header["error"], stack=self.name)


def _plain(spec: StackSpec) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(json.dumps(spec.to_json()))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"an option of stack {spec.name!r} is no plain value: {error}.",
            where=f"the options and wrappers of stack {spec.name!r}",
            fix="use strings, numbers, true, false, null, and lists and mappings of these",
        ) from error
    return value
