"""A few logged requests for a command that measures on them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from replay.errors import ConfigError

if TYPE_CHECKING:  # they bring in numpy and pyarrow, which --help does not need
    from parity.config import Config
    from replay.request import RequestBatch


def few_requests(config: Config, date_: str | None, logs: Path | None, count: int) -> RequestBatch:
    """The first requests of a day, by default of the last one.

    Raises:
        ConfigError: There is no such day, or no valid request in it.
        LogError: The day can not be read.
    """
    from parity.options import date_from_text
    from replay.logs.parquet import open_day, read_shard
    from replay.request import concat_batches

    root = config.logs if logs is None else logs
    day = open_day(root, _last_day(root) if date_ is None else date_from_text(date_))
    found: list[RequestBatch] = []
    for shard in day.shards:
        batch = read_shard(shard).batch
        found.append(batch.slice(0, count - sum(one.num_requests for one in found)))
        if sum(one.num_requests for one in found) >= count:
            break
    if not sum(one.num_requests for one in found):
        raise ConfigError(
            f"the day {day.day} holds no valid request.",
            where=str(root),
            fix="name another day with --date",
        )
    return concat_batches(found)


def _last_day(root: Path) -> date:
    from replay.logs.partition import list_days

    days = list_days(root)
    if not days:
        raise ConfigError(
            "there is no logged day.",
            where=str(root),
            fix="import one: parity logs import",
        )
    return days[-1]
