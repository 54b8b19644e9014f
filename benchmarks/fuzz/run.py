"""Runs the readers' fuzz targets for a bounded number of executions, and adds up what was run.

    make fuzz                                                  # 20 s a reader, as CI does
    python -m benchmarks.fuzz.run --seconds 600 --until 10000000 --record

The corpus in build/fuzz/corpus grows from run to run; `--record` adds the executions to
results/fuzz.json, so that a run that was stopped is gone on with. Any crash, leak, hang of 10 s,
allocation of 256 MiB at once or 1 GiB in all, and any broken claim ends with exit code 1 and the
input beside the corpus.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.fuzz.seeds import write_seeds

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "fuzz" / "tests" / "cpp" / "fuzz"
CORPUS = ROOT / "build" / "fuzz" / "corpus"
RESULTS = Path(__file__).parent / "results" / "fuzz.json"
READERS = ("artifact", "json", "ubjson", "lightgbm")
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256", "-max_len=6000")


def main() -> int:
    """Run each reader's target in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--seconds", type=int, default=20, help="at most, for each reader")
    parser.add_argument(
        "--executions", type=int, default=1_000_000, help="at most, for each reader"
    )
    parser.add_argument("--until", type=int, help="recorded executions that are enough")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    write_seeds(CORPUS)
    failed = False
    for reader in arguments.readers.split(","):
        before = _recorded().get(reader, {}).get("executions", 0)
        wanted = arguments.executions
        if arguments.until is not None:
            wanted = arguments.until - before
        if wanted <= 0:
            print(f"{reader}: {before:,} executions are recorded")
            continue
        found = run(reader, executions=wanted, seconds=arguments.seconds)
        print(f"{reader}: {found['executions']:,} executions, {found['per_second']:,} a second, "
              f"{found['covered']:,} edges, {found['peak_mib']} MiB, exit {found['exit']}")  # fmt: skip
        failed |= found["exit"] != 0
        if arguments.record:
            _record(reader, found)
    return 1 if failed else 0


def run(reader: str, *, executions: int, seconds: int) -> dict[str, Any]:
    """One target, in a process of its own."""
    command = [
        str(BUILT / f"{reader}_fuzz"), str(CORPUS / reader), f"-runs={executions}",
        f"-max_total_time={seconds}", f"-artifact_prefix={CORPUS}/{reader}-",
        f"-dict={Path(__file__).parent / 'model.dict'}", "-print_final_stats=1", *LIMITS,
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    log = ended.stderr
    if ended.returncode != 0:
        sys.stderr.write(log[-6000:])

    def last(pattern: str) -> int:
        found = re.findall(pattern, log)
        return int(found[-1]) if found else 0

    return {
        "executions": last(r"stat::number_of_executed_units: (\d+)"),
        "per_second": last(r"stat::average_exec_per_sec:\s+(\d+)"),
        "covered": last(r"cov: (\d+)"),
        "peak_mib": last(r"stat::peak_rss_mb:\s+(\d+)"),
        "exit": ended.returncode,
    }


def _recorded() -> Mapping[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def _record(reader: str, found: Mapping[str, Any]) -> None:
    recorded = dict(_recorded())
    before = recorded.get(reader, {"executions": 0, "runs": 0, "failures": 0, "peak_mib": 0})
    recorded[reader] = {
        "executions": before["executions"] + found["executions"],
        "runs": before["runs"] + 1,
        "failures": before["failures"] + (found["exit"] != 0),
        "covered_edges": found["covered"],
        "peak_mib": max(before["peak_mib"], found["peak_mib"]),
    }
    recorded["machine"] = f"{platform.system()} {platform.machine()}, clang, ASan and UBSan"
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
