"""A stack in pure numpy that scores, and, when asked to, crashes, hangs or raises."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.digests import digest_of_file, digest_of_json
from replay.errors import ArtifactError, LogError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

NUM_TREES = 6

CHECKPOINTS = (
    Checkpoint(name="features.hour", stage="feature", axes=("request",), dtype="float32"),
    Checkpoint(
        name="features.price",
        stage="feature",
        axes=("candidate",),
        dtype="float32",
        missing="nan",
        rounding=Rounding(ulps=0.5, why="rounded once"),
    ),
    Checkpoint(name="features.age", stage="feature", axes=("step",), dtype="int64", exact=True),
    Checkpoint(
        name="gbdt.leaves",
        stage="tree",
        axes=("candidate", "tree"),
        shape=(NUM_TREES,),
        dtype="int32",
        after=("features.price", "features.hour"),
        exact=True,
    ),
    Checkpoint(
        name="logit", stage="output", axes=("candidate",), dtype="float32", after=("gbdt.leaves",)
    ),
    Checkpoint(name="pctr", stage="output", axes=("candidate",), dtype="float32", after=("logit",)),
    Checkpoint(
        name="rank",
        stage="output",
        axes=("candidate",),
        dtype="int32",
        after=("pctr",),
        exact=True,
        settable=False,
    ),
)
EVERY = tuple(checkpoint.name for checkpoint in CHECKPOINTS)


class ToyStack:
    """Hour, price and history into leaves, a logit, a probability and a rank."""

    def __init__(
        self,
        *,
        digest: str,
        weight: float,
        crash: Collection[str],
        hang: Collection[str],
        fail: Collection[str],
        calls: Path | None,
        meet: tuple[Path, Path] | None = None,
    ) -> None:
        self.name = "toy"
        self.checkpoints = CheckpointGraph(CHECKPOINTS, stack=self.name)
        self._digest = digest
        self._weight = np.float32(weight)
        self._crash, self._hang, self._fail = frozenset(crash), frozenset(hang), frozenset(fail)
        self._calls = calls
        self._meet = meet

    def identity(self) -> StackIdentity:
        return StackIdentity(
            name=self.name,
            digest=self._digest,
            code="sha256:toy",
            versions=MappingProxyType({"numpy": np.__version__}),
        )

    def faults(self) -> tuple[Fault, ...]:
        return (Fault(kind="heavier", checkpoint="logit", where="artifact", says="Times 1.01."),)

    def planted(self, fault: Fault) -> ToyStack:
        raise NotImplementedError(fault.kind)

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        self._misbehave(batch)
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        values = dict(self._values(batch, given))
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values=values,
            checkpoints=self.checkpoints,
            capture=capture,
        )

    def _values(
        self, batch: RequestBatch, given: Mapping[str, Array]
    ) -> Iterable[tuple[str, Array]]:
        keys = batch.keys
        hour = batch.column("context.hour").to_numpy(zero_copy_only=False).astype(np.float32)
        yield "features.hour", hour
        price = batch.column("candidate.price").to_numpy(zero_copy_only=False).astype(np.float32)
        yield "features.price", price
        yield "features.age", batch.column("history.age").to_numpy(zero_copy_only=False)
        hour, price = given.get("features.hour", hour), given.get("features.price", price)
        row = np.nan_to_num(price) + hour[keys.request_of("candidate")]
        leaves = (row[:, None] * np.arange(1, NUM_TREES + 1) % 7).astype(np.int32)
        yield "gbdt.leaves", leaves
        leaves = given.get("gbdt.leaves", leaves)
        logit = self._weight * np.sin(leaves, dtype=np.float32).sum(1, dtype=np.float32)
        yield "logit", logit
        pctr = 1 / (1 + np.exp(-given.get("logit", logit)))
        yield "pctr", pctr
        pctr = given.get("pctr", pctr)
        request = keys.request_of("candidate")
        order = np.lexsort((np.asarray(keys.ad_ids), -pctr, request))
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order)) - keys.candidate_offsets[request[order]]
        yield "rank", rank

    def _misbehave(self, batch: RequestBatch) -> None:
        if self._calls is not None:
            with self._calls.open("a") as file:
                file.write(f"{os.getpid()} {batch.num_requests}\n")
        if self._meet is not None:
            mine, theirs = self._meet
            mine.touch()
            while not theirs.exists():
                time.sleep(0.01)
        ids = set(batch.keys.request_ids.to_pylist())
        if ids & self._crash:
            sys.stderr.write("about to leave\n")
            os._exit(1)
        if ids & self._hang:
            time.sleep(3600)
        if ids & self._fail:
            raise RuntimeError(f"no good: {min(ids & self._fail)} of {object()!r}")


def open_stack(
    *,
    artifact: Path | None = None,
    weight: float = 0.1,
    crash: Collection[str] = (),
    hang: Collection[str] = (),
    fail: Collection[str] = (),
    calls: str | None = None,
    opens: str | None = None,
    meet: tuple[str, str] | None = None,
) -> ToyStack:
    """Open it.

    `opens` names a file without which opening ends the process; `meet` one that scoring
    makes, and one that it waits for.
    """
    if opens is not None and not Path(opens).exists():
        os._exit(3)
    if artifact is not None and not artifact.exists():
        raise ArtifactError("there is no artifact.", where=str(artifact), fix="train one")
    options = digest_of_json({"weight": weight})
    return ToyStack(
        digest=options if artifact is None else digest_of_file(artifact),
        weight=weight,
        crash=crash,
        hang=hang,
        fail=fail,
        calls=None if calls is None else Path(calls),
        meet=None if meet is None else (Path(meet[0]), Path(meet[1])),
    )


def heavier(_: ToyStack) -> ToyStack:
    """A wrapper: another stack in its place, of other weights."""
    return open_stack(weight=0.2)


def open_noisily(**_: object) -> ToyStack:
    sys.stdout.write("loading the weights\n")
    os.write(2, b"native chatter\n")
    os.abort()


def open_without_a_file() -> ToyStack:
    Path("/nowhere/weights").read_bytes()
    raise AssertionError("unreachable")


def open_shuffled() -> ToyStack:
    """Its rows are the batch's, in another order."""
    return _Shuffled(digest="sha256:0", weight=0.1, crash=(), hang=(), fail=(), calls=None)


def open_with_log_errors() -> ToyStack:
    return _Unreadable(digest="sha256:0", weight=0.1, crash=(), hang=(), fail=(), calls=None)


class _Shuffled(ToyStack):
    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        order = range(batch.num_requests)[::-1]
        return super().score(batch.take(order), capture=capture, given=given)


class _Unreadable(ToyStack):
    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        raise LogError("no field 'x'.", where="the log", fix="log it")
