"""What a run has finished, one small file per shard, so that a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Protocol

from replay.engine.durable import remove_abandoned, write_durably
from replay.errors import ConfigError, ToolkitError

FORMAT = "parity.journal/1"
_HEADER = "journal.json"
_DIGEST_BYTES = 32


class HasId(Protocol):
    """A shard: a piece of a logged day, known by its id."""

    @property
    def id(self) -> str: ...


class Journal:
    """The finished shards of a run, in the folder `journal` of its run directory.

    A record holds a digest of the fingerprint, the shard and the payload. One that does not
    agree (half-written, damaged, of another replay) counts as absent, and its shard is
    replayed again.

    Args:
        run_dir: The run's directory; made if it is not there.
        fingerprint: Digest of everything that the results depend on: log, plan, both stacks'
            identities, sample, seed.

    Raises:
        ConfigError: The journal there belongs to a replay of something else, or it can not
            be written.
    """

    def __init__(self, run_dir: Path, *, fingerprint: str = "") -> None:
        self.folder = run_dir / "journal"
        self.fingerprint = fingerprint
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(self.folder)
            self._bind()
        except OSError as error:
            raise ConfigError(
                f"the run's journal can not be written: {error}.",
                where=str(self.folder),
                fix="choose a folder that can be written, on a disk with room",
            ) from error

    def finished(self, shard: HasId) -> bytes | None:
        """What was recorded for a shard; None when it has to be replayed."""
        try:
            data = self._path(shard).read_bytes()
        except OSError:
            return None
        digest, payload = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        return payload if digest == self._digest(shard, payload) else None

    def record(self, shard: HasId, payload: bytes) -> None:
        """Keep a shard's result; once this returns, no kill and no power cut undoes it.

        Raises:
            ToolkitError: The disk refuses.
        """
        try:
            write_durably(self._path(shard), [self._digest(shard, payload), payload])
        except OSError as error:
            raise ToolkitError(
                f"the result of shard {shard.id!r} can not be kept: {error}.",
                where=str(self.folder),
                fix="make room on the disk and resume the run",
            ) from error

    def _bind(self) -> None:
        header = self.folder / _HEADER
        ours = {"format": FORMAT, "fingerprint": self.fingerprint}
        if not header.exists():
            write_durably(header, [json.dumps(ours).encode()])
            return
        try:
            found = json.loads(header.read_bytes())
        except ValueError:
            found = None
        if found != ours:
            theirs = found.get("fingerprint") if isinstance(found, dict) else "unreadable"
            raise ConfigError(
                f"the journal is of another replay (fingerprint {theirs!r}, not "
                f"{self.fingerprint!r}): its log, plan, stacks or sample were others.",
                where=str(header),
                fix="resume with what the run was started with, or choose another run directory",
            )

    def _path(self, shard: HasId) -> Path:
        return self.folder / f"{hashlib.sha256(shard.id.encode()).hexdigest()[:40]}.shard"

    def _digest(self, shard: HasId, payload: bytes) -> bytes:
        parts = (FORMAT.encode(), self.fingerprint.encode(), shard.id.encode(), payload)
        # Lengths first: no two different sequences of parts give the same bytes.
        sizes = ",".join(str(len(part)) for part in parts)
        digest = hashlib.sha256(sizes.encode())
        for part in parts:
            digest.update(part)
        return digest.digest()
