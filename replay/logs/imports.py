"""What importers share: a day is written once, and counted the same way wherever it came from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from replay.logs.decoding import read_leaves
from replay.logs.parquet import open_day
from replay.logs.writing import origin_of, write_day


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a day holds, or several; `clicks` is None where the log has no such field."""

    requests: int
    candidates: int
    clicks: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedDay:
    """A day after an import: what it holds, and whether it had to be written."""

    day: date
    counts: Counts
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
        yield ImportedDay(day=day, counts=count_day(out, day), written=not stands)


def count_day(root: Path, day: date) -> Counts:
    """Count a day's requests, candidates and clicks from the two columns that tell.

    Raises:
        LogError: There is no such day, or a file can not be read.
    """
    logged = open_day(root, day)
    return total(
        [
            Counts(requests=logged.num_requests, candidates=0, clicks=None),
            *(_count_candidates(path) for path in sorted({s.path for s in logged.shards})),
        ]
    )


def total(counts: Sequence[Counts]) -> Counts:
    """The sum; clicks are those of the parts that have any to count."""
    clicks = [c.clicks for c in counts if c.clicks is not None]
    return Counts(
        requests=sum(c.requests for c in counts),
        candidates=sum(c.candidates for c in counts),
        clicks=sum(clicks) if clicks else None,
    )


def _count_candidates(path: Path) -> Counts:
    table = read_leaves(path, "candidates.ad_id", "candidates.click")
    values = pc.list_flatten(table["candidates"])
    has_clicks = values.type.get_field_index("click") >= 0
    clicks = pc.sum(pc.struct_field(values, "click")).as_py() or 0 if has_clicks else None
    return Counts(requests=0, candidates=len(values), clicks=clicks)
