"""A few logged requests that a model is traced and measured with."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import pyarrow as pa

from replay.adapters.imported import imported
from replay.errors import ConfigError, LogError
from replay.logs.parquet import open_day, read_shard
from replay.logs.partition import list_days
from replay.request import RequestBatch

# Enough for several values of every feature; tracing and measuring them takes about a second.
REQUESTS = 32


def example_batch(
    example: str, *, beside: Path | None = None, requests: int = REQUESTS
) -> RequestBatch:
    """The example that an option names.

    Args:
        example: A log (its first day is read), one of its days as `logs/date=2026-01-05`, or
            `package.module:function`, a function that returns a `RequestBatch`.
        beside: The artifact: a relative path is sought in its folder first, then in the folder
            that the process was started in.
        requests: At most so many, the first ones.

    Raises:
        ConfigError: It names neither, or holds fewer than two requests.
        LogError: The log can not be read.
    """
    path = Path(example)
    if beside is not None and (beside.parent / path).exists():
        path = beside.parent / path
    if ":" in example and not path.exists():
        batch = imported(example, option="example")()
        if not isinstance(batch, RequestBatch):
            raise ConfigError(
                f"{example!r} returned a {type(batch).__name__}.",
                where="the option 'example' of a stack",
                fix="return a replay.RequestBatch",
            )
    else:
        batch = _first_requests(path)
    batch = batch.slice(0, requests)
    if batch.num_requests < 2 or batch.num_candidates < 2:
        raise ConfigError(
            f"the example holds {batch.num_requests} requests with {batch.num_candidates} "
            "candidates; a model can not be traced with fewer than two.",
            where=f"the option 'example' of a stack, {example!r}",
            fix="name a day with more requests",
        )
    return batch


def digest_of_batch(batch: RequestBatch) -> str:
    """The digest of a batch's values."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.records.schema) as writer:
        writer.write_batch(batch.records)
    return f"sha256:{hashlib.sha256(sink.getvalue().to_pybytes()).hexdigest()}"


def _first_requests(path: Path) -> RequestBatch:
    name = path.name.removeprefix("date=")
    root, days = (path.parent, [_day(name, path)]) if name != path.name else (path, list_days(path))
    if not days:
        raise LogError(
            "there is no logged day to take an example from.",
            where=str(path),
            fix="name a log, or one of its days as logs/date=YYYY-MM-DD, in the option 'example'",
        )
    for shard in open_day(root, days[0]).shards:
        batch = read_shard(shard).batch
        if batch.num_requests:
            return batch
    raise LogError(
        "the day has no valid request to take as an example.",
        where=str(path),
        fix="name another day in the option 'example'",
    )


def _day(text: str, path: Path) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise LogError(
            f"{text!r} is no date.", where=str(path), fix="name a day as logs/date=YYYY-MM-DD"
        ) from error
