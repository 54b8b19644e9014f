"""A server at three times its capacity for two minutes: who is answered, when, and in how much memory."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.server_load.load import LOST, Target, offer_load, summary_of
from modern.serve.question import json_from_record
from replay.adapters.example import example_batch

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
# Found out first, for so long, at rates that double until the server sheds.
PROBE_S = 6.0


def main() -> int:
    options = _options()
    bodies = _bodies(options.log)
    figures: dict[str, Any] = {"machine": platform.processor() or platform.machine()}
    figures |= {"cores": os.cpu_count(), "deadline_ms": options.deadline_ms}
    with _serving(options) as (process, target):
        capacity = asyncio.run(_capacity(target, bodies, options.deadline_ms))
        memory = [_memory_mib(process)]
        rate = options.factor * capacity
        parts = []
        for part in range(options.parts):
            outcomes = asyncio.run(
                offer_load(target, bodies, rate=rate, seconds=options.seconds / options.parts)
            )
            parts.append(summary_of(outcomes, deadline_ms=options.deadline_ms))
            memory.append(_memory_mib(process))
            print(f"part {part}: {parts[-1]}, {memory[-1]:.0f} MiB", flush=True)
        after = asyncio.run(offer_load(target, bodies, rate=0.5 * capacity, seconds=5))
        figures |= {
            "load_average": os.getloadavg()[0],
            "capacity_a_second": capacity,
            "offered_a_second": rate,
            "seconds": options.seconds,
            "parts": [asdict(part) for part in parts],
            "memory_mib": memory,
            "at_half_capacity_afterwards": asdict(
                summary_of(after, deadline_ms=options.deadline_ms)
            ),
        }
    figures["held"] = {
        "every_request_answered": all(LOST not in part.by_status for part in parts),
        "p99_within_deadline": all(part.p99_ms <= options.deadline_ms for part in parts),
        "memory_flat": max(memory[2:]) - memory[1] < 32,
    }
    RESULTS.mkdir(exist_ok=True)
    out = RESULTS / "server_load.json"
    out.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures["held"]), f"-> {out.relative_to(ROOT)}")
    return 0 if all(figures["held"].values()) else 1


async def _capacity(target: Target, bodies: list[bytes], deadline_ms: float) -> float:
    """Requests a second that are answered when more than enough are sent."""
    rate = 20.0
    while True:
        outcomes = await offer_load(target, bodies, rate=rate, seconds=PROBE_S)
        found = summary_of(outcomes, deadline_ms=deadline_ms)
        answered = found.by_status.get(200, 0)
        print(f"at {rate:g} a second: {found}", flush=True)
        if answered < 0.8 * found.sent:
            return answered / PROBE_S
        rate *= 2


@contextmanager
def _serving(options: argparse.Namespace) -> Iterator[tuple[subprocess.Popen[str], Target]]:
    command = [
        *(sys.executable, "-m", "modern", "serve", "--artifact", str(options.artifact)),
        *("--stack", options.stack, "--like", str(options.log), "--port", "0"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "http://127.0.0.1:" not in line:
            sys.exit(f"the server did not start (exit code {process.wait()}); it says why above.")
        port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
        try:
            path = "/v2/models/ranker/infer"
            yield process, Target("127.0.0.1", port, path, options.deadline_ms)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _bodies(log: Path) -> list[bytes]:
    records = example_batch(str(log), requests=64).records.to_pylist()
    return [
        json.dumps(
            {
                "inputs": [
                    {
                        "name": "request_json",
                        "datatype": "BYTES",
                        "shape": [1],
                        "data": [json_from_record(record).decode()],
                    }
                ]
            }
        ).encode()
        for record in records
    ]


def _memory_mib(process: subprocess.Popen[str]) -> float:
    time.sleep(0.5)  # the last answers' buffers go first
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, default=ROOT / "build/rung7/modern")
    parser.add_argument("--stack", default="modern.engine.stack:open_stack")
    parser.add_argument("--log", type=Path, default=ROOT / "build/rung7/logs/date=2026-01-11")
    parser.add_argument("--deadline-ms", type=float, default=250.0)
    parser.add_argument("--factor", type=float, default=3.0, help="of the capacity found (3)")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--parts", type=int, default=6, help="figures for each (6)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
