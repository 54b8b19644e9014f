"""Files that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TEMPORARY = ".unfinished-"
# A file is written in seconds; what is older was left behind by a process that was killed.
ABANDONED_AFTER_S = 3600.0


def write_durably(path: Path, parts: Iterable[bytes | memoryview], *, durable: bool = True) -> None:
    """Write a file under a temporary name beside it, then rename it into place.

    Args:
        path: Replaced if it is there.
        parts: Written one after another.
        durable: Flush to the disk first, so that the file outlives a power cut too.

    Raises:
        OSError: The disk refuses; nothing is left behind.
    """
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in parts:
                file.write(part)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    if durable:
        _flush_folder(path.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    before = time.time() - ABANDONED_AFTER_S
    for path in folder.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
