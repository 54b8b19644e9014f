"""A stack around a stack: what it recorded once for a batch is read from disk the next time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from replay.capabilities import Fault
from replay.checkpoint import CheckpointGraph
from replay.engine.child import Usage
from replay.engine.durable import remove_abandoned, write_durably
from replay.engine.pieces import trace_from_values
from replay.engine.process import StackProcess
from replay.engine.trace_file import DamagedTraceError, parts_from_values, values_from_bytes
from replay.engine.travel import json_from_identity
from replay.errors import ConfigError, StackError
from replay.registry import StackSpec
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_array

# A day of 8,000 requests with 50 candidates takes below 100 MB: weeks of days fit.
LIMIT_BYTES = 4 << 30
FORMAT = "parity.trace/1"
_SUFFIX = ".trace"


@dataclass(slots=True)
class CacheCounts:
    """What the cache did so far.

    Attributes:
        hits: Batches that were read.
        misses: Batches that the stack had to score.
        damaged: Misses whose file was there and did not hold what was written.
        unwritten: Misses that the disk refused to keep.
    """

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    unwritten: int = 0


class CachedStack:
    """A StackProcess whose traces are kept in a folder; satisfies the Stack protocol.

    A trace is found by everything it depends on: the stack's identity (artifact, code,
    versions, device, threads), how it was opened, the batch's content and the captured
    checkpoints. A call with `given` is never kept.

    Args:
        inner: The stack; closed with this one.
        folder: Shared by any number of processes; made if it is not there.
        limit_bytes: Of the folder; the files that were longest unused make room.

    Raises:
        ConfigError: The folder can not be written.
    """

    def __init__(
        self, inner: StackProcess, *, folder: Path, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.inner = inner
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.counts = CacheCounts()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(folder)
        except OSError as error:
            raise _unusable(folder, str(error)) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _unusable(folder, "it is not writable")
        self._used = sum(size for _, size, _ in self._files())
        self._side = json.dumps(
            {
                "format": FORMAT,
                "identity": json_from_identity(inner.identity()),
                "opened": {**inner.spec.to_json(), "artifact": None},
            },
            sort_keys=True,
        ).encode()

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def spec(self) -> StackSpec:
        return self.inner.spec

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self.inner.checkpoints

    @property
    def is_alive(self) -> bool:
        return self.inner.is_alive

    def identity(self) -> StackIdentity:
        return self.inner.identity()

    def faults(self) -> tuple[Fault, ...]:
        return self.inner.faults()

    def usage(self) -> Usage:
        return self.inner.usage()

    def restart(self) -> None:
        self.inner.restart()

    def close(self) -> None:
        self.inner.close()

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        time_share: float = 1.0,
    ) -> Trace:
        """As `StackProcess.score`, from disk where that is possible."""
        names = list(dict.fromkeys(capture))
        if given or batch.num_requests == 0 or not names:
            return self.inner.score(batch, capture=names, given=given, time_share=time_share)
        for name in names:
            self.checkpoints[name]
        key = self._key(batch, names)
        values = self._read(key, batch, names)
        if values is not None:
            self.counts.hits += 1
            return trace_from_values(self.name, batch.keys, {name: values[name] for name in names})
        self.counts.misses += 1
        trace = self.inner.score(batch, capture=names, time_share=time_share)
        self._write(key, trace)
        return trace

    def _key(self, batch: RequestBatch, names: list[str]) -> str:
        digest = hashlib.sha256(self._side)
        digest.update(json.dumps(sorted(names)).encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.records.schema) as stream:
            stream.write_batch(batch.records)
        digest.update(sink.getvalue())
        return digest.hexdigest()

    def _read(self, key: str, batch: RequestBatch, names: list[str]) -> dict[str, Array] | None:
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        try:
            values = values_from_bytes(data, key=key)
            for name in names:
                check_array(values[name], self.checkpoints[name], batch.keys, where=str(path))
        except (DamagedTraceError, StackError, KeyError):
            self.counts.damaged += 1
            return None
        with suppress(OSError):
            os.utime(path)
        return values

    def _write(self, key: str, trace: Trace) -> None:
        parts = parts_from_values(key, trace.values)
        path = self._path(key)
        try:
            before = _size_of(path)
            # Not flushed: what a power cut damages is found by its digest and recomputed.
            write_durably(path, parts, durable=False)
        except OSError:
            self.counts.unwritten += 1
            return
        self._used += sum(len(part) for part in parts) - before
        if self._used > self.limit_bytes:
            self._make_room()

    def _make_room(self) -> None:
        files = sorted(self._files())
        self._used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if self._used <= self.limit_bytes:
                return
            with suppress(OSError):
                path.unlink()
            self._used -= size

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with suppress(OSError):  # removed by another process in between
                found = path.stat()
                yield found.st_mtime_ns, found.st_size, path

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _unusable(folder: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"the traces of the reference can not be kept: {reason}.",
        where=str(folder),
        fix="choose a folder that can be written, or keep no traces",
    )
