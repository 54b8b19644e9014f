"""Our scorer against its peers: nanoseconds a row, one thread, through Python.

    OMP_NUM_THREADS=1 python benchmarks/scorer/run.py                        # writes results/
    python benchmarks/scorer/run.py --shapes a --rows 1,500 --rounds 9
    python benchmarks/scorer/run.py --peers-from other-venv/lib/python3.11/site-packages

The engines take turns within each round, so that a slow spell of the machine meets them all; the
median of the rounds is reported. Peers that are not installed are listed as not measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers import Absent, Engine, engines
from shapes import SHAPES, Shape, rows_of, trained

RESULTS = Path(__file__).parent / "results"

# A measurement repeats its call until it took this long.
_SPELL_S = 0.02
# Float32 sums of 1,000 trees; ours and the float64 regressions are within 1e-6.
_AGREE = 2e-5


def main() -> None:
    """Train what is missing, time, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="a,b")
    parser.add_argument("--rows", default="1,32,500,10000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers-from", type=Path, action="append", default=[])
    arguments = parser.parse_args()
    sys.path += [str(folder) for folder in arguments.peers_from]
    counts = [int(count) for count in arguments.rows.split(",")]
    figures: dict[str, Any] = {"machine": machine(), "rounds": arguments.rounds, "shapes": {}}
    for shape in SHAPES:
        if shape.name in arguments.shapes.split(","):
            figures["shapes"][shape.name] = measured(shape, counts, arguments.rounds)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "scorer.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = as_text(figures)
    (RESULTS / "scorer.md").write_text(text, encoding="utf-8")
    print(text)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {"processor": names[0], "threads": len(names), "python": platform.python_version()}


def measured(shape: Shape, counts: list[int], rounds: int) -> dict[str, Any]:
    """Nanoseconds a row by number of rows and engine, and what was not measured."""
    found = list(engines(trained(shape)))
    present = [each for each in found if isinstance(each, Engine)]
    figures: dict[str, Any] = {
        "kinds": {engine.name: engine.kind for engine in present},
        "absent": {each.name: each.why for each in found if isinstance(each, Absent)},
        "differs_by": agreement(shape, present),
        "ns_per_row": {},
    }
    for count in counts:
        rows = rows_of(shape, count, seed=9)
        times: dict[str, list[float]] = {engine.name: [] for engine in present}
        for _ in range(rounds):
            for engine in present:
                times[engine.name].append(nanoseconds(engine, rows) / count)
        figures["ns_per_row"][str(count)] = {
            name: round(statistics.median(each), 1) for name, each in times.items()
        }
        print(shape.name, count, figures["ns_per_row"][str(count)], file=sys.stderr, flush=True)
    return figures


def agreement(shape: Shape, present: list[Engine]) -> dict[str, float]:
    """The largest difference of each engine's probabilities from our first one's."""
    rows = rows_of(shape, 2000, seed=11)
    ours = present[0].predict(rows).astype(np.float64)
    differs = {}
    for engine in present:
        values = np.asarray(engine.predict(rows), dtype=np.float64)
        differs[engine.name] = float(np.abs(values - ours).max())
        allowed = 0.0 if engine.kind == "ours" else _AGREE
        if not differs[engine.name] <= allowed:
            raise SystemExit(
                f"{engine.name} differs by {differs[engine.name]} on shape {shape.name}"
            )
    return differs


def nanoseconds(engine: Engine, rows: NDArray[np.float32]) -> float:
    """The mean time of a call over a spell of calls."""
    calls = 0
    start = time.perf_counter_ns()
    while True:
        engine.predict(rows)
        calls += 1
        spent = time.perf_counter_ns() - start
        if spent > _SPELL_S * 1e9:
            return spent / calls


def as_text(figures: dict[str, Any]) -> str:
    """The figures as a page."""
    lines = [
        "# The scorer against its peers",
        "",
        (
            "Nanoseconds a row, called from Python, one thread, median of "
            f"{figures['rounds']} interleaved rounds, on {figures['machine']['processor']} "
            f"({figures['machine']['threads']} hardware threads)."
        ),
    ]
    for name, shape in figures["shapes"].items():
        counts = list(shape["ns_per_row"])
        lines += [
            "",
            f"## Shape {name}",
            "",
            "| | " + " | ".join(f"{c} rows" for c in counts) + " |",
        ]
        lines.append("| --- |" + " --- |" * len(counts))
        for engine in shape["kinds"]:
            cells = [f"{shape['ns_per_row'][c][engine]:,.0f}" for c in counts]
            lines.append(f"| {engine} | " + " | ".join(cells) + " |")
        for kind, title in (("value", "best value peer"), ("leaf", "best leaf + LR peer")):
            cells = []
            for count in counts:
                times = shape["ns_per_row"][count]
                peers = [times[e] for e, k in shape["kinds"].items() if k == kind]
                ours = times[next(iter(shape["kinds"]))]
                cells.append(f"{min(peers) / ours:.1f}x" if peers else "-")
            lines.append(f"| **{title} / ours** | " + " | ".join(cells) + " |")
        lines += ["", "Largest difference of a probability from ours: "]
        lines[-1] += ", ".join(
            f"{engine} {by:.1e}"
            for engine, by in shape["differs_by"].items()
            if shape["kinds"][engine] != "ours"
        )
        absent = [f"{engine} ({why})" for engine, why in shape["absent"].items()]
        lines += ["", "Not measured: " + "; ".join(absent) + "."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
