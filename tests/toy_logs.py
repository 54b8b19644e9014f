"""A logged day of the toys' requests."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pyarrow as pa

from replay.logs.writing import write_day
from tests.toys import SCHEMA, toy_batch


def write_toy_log(folder: Path) -> None:
    """One day, its histories with the action that a log has to hold."""
    records = toy_batch(40).records.to_pylist()
    for record in records:
        record["history"] = [step | {"action": "view"} for step in record["history"]]
    step = pa.struct([*SCHEMA.field("history").type.value_type, pa.field("action", pa.string())])
    place = SCHEMA.get_field_index("history")
    table = pa.Table.from_pylist(records, SCHEMA.set(place, pa.field("history", pa.list_(step))))
    write_day(folder, date(2019, 11, 30), [table], schema=table.schema)
