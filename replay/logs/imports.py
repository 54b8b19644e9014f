"""What importers share: a day is written once, and counted the same way wherever it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from replay.logs.parquet import open_day, origin_of, read_leaves, write_day


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCounts:
    """What a day holds; `clicks` is None where the log has no such field."""

    day: date
    requests: int
    candidates: int
    clicks: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDay:
    """A day after an import: what it holds, and whether it had to be written."""

    counts: DayCounts
    written: bool


def import_days(
    out: Path,
    days: Iterable[date],
    tables_of: Callable[[date], Iterable[pa.Table]],
    *,
    schema: pa.Schema,
    origin: Mapping[str, Any],
) -> Iterator[ImportedDay]:
    """Write the days that do not stand yet as this origin makes them; count them all."""
    for day in days:
        stands = origin_of(out, day) == origin
        if not stands:
            write_day(out, day, tables_of(day), schema=schema, origin=origin)
        yield ImportedDay(counts=count_day(out, day), written=not stands)


def count_day(root: Path, day: date) -> DayCounts:
    """Count a day's requests, candidates and clicks from the two columns that tell.

    Raises:
        LogError: There is no such day, or a file can not be read.
    """
    logged = open_day(root, day)
    candidates, clicks = 0, 0
    has_clicks = False
    for path in sorted({shard.path for shard in logged.shards}):
        column = read_leaves(path, "candidates.ad_id", "candidates.click")["candidates"]
        values = pc.list_flatten(column)
        candidates += len(values)
        if values.type.get_field_index("click") >= 0:
            has_clicks = True
            clicks += pc.sum(pc.struct_field(values, "click")).as_py() or 0
    return DayCounts(
        day=day,
        requests=logged.num_requests,
        candidates=candidates,
        clicks=clicks if has_clicks else None,
    )
