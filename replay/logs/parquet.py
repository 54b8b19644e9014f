"""A logged day on disk: one folder a UTC day, shards of work read and written in Parquet."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from replay.digests import digest_of_file, digest_of_json
from replay.errors import LogError

if TYPE_CHECKING:
    from replay.logs.schema import ValidatedShard

# A shard is one row group. 512 requests are small enough to isolate a bad one quickly and
# to spread a day over workers, and large enough that per-shard costs vanish.
ROW_GROUP_REQUESTS = 512
ROW_GROUPS_PER_FILE = 128
# Footers lie: 14 KB of Parquet can decode to 6.3 TB. What is counted is what was decoded.
MAX_SHARD_BYTES = 2 << 30
# Rows decoded before the bytes are counted again; measured: as fast as whole row groups.
_ROWS_PER_READ = 128
_PARTITION = "date="
_ORIGIN = "_origin.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A unit of work: one row group of one file of a day."""

    path: Path
    row_group: int
    num_rows: int
    day: date

    @property
    def id(self) -> str:
        """Its name within the log, such as "date=2019-11-30/part-00000.parquet#3"."""
        return f"{_PARTITION}{self.day.isoformat()}/{self.path.name}#{self.row_group}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDay:
    """A day's shards in order of file and row group, and the digest of its files.

    Attributes:
        digest: Over the names and bytes of the files.
    """

    root: Path
    day: date
    shards: tuple[Shard, ...]
    digest: str

    @property
    def num_requests(self) -> int:
        """Rows that will be read, valid or not."""
        return sum(shard.num_rows for shard in self.shards)


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
    return tuple(sorted(_day_of(p) for p in root.iterdir() if p.name.startswith(_PARTITION)))


def open_day(root: Path, day: date) -> LoggedDay:
    """Find a day's shards, reading only the files' footers and digests.

    Raises:
        LogError: The log has no such day, or one of its files can not be read.
    """
    days = list_days(root)
    if day not in days:
        known = ", ".join(d.isoformat() for d in days) or "none"
        raise LogError(
            f"the log has no day {day.isoformat()} (there are: {known}).",
            where=str(root),
            fix="name one of these days, or import the day first",
        )
    parts = _parts(partition_of(root, day))
    shards = [shard for part in parts for shard in _shards_of(part, day)]
    return LoggedDay(root=root, day=day, shards=tuple(shards), digest=_digest(parts))


def read_shard(shard: Shard) -> ValidatedShard:
    """Read and validate one shard: its valid requests, and every other one with a reason.

    Raises:
        LogError: The file is truncated or damaged (page checksums are verified), its columns are
            not a log's, or it decodes to more than MAX_SHARD_BYTES.
    """
    from replay.logs.schema import validate

    where = f"{shard.path}#{shard.row_group}"
    with _reading(shard.path), _open(shard.path) as file:
        _check_promised_size(file, shard.row_group, where)
        batches: list[pa.RecordBatch] = []
        decoded = 0
        for batch in file.iter_batches(
            batch_size=_ROWS_PER_READ, row_groups=[shard.row_group], use_threads=False
        ):
            decoded += batch.nbytes
            _check_size(decoded, where)
            batches.append(batch)
        table = pa.Table.from_batches(batches, schema=file.schema_arrow)
    if table.num_rows != shard.num_rows:
        raise LogError(
            f"the row group holds {table.num_rows} rows; its footer promised {shard.num_rows}.",
            where=where,
            fix="the file changed or is damaged: write or import the day again",
        )
    return validate(table, day=shard.day, where=where)


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
            back while the files are those written here.

    Returns:
        The partition's folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    target = partition_of(root, day)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=root))
    try:
        fresh = scratch / "new"
        fresh.mkdir()
        _write_parts(fresh, tables, schema)
        if origin is not None:
            record = {"origin": dict(origin), "digest": _digest(_parts(fresh))}
            (fresh / _ORIGIN).write_text(json.dumps(record, sort_keys=True) + "\n")
        if target.exists():
            target.rename(scratch / "old")
        fresh.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def origin_of(root: Path, day: date) -> Mapping[str, Any] | None:
    """What a day was made from, or None: it is absent, unknown, or no longer the files written."""
    partition = partition_of(root, day)
    try:
        record = json.loads((partition / _ORIGIN).read_text())
        untouched = record["digest"] == _digest(_parts(partition))
        return dict(record["origin"]) if untouched else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def partition_of(root: Path, day: date) -> Path:
    """The folder of a day, whether it exists or not."""
    return root / f"{_PARTITION}{day.isoformat()}"


def read_leaves(path: Path, *leaves: str) -> pa.Table:
    """Some columns of a file, by dotted path without list levels: `candidates.click`.

    A path the file does not have is left out of the result.

    Raises:
        LogError: The file is damaged.
    """
    with _reading(path), _open(path) as file:
        schema = file.schema
        paths = [schema.column(i).path for i in range(len(schema))]
        wanted = [p for p in paths if _without_list_levels(p) in leaves]
        return file.read(columns=wanted, use_threads=False)


def _day_of(partition: Path) -> date:
    text = partition.name.removeprefix(_PARTITION)
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


def _parts(partition: Path) -> list[Path]:
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


def _digest(parts: Iterable[Path]) -> str:
    return digest_of_json({part.name: digest_of_file(part) for part in parts})


def _shards_of(part: Path, day: date) -> Iterator[Shard]:
    with _reading(part), _open(part) as file:
        for group in range(file.metadata.num_row_groups):
            num_rows = file.metadata.row_group(group).num_rows
            yield Shard(path=part, row_group=group, num_rows=num_rows, day=day)


def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path, page_checksum_verification=True)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn every way in which a damaged file fails into one error that names it."""
    try:
        yield
    except LogError:
        raise
    except FileNotFoundError as error:
        raise LogError(
            "the file is gone.", where=str(path), fix="write or import the day again"
        ) from error
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        # A MemoryError too: a flipped length asks for more memory than there is.
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise LogError(
            f"the file is not readable Parquet: {first_line.rstrip('.')}.",
            where=str(path),
            fix="it is truncated or damaged: write or import the day again",
        ) from error


def _check_promised_size(file: pq.ParquetFile, row_group: int, where: str) -> None:
    group = file.metadata.row_group(row_group)
    columns = [group.column(i) for i in range(group.num_columns)]
    # A value takes at most 8 bytes, or an offset of 4 beside its text; nulls take room too.
    _check_size(sum(max(8 * c.num_values, c.total_uncompressed_size) for c in columns), where)


def _check_size(num_bytes: int, where: str) -> None:
    if num_bytes > MAX_SHARD_BYTES:
        raise LogError(
            f"the row group decodes to more than {MAX_SHARD_BYTES:,} bytes.",
            where=where,
            fix=f"write smaller row groups ({ROW_GROUP_REQUESTS} requests is usual)",
        )


def _write_parts(folder: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    groups = _row_groups(tables, schema)
    group = next(groups, schema.empty_table())
    number = 0
    while group is not None:
        with pq.ParquetWriter(
            folder / f"part-{number:05d}.parquet",
            schema,
            compression="zstd",
            write_page_checksum=True,
        ) as writer:
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


def _without_list_levels(path: str) -> str:
    # Writers name a list's two inner levels differently: list.element, list.item, bag.array.
    parts = path.split(".")
    return ".".join([parts[0], *parts[3:]]) if len(parts) > 3 else path
