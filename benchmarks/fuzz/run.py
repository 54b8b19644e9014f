"""Runs the readers' fuzz targets for a bounded number of executions, and adds up what was run.

    make fuzz                                                  # 60 s a reader, two at once, as CI does
    python -m benchmarks.fuzz.run --seconds 120 --until 10000000 --record    # as `make long` does

With `--until` the readers take turns of so many seconds until each has as many executions on
record. The corpus in build/fuzz/corpus grows from run to run; `--record` adds each turn to
results/fuzz.json and fuzz.md, so that a run that was stopped is gone on with. Any crash, leak, hang
of 10 s, allocation of 256 MiB at once or 1 GiB in all, and any broken claim ends with exit code 1
and the input beside the corpus.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.fuzz.report import record, recorded
from benchmarks.fuzz.seeds import LARGEST_BYTES, write_seeds

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "fuzz" / "tests" / "cpp" / "fuzz"
CORPUS = ROOT / "build" / "fuzz" / "corpus"
READERS = tuple(LARGEST_BYTES)
LIMITS = ("-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256")
# Freed blocks are kept from reuse until 16 MiB (ASan's own default of 256 has each execution touch
# fresh pages); a block remembers 6 callers of its allocation.
SANITIZERS = {"ASAN_OPTIONS": "quarantine_size_mb=16:malloc_context_size=6"}


def main() -> int:
    """Run the readers' targets, in turns where a total is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--seconds", type=int, default=60, help="at most, for each reader's turn")
    parser.add_argument("--at-once", type=int, default=1, help="readers side by side")
    parser.add_argument("--until", type=int, help="recorded executions that are enough")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    if arguments.until is not None and not arguments.record:
        parser.error("--until counts what is recorded: give --record too")
    write_seeds(CORPUS)
    failed = False
    while not failed:
        wanted = _wanted(arguments.readers.split(","), arguments.until)
        if not wanted:
            break
        with ThreadPoolExecutor(arguments.at_once) as pool:
            turns = pool.map(lambda item: run(*item, seconds=arguments.seconds), wanted.items())
            for reader, found in zip(wanted, turns, strict=True):
                print(f"{reader}: {found['executions']:,} executions, {found['per_second']:,} a second "
                      f"of a processor, {found['covered']:,} edges, {found['peak_mib']} MiB, "
                      f"exit {found['exit']}", flush=True)  # fmt: skip
                failed |= found["exit"] != 0
                if arguments.record:
                    record(reader, found)
        if arguments.until is None:
            break
    return 1 if failed else 0


def _wanted(readers: list[str], until: int | None) -> dict[str, int]:
    """Executions of each reader's next turn; none for those that have enough."""
    if until is None:
        return dict.fromkeys(readers, -1)
    left = {reader: until - recorded().get(reader, {}).get("executions", 0) for reader in readers}
    return {reader: count for reader, count in left.items() if count > 0}


def run(reader: str, executions: int, *, seconds: int) -> Mapping[str, Any]:
    """One target, in a process of its own; -1 executions are as many as the time allows."""
    command = [
        str(BUILT / f"{reader}_fuzz"), str(CORPUS / reader), f"-runs={executions}",
        f"-max_total_time={seconds}", f"-artifact_prefix={CORPUS}/{reader}-",
        f"-dict={Path(__file__).parent / 'model.dict'}", "-print_final_stats=1",
        f"-max_len={LARGEST_BYTES[reader]}", *LIMITS,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **SANITIZERS}
    ) as target:
        assert target.stderr is not None
        log = target.stderr.read()
        _, status, used = os.wait4(target.pid, 0)
        target.returncode = os.waitstatus_to_exitcode(status)
    if target.returncode != 0:
        sys.stderr.write(log[-6000:])

    def last(pattern: str) -> int:
        found = re.findall(pattern, log)
        return int(found[-1]) if found else 0

    executed = last(r"stat::number_of_executed_units: (\d+)")
    processor_s = used.ru_utime + used.ru_stime
    return {
        "executions": executed,
        "processor_s": processor_s,
        "per_second": int(executed / processor_s),
        "covered": last(r"cov: (\d+)"),
        "peak_mib": last(r"stat::peak_rss_mb:\s+(\d+)"),
        "exit": target.returncode,
    }


if __name__ == "__main__":
    sys.exit(main())
