"""How a day lies on disk never changes what is concluded: order of rows, size of batches, order of columns."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.builders import shuffled_schema
from tests.end_to_end.workplace import DAY, Workplace

PLANTS = ("hour_shift:features.hour_tokyo", "weight_scale:regression.leaf_sum")


def test_a_day_in_another_layout_has_the_same_verdict(workplace: Workplace, tmp_path: Path) -> None:
    folder = workplace.folder
    config = (folder / "parity.yaml").read_text(encoding="utf-8")
    shuffled = tmp_path / "logs"
    _laid_out_anew(folder / "logs" / f"date={DAY}", shuffled / f"date={DAY}")
    own = folder / "shuffled.yaml"
    own.write_text(config.replace("logs: logs", f"logs: {shuffled}"), encoding="utf-8")
    planted = [part for plant in PLANTS for part in ("--plant", plant)]

    written = workplace.replay("port", *planted)
    moved = workplace.replay("port", *planted, "--config", own)

    assert (written.code, moved.code) == (1, 1)
    assert _concluded(moved.verdict) == _concluded(written.verdict)


def _laid_out_anew(day: Path, target: Path) -> None:
    """The same requests in another order, in batches of 100 to three files, with columns and fields shuffled."""
    table = pa.concat_tables(pq.read_table(part) for part in sorted(day.glob("*.parquet")))
    schema = shuffled_schema(table.schema, Random(7))
    rows = table.take(np.random.default_rng(7).permutation(len(table))).to_pylist()
    target.mkdir(parents=True)
    for part in range(3):
        pq.write_table(
            pa.Table.from_pylist(rows[part::3], schema=schema),
            target / f"part-{part:04}.parquet",
            row_group_size=100,
        )


def _concluded(verdict: dict[str, Any]) -> dict[str, Any]:
    """Every figure and word of a verdict, without which run and which files it is of.

    The day's digest is of its bytes, and examples name the request by where it lies.
    """
    found = {name: value for name, value in verdict.items() if name not in {"run", "report_digest"}}
    return found | {"log": verdict["log"]["dates"]}
