"""Predictions of a legacy artifact for the labelled candidates of days: through its stack's own door."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path

from replay.threads import fix_threads

fix_threads()  # before anything below loads numpy

import pyarrow as pa  # noqa: E402  # as above
import pyarrow.parquet as pq  # noqa: E402  # as above

from legacy.stack import open_stack  # noqa: E402  # as above
from legacy.training_rows import labelled  # noqa: E402  # as above
from replay.logs.parquet import list_days, open_day, read_shard  # noqa: E402  # as above


def main(artifact: str, logs: str, days: str, out: str) -> None:
    """Write `request_id`, `ad_id`, `label_click` and `p_click`, a row a labelled candidate."""
    first, _, last = days.partition(":")
    stack = open_stack(Path(artifact))
    tables = []
    for day in list_days(Path(logs)):
        if not date.fromisoformat(first) <= day <= date.fromisoformat(last or first):
            continue
        for shard in open_day(Path(logs), day).shards:
            batch = labelled(read_shard(shard).batch)
            ids = batch.keys.request_ids.take(pa.array(batch.keys.request_of("candidate")))
            tables.append(
                pa.table(
                    {
                        "request_id": ids,
                        "ad_id": batch.keys.ad_ids,
                        "label_click": batch.column("candidate.click").cast(pa.float32()),
                        "p_click": stack.score(batch, capture=("pctr",))["pctr"],
                    }
                )
            )
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
