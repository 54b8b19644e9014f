"""How often a diagnosis names what was planted, and how often it names what is not there.

    .venv/bin/python benchmarks/diagnosis/run.py                  # about two minutes; writes results/
    .venv/bin/python benchmarks/diagnosis/run.py --seeds 3        # quicker

The catalogue of the tests over many seeds: every class on several random columns, clean and with
a twentieth of the rows wrong for no reason; and changes that no class explains. Wrong on a
planted case means another name than the right ones; unexplained is a miss and not wrong.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT))

from parity.explain.diagnose import Evidence, diagnose  # noqa: E402  # after the path to it
from tests.parity.explain.diagnose.catalogue import all_planted  # noqa: E402
from tests.parity.explain.diagnose.layer_catalogue import layer_cases  # noqa: E402
from tests.parity.explain.diagnose.negatives import layer_negatives, negatives  # noqa: E402

Named = tuple[str, frozenset[str], Evidence]


def main() -> None:
    """Sweep, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    figures: dict[str, Any] = {
        "features, clean": sweep(features(seeds, 0.0)),
        "features, 5 % contaminated": sweep(features(seeds, 0.05)),
        "layers, clean": sweep(layers(seeds, 0.0)),
        "layers, 5 % contaminated": sweep(layers(seeds, 0.05)),
        "features, nothing to name": sweep(unrelated(seeds)),
        "layers, nothing to name": sweep(unrelated_layers(seeds)),
    }
    text = as_text(figures)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "diagnosis.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "diagnosis.md").write_text(text, encoding="utf-8")
    print(text)


def features(seeds: range, share: float) -> Iterator[Named]:
    for case, column, _, evidence in all_planted(seeds, share):
        yield f"{case.name} ({column})", case.kinds, evidence


def layers(seeds: range, share: float) -> Iterator[Named]:
    for name, kinds, _, evidence in layer_cases(seeds, share):
        yield name, kinds, evidence


def unrelated(seeds: range) -> Iterator[Named]:
    for name, column, _, evidence in negatives(seeds):
        yield f"{name} ({column})", frozenset(), evidence


def unrelated_layers(seeds: range) -> Iterator[Named]:
    for name, _, evidence in layer_negatives(seeds):
        yield name, frozenset(), evidence


def sweep(cases: Iterable[Named]) -> dict[str, Any]:
    """Counts of one part of the catalogue, its misses by name, and the processor time of each."""
    counts = {"cases": 0, "right": 0, "unexplained": 0, "wrong": 0}
    misses: dict[str, int] = {}
    spent: list[float] = []
    for name, kinds, evidence in cases:
        start = time.process_time()
        found = diagnose(evidence)
        spent.append(1e3 * (time.process_time() - start))
        if found is None:
            outcome = "unexplained" if kinds else "right"
        else:
            outcome = "right" if found.kind in kinds else "wrong"
        counts["cases"] += 1
        counts[outcome] += 1
        if outcome != "right":
            label = f"{name}: {'unexplained' if found is None else found.kind}"
            misses[label] = misses.get(label, 0) + 1
    spent.sort()
    return {
        **counts,
        "median_ms": round(spent[len(spent) // 2], 1),
        "p99_ms": round(spent[int(0.99 * len(spent))], 1),
        "misses": misses,
    }


def as_text(figures: dict[str, Any]) -> str:
    """The table, and every miss below it."""
    lines = [
        "| part | cases | right | unexplained | wrong | median ms | p99 ms |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part, found in figures.items():
        share = f"{found['right']} ({100 * found['right'] / found['cases']:.1f} %)"
        lines.append(
            f"| {part} | {found['cases']} | {share} | {found['unexplained']} | {found['wrong']} | "
            f"{found['median_ms']} | {found['p99_ms']} |"
        )
    for part, found in figures.items():
        if found["misses"]:
            lines += ["", f"Not right, {part}:", ""]
            lines += [f"- {label} ({count})" for label, count in found["misses"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
