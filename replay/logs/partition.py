"""Where a log's days lie: one folder a UTC day, `date=2019-11-24/part-*.parquet`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from replay.digests import digest_of_file, digest_of_json
from replay.errors import LogError

PREFIX = "date="


def list_days(root: Path) -> tuple[date, ...]:
    """The days a log has, in order; folders that are not `date=*` are none of ours.

    Raises:
        LogError: There is no such folder, or a partition's name is not a date.
    """
    if not root.is_dir():
        raise LogError(
            f"there is no folder {str(root)!r}.",
            where=str(root),
            fix="name the folder that holds date=YYYY-MM-DD, or import a log first: "
            "parity logs import obd --out DIR",
        )
    return tuple(sorted(_day_of(p) for p in root.iterdir() if p.name.startswith(PREFIX)))


def partition_of(root: Path, day: date) -> Path:
    """The folder of a day, whether it exists or not."""
    return root / f"{PREFIX}{day.isoformat()}"


def parts_of(partition: Path) -> list[Path]:
    """The files of a day in order. Names that start with `_` or `.` are notes, not data.

    Raises:
        LogError: There are none, or there is data that would be passed over.
    """
    parts: list[Path] = []
    for entry in sorted(partition.iterdir()):
        if entry.name.startswith(("_", ".")):
            continue
        if entry.is_file() and entry.match("part-*.parquet"):
            parts.append(entry)
        elif entry.is_dir() or entry.suffix == ".parquet":
            # Passing over it would drop its requests in silence.
            raise LogError(
                f"{entry.name!r} is not a file named part-*.parquet.",
                where=str(partition),
                fix="rename it to part-*.parquet, or move it out of the partition",
            )
    if not parts:
        raise LogError(
            "the partition holds no part-*.parquet.",
            where=str(partition),
            fix="write or import the day again, or remove the empty folder",
        )
    return parts


def digest_of_parts(parts: Iterable[Path]) -> str:
    """The digest of a day: its files' names and bytes.

    Raises:
        LogError: A file can not be read.
    """
    try:
        return digest_of_json({part.name: digest_of_file(part) for part in parts})
    except OSError as error:
        raise LogError(
            f"the file can not be read: {error.strerror}.",
            where=str(error.filename),
            fix="check that it is there and that you may read it",
        ) from error


def _day_of(partition: Path) -> date:
    text = partition.name.removeprefix(PREFIX)
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # Python reads "20191124" and "2019-W47-7" too; only the round trip proves YYYY-MM-DD.
    if day is None or day.isoformat() != text or not partition.is_dir():
        raise LogError(
            f"the partition {partition.name!r} is not a folder named date=YYYY-MM-DD.",
            where=str(partition.parent),
            fix="rename or remove it",
        )
    return day
