"""A logged day as shards of work: found, digested, and read with every bad row accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa

from replay.errors import LogError
from replay.logs.decoding import decode_row_group, open_parquet, probe_footers
from replay.logs.partition import PREFIX, digest_of_parts, list_days, partition_of, parts_of
from replay.logs.schema import ValidatedShard, check_schema, validate
from replay.logs.writing import digest_as_written, write_day
from replay.request import canonical_type

__all__ = ["LoggedDay", "Shard", "list_days", "open_day", "read_shard", "write_day"]


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
        return f"{PREFIX}{self.day.isoformat()}/{self.path.name}#{self.row_group}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDay:
    """A day's shards in order of file and row group, and the digest of its files.

    Attributes:
        digest: Over the names and bytes of the files.
        is_as_written: Whether they are the very files that `write_day` wrote; None where
            another program wrote the day, so that nobody can tell.
    """

    root: Path
    day: date
    shards: tuple[Shard, ...]
    digest: str
    is_as_written: bool | None = None

    @property
    def num_requests(self) -> int:
        """Rows that will be read, valid or not."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def schema(self) -> pa.Schema:
        """The fields of its files, which are the same in all of them."""
        with open_parquet(self.shards[0].path) as file:
            return file.schema_arrow


def open_day(root: Path, day: date) -> LoggedDay:
    """Find a day's shards, reading only the files' footers and digests.

    Raises:
        LogError: The log has no such day; or one of its files can not be read, is not a log's, or
            has other fields than the first.
    """
    days = list_days(root)
    if day not in days:
        known = ", ".join(d.isoformat() for d in days) or "none"
        raise LogError(
            f"the log has no day {day.isoformat()} (there are: {known}).",
            where=str(root),
            fix="name one of these days, or import the day first",
        )
    partition = partition_of(root, day)
    parts = parts_of(partition)
    digest, expected = digest_of_parts(parts), digest_as_written(partition)
    if digest != expected:
        probe_footers(parts)
    shards: list[Shard] = []
    fields: dict[str, pa.DataType] | None = None
    for part in parts:
        with open_parquet(part) as file:
            check_schema(file.schema_arrow, where=str(part))
            found = dict(_canonical_fields(file.schema_arrow, part))
            rows = [file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)]
        fields = found if fields is None else fields
        _check_same_fields(found, fields, part=part, first=parts[0])
        shards += [
            Shard(path=part, row_group=group, num_rows=num_rows, day=day)
            for group, num_rows in enumerate(rows)
        ]
    return LoggedDay(
        root=root,
        day=day,
        shards=tuple(shards),
        digest=digest,
        is_as_written=None if expected is None else digest == expected,
    )


def read_shard(shard: Shard) -> ValidatedShard:
    """Read and validate one shard: its valid requests, and every other one with a reason.

    Raises:
        LogError: The file is truncated or damaged (page checksums are verified), its columns are
            not a log's, or the row group decodes to more than MAX_ROW_GROUP_BYTES.
    """
    where = f"{shard.path}#{shard.row_group}"
    with open_parquet(shard.path) as file:
        if shard.row_group < file.num_row_groups:
            table = decode_row_group(file, shard.row_group, where=where)
        else:
            table = file.schema_arrow.empty_table()
    if table.num_rows != shard.num_rows:
        raise LogError(
            f"the row group holds {table.num_rows} rows, not the {shard.num_rows} it had.",
            where=where,
            fix="the file changed since the day was opened: replay it again",
        )
    # A rejection stands in reports, which do not depend on where the log lies.
    return validate(table, day=shard.day, where=shard.id)


def _canonical_fields(schema: pa.Schema, part: Path) -> Iterator[tuple[str, pa.DataType]]:
    """Dotted path and canonical type of every field, whatever order they were written in."""
    front = [(field.name, field.type) for field in schema]
    while front:
        path, kind = front.pop()
        while pa.types.is_list(kind) or pa.types.is_large_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            front.extend((f"{path}.{field.name}", field.type) for field in kind)
            continue
        try:
            yield path, canonical_type(kind)
        except LogError as error:
            raise LogError(error.what, where=f"{part}, field {path}", fix=error.fix) from error


def _check_same_fields(
    found: dict[str, pa.DataType], fields: dict[str, pa.DataType], *, part: Path, first: Path
) -> None:
    # A bid that only some files have is a bid that some rows lack, and stacks could not tell.
    for path in sorted(found.keys() | fields.keys()):
        if found.get(path) != fields.get(path):
            raise LogError(
                f"the field {path!r} is {found.get(path, 'absent')}; in {first.name} it is "
                f"{fields.get(path, 'absent')}.",
                where=str(part),
                fix="write all files of a day with the same fields",
            )
