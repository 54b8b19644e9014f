"""Memory of a replay against the length of the log: a real day's requests once, twice, four times.

    .venv/bin/python benchmarks/replay_day/memory.py      # after `make demo`; writes results/

Each day holds the requests of --date again under new ids. Memory is the proportional set size, sampled
ten times a second: of all processes together at their largest, and of each at its own. A challenger
that is another model (`--challengers modern`) is judged by metrics over outcomes, and the replay then
keeps some forty bytes for each request and each labelled candidate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
sys.path[:0] = [str(ROOT), str(HERE)]

from processes import Memory  # noqa: E402  # after the paths

from replay.logs.parquet import write_day  # noqa: E402

TIMES = (1, 2, 4)


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default="2019-11-30")
    parser.add_argument("--times", type=int, nargs="*", default=TIMES)
    parser.add_argument("--challengers", nargs="*", default=["cpp"])
    options = parser.parse_args()
    day = date.fromisoformat(options.date)
    found: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    for challenger in options.challengers:
        for times in options.times:
            with tempfile.TemporaryDirectory() as folder:
                write_repeated(ROOT / "logs", Path(folder), day, times)
                figures = replayed(Path(folder), day, challenger)
            found.setdefault(challenger, {})[f"{times}x"] = figures
            print(challenger, f"{times}x", figures, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "memory.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def write_repeated(source: Path, target: Path, day: date, times: int) -> None:
    """The day's requests so many times, every time under other request ids."""
    parts = sorted((source / f"date={day.isoformat()}").glob("*.parquet"))
    schema = pq.read_schema(parts[0])

    def tables() -> Iterator[pa.Table]:
        for again in range(times):
            for part in parts:
                table = pq.read_table(part, schema=schema)
                ids = pc.binary_join_element_wise(table["request_id"], str(again), "-")
                place = table.schema.get_field_index("request_id")
                yield table.set_column(place, schema.field("request_id"), ids)

    write_day(target, day, tables(), schema=schema)


def replayed(logs: Path, day: date, challenger: str) -> dict[str, Any]:
    """One `parity replay`, and what its processes held."""
    command = [
        sys.executable, "-m", "parity", "replay", "--date", day.isoformat(), "--reference", "legacy",
        "--challenger", challenger, "--logs", str(logs), "--out", str(logs / "runs"), "--no-cache",
        "--workers", "1", "--format", "json",
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as replay:
        memory = Memory(replay.pid)
        output, _ = replay.communicate()
        memory.stop()
    verdict = json.loads(output)
    return {
        "requests": verdict["requests"]["compared"],
        "candidates": verdict["candidates"],
        "verdict": verdict["verdict"],
        "together_mib": memory.together_kib // 1024,
        "owner_mib": memory.each_kib.pop(replay.pid, 0) // 1024,
        "stacks_mib": sorted(kib // 1024 for kib in memory.each_kib.values()),
    }


if __name__ == "__main__":
    main()
