"""Our scorer against its peers: nanoseconds a row, through Python.

    make bench-scorer                                    # the peers into build/, then all of it
    python benchmarks/scorer/run.py --shapes a --rows 1,500 --rounds 9 --threads 1

The engines take turns within each round, so that a slow spell of the machine meets them all, and a
ratio is the median of the rounds' ratios. Calls of fewer rows than there are take the next ones
each time: a processor learns the way of a row that comes again, and a server's rows do not.
One thread is measured by the process's processor time, several by the clock on the wall. The first
engine is ours with the instruction set that this processor chooses.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import Absent, Engine, engines
from report import as_plot, as_text
from shapes import SHAPES, Shape, rows_of

RESULTS = Path(__file__).parent / "results"

# A measurement repeats its call until it took this long.
_SPELL_S = 0.03
# Float32 sums of 1,000 trees; ours and the float64 regressions are within 1e-6.
_AGREE = 2e-5
_ROWS = 10_000


def main() -> None:
    """Train what is missing, time, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="a,b")
    parser.add_argument("--rows", default="1,32,500,10000")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--add", action="store_true", help="to the figures that stand there")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    threads = arguments.threads.split(",")
    if len(threads) > 1:
        _each_alone(threads)
        return
    counts = [int(count) for count in arguments.rows.split(",")]
    figures: dict[str, Any] = {"machine": machine(), "rounds": arguments.rounds, "shapes": {}}
    if arguments.add:
        figures = json.loads((arguments.out / "scorer.json").read_text(encoding="utf-8"))
    for shape in SHAPES:
        if shape.name in arguments.shapes.split(","):
            of_shape = figures["shapes"].setdefault(shape.name, {})
            of_shape[threads[0]] = measured(shape, counts, arguments.rounds, int(threads[0]))
            write(figures, arguments.out)
    print(as_text(figures))


def _each_alone(threads: list[str]) -> None:
    """One process for each number of threads: TensorFlow and OpenMP take theirs once for good."""
    at = sys.argv.index("--threads") if "--threads" in sys.argv else None
    others = sys.argv[1:] if at is None else [*sys.argv[1:at], *sys.argv[at + 2 :]]
    for place, count in enumerate(threads):
        command = [sys.executable, sys.argv[0], *others, "--threads", count]
        subprocess.run([*command, *(["--add"] if place else [])], check=True)


def write(figures: dict[str, Any], folder: Path) -> None:
    """What is measured so far."""
    folder.mkdir(exist_ok=True)
    (folder / "scorer.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (folder / "scorer.md").write_text(as_text(figures), encoding="utf-8")
    (folder / "scorer.svg").write_text(as_plot(figures), encoding="utf-8")


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0],
        "threads": len(names),
        "python": platform.python_version(),
        "load before": os.getloadavg()[0],
    }


def measured(shape: Shape, counts: list[int], rounds: int, threads: int) -> dict[str, Any]:
    """Nanoseconds a row by number of rows and engine, and what was not measured."""
    found = list(engines(shape, threads=threads))
    present = [each for each in found if isinstance(each, Engine)]
    pool = rows_of(shape, _ROWS, seed=9)
    figures: dict[str, Any] = {
        "kinds": {engine.name: engine.kind for engine in present},
        "versions": {engine.name: engine.version for engine in present},
        "absent": {each.name: each.why for each in found if isinstance(each, Absent)},
        "differs_by": agreement(shape, present),
        "ns_per_row": {},
        "times_ours": {},
    }
    for count in counts:
        times: dict[str, list[float]] = {engine.name: [] for engine in present}
        for _ in range(rounds):
            for engine in present:
                times[engine.name].append(nanoseconds(engine, pool, count, threads))
        ours = times[present[0].name]
        figures["ns_per_row"][str(count)] = {
            name: round(statistics.median(each), 1) for name, each in times.items()
        }
        figures["times_ours"][str(count)] = {
            name: round(statistics.median(t / o for t, o in zip(each, ours, strict=True)), 2)
            for name, each in times.items()
        }
        print(shape.name, threads, count, figures["times_ours"][str(count)], file=sys.stderr)
    return figures


def agreement(shape: Shape, present: list[Engine]) -> dict[str, float]:
    """The largest difference from our first engine's probabilities, of those with our model."""
    rows = rows_of(shape, 2000, seed=11)
    ours = present[0].predict(rows).astype(np.float64)
    differs = {}
    for engine in present:
        if engine.kind == "other":
            continue
        values = np.asarray(engine.predict(rows), dtype=np.float64)
        differs[engine.name] = float(np.abs(values - ours).max())
        allowed = 0.0 if engine.kind == "ours" else _AGREE
        if not differs[engine.name] <= allowed:
            raise SystemExit(
                f"{engine.name} differs by {differs[engine.name]} on shape {shape.name}"
            )
    return differs


def nanoseconds(engine: Engine, pool: NDArray[np.float32], count: int, threads: int) -> float:
    """A row's time, the mean over a spell of calls."""
    clock = time.process_time_ns if threads == 1 else time.perf_counter_ns
    starts = range(0, len(pool) - count + 1, count)
    parts = [pool[start : start + count] for start in starts]
    # The clock is read once in so many calls: it costs as much as scoring a row.
    turns = max(1, 64 // count)
    predict = engine.predict
    predict(parts[0])
    calls = 0
    start = clock()
    while True:
        for _ in range(turns):
            predict(parts[calls % len(parts)])
            calls += 1
        spent = clock() - start
        if spent > _SPELL_S * 1e9:
            return spent / calls / count


if __name__ == "__main__":
    main()
