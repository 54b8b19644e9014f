"""A day's replay, legacy against the C++ scorer: wall time, processor time, memory, and where it goes.

    make bench                                   # after `make demo`; writes results/
    .venv/bin/python benchmarks/replay_day/run.py --date 2019-11-30 --rounds 3

Whole replays run without the trace cache. Memory is the proportional set size of the process and all
its children, sampled ten times a second. The profile runs the same steps in one process, shard by shard.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from processes import Memory

from replay.threads import fix_threads

fix_threads()  # before anything below loads numpy

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Time whole replays, then their parts, and write both down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default="2019-11-30")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--challenger", default="cpp")
    arguments = parser.parse_args()
    rounds = [whole_replay(arguments.date, arguments.challenger) for _ in range(arguments.rounds)]
    figures = {
        "machine": machine(),
        "date": arguments.date,
        "challenger": arguments.challenger,
        "rounds": rounds,
        "profile_cpu_s": profile(arguments.date, arguments.challenger),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "replay_day.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = as_text(figures)
    (RESULTS / "replay_day.md").write_text(text, encoding="utf-8")
    print(text)


def whole_replay(day: str, challenger: str) -> dict[str, Any]:
    """One `parity replay` of the day, from start to exit."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable, "-m", "parity", "replay", "--date", day, "--reference", "legacy",
            "--challenger", challenger, "--no-cache", "--out", out, "--format", "json",
        ]  # fmt: skip
        started = time.monotonic()
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as replay:
            memory = Memory(replay.pid)
            output, _ = replay.communicate()
            memory.stop()
        wall = time.monotonic() - started
    verdict = json.loads(output)
    details = verdict["run"]["details"]
    return {
        "wall_s": round(wall, 1),
        "peak_mib": memory.together_kib // 1024,
        "reference_cpu_s": details["reference"]["cpu_s"],
        "challenger_cpu_s": details["challenger"]["cpu_s"],
        "verdict": verdict["verdict"],
        "candidates": verdict["candidates"],
        "requests": verdict["requests"]["compared"],
    }


def profile(day: str, challenger: str) -> dict[str, float]:
    """Processor seconds of each step over the whole day, in one process."""
    from parity.compare.alignment import align
    from parity.compare.screen import capture_challenger, capture_reference, screen
    from parity.config import load_config
    from replay.logs.parquet import open_day, read_shard
    from replay.registry import open_stack

    spent: dict[str, float] = defaultdict(float)

    def timed(step: str, work: Callable[[], Any]) -> Any:
        started = time.process_time()
        result = work()
        spent[step] += time.process_time() - started
        return result

    config = load_config(ROOT / "parity.yaml")
    reference = timed(
        "open the reference (imports TensorFlow, XGBoost)",
        lambda: open_stack(config.spec("legacy")),
    )
    other = timed("open the challenger", lambda: open_stack(config.spec(challenger)))
    plan = config.plan("legacy", challenger)
    alignment = align(reference.checkpoints, other.checkpoints, plan)
    features = [n for n, c in reference.checkpoints.items() if c.stage in {"feature", "encoding"}]
    for shard in open_day(config.logs, date.fromisoformat(day)).shards:
        rows = timed("read and validate the log", lambda s=shard: read_shard(s))
        partial = timed(
            "reference: features, row by row",
            lambda b=rows.batch: reference.score(b, capture=features),
        )
        given = dict(partial.values)
        ours = timed(
            "reference: trees, regression, ranks",
            lambda b=rows.batch, g=given: reference.score(
                b, capture=capture_reference(alignment), given=g
            ),
        )
        theirs = timed(
            "challenger: everything",
            lambda b=rows.batch: other.score(b, capture=capture_challenger(alignment)),
        )
        timed(
            "screen: compare and count",
            lambda s=shard, b=rows.batch, r=ours, c=theirs, n=rows.read: screen(
                shard=s.id,
                valid=b,
                batch=b,
                reference=r,
                challenger=c,
                alignment=alignment,
                plan=plan,
                read=n,
            ).to_bytes(),
        )
    return {step: round(seconds, 2) for step, seconds in spent.items()}


def machine() -> str:
    """Processor, cores and Python, as results are labelled."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "unknown"
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"


def as_text(figures: dict[str, Any]) -> str:
    """The figures as a page."""
    first = figures["rounds"][0]
    lines = [
        f"# A day's replay: legacy against {figures['challenger']}, {figures['date']}",
        "",
        (
            f"{first['requests']:,} requests, {first['candidates']:,} candidates, verdict {first['verdict']}; "
            f"{figures['machine']}; one lane, nothing cached."
        ),
        "",
        "| round | wall s | peak MiB, all processes | reference CPU s | challenger CPU s |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {i} | {r['wall_s']} | {r['peak_mib']} | {r['reference_cpu_s']} | {r['challenger_cpu_s']} |"
            for i, r in enumerate(figures["rounds"], 1)
        ),
        "",
        (
            "Where the processor time goes, in one process over the whole day (the reference's second step "
            "is given its features and computes them again, which is subtracted):"
        ),
        "",
        "| step | CPU s |",
        "| --- | --- |",
    ]
    spent = dict(figures["profile_cpu_s"])
    rest = "reference: trees, regression, ranks"
    spent[rest] = round(max(0.0, spent[rest] - spent["reference: features, row by row"]), 2)
    lines += [f"| {step} | {seconds} |" for step, seconds in spent.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
