"""A day written in one step, the same bytes for the same requests."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from replay.errors import LogError
from replay.logs.partition import digest_of_parts, partition_of, parts_of

# A shard is one row group. 512 requests are small enough to isolate a bad one quickly and
# to spread a day over workers, and large enough that per-shard costs vanish.
ROW_GROUP_REQUESTS = 512
ROW_GROUPS_PER_FILE = 128
_NOTE = "_written.json"


def write_day(
    root: Path,
    day: date,
    tables: Iterable[pa.Table],
    *,
    schema: pa.Schema,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Write a day in one step: it stands whole, or as it stood before.

    The same tables give the same bytes (under one pyarrow version). Row groups hold 512 requests,
    however the tables are cut; pages carry checksums.

    Args:
        root: The log's folder, made where it is missing.
        day: The partition.
        tables: Its requests in order, in tables of any length.
        schema: Of each table and of the files.
        origin: Plain JSON values that say what the day was made from; `origin_of` gives them
            back while the files are as written here.

    Returns:
        The partition's folder.

    Raises:
        LogError: The folder can not be written; the day stands as before.
    """
    target = partition_of(root, day)
    try:
        root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=root))
        try:
            fresh = scratch / "new"
            fresh.mkdir()
            _write_parts(fresh, tables, schema)
            _write_note(fresh, origin)
            _put_in_place(fresh, target, aside=scratch / "old")
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise LogError(
            f"the day {day.isoformat()} can not be written: {error}.",
            where=str(root),
            fix="check that the folder is yours to write and that the disk has room",
        ) from error
    return target


def origin_of(root: Path, day: date) -> Mapping[str, Any] | None:
    """What a day was made from; None where that is unknown or its files changed since."""
    partition = partition_of(root, day)
    note = _read_note(partition)
    if note is None:
        return None
    try:
        is_as_written = note["digest"] == digest_of_parts(parts_of(partition))
        return dict(note["origin"]) if is_as_written else None
    except (LogError, TypeError):
        return None


def digest_as_written(partition: Path) -> str | None:
    """The digest of a day's files when they were written here; None when they were not."""
    note = _read_note(partition)
    return None if note is None else str(note["digest"])


def _read_note(partition: Path) -> dict[str, Any] | None:
    try:
        note = json.loads((partition / _NOTE).read_text(encoding="utf-8"))
        return {"digest": note["digest"], "origin": note["origin"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _put_in_place(fresh: Path, target: Path, *, aside: Path) -> None:
    stood = target.exists()
    if stood:
        target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        if stood:
            aside.rename(target)
        raise


def _write_note(folder: Path, origin: Mapping[str, Any] | None) -> None:
    note = {"digest": digest_of_parts(parts_of(folder)), "origin": origin}
    (folder / _NOTE).write_text(json.dumps(note, sort_keys=True) + "\n", encoding="utf-8")


def _write_parts(folder: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    groups = _row_groups(tables, schema)
    group: pa.Table | None = next(groups, schema.empty_table())
    number = 0
    while group is not None:
        path = folder / f"part-{number:05d}.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for _ in range(ROW_GROUPS_PER_FILE):
                writer.write_table(group, row_group_size=ROW_GROUP_REQUESTS)
                group = next(groups, None)
                if group is None:
                    break
        number += 1


def _row_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut tables of any length into row groups of ROW_GROUP_REQUESTS, the last one shorter."""
    waiting = schema.empty_table()
    for table in tables:
        waiting = pa.concat_tables([waiting, table])
        whole = waiting.num_rows - waiting.num_rows % ROW_GROUP_REQUESTS
        for start in range(0, whole, ROW_GROUP_REQUESTS):
            yield waiting.slice(start, ROW_GROUP_REQUESTS)
        waiting = waiting.slice(whole)
    if waiting.num_rows:
        yield waiting
