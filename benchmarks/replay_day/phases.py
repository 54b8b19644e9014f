"""What finding the causes costs beside the screen.

    .venv/bin/python benchmarks/replay_day/phases.py      # after `make demo`; writes results/

Processor seconds are those of this process and the two stacks', read as each phase begins: the screen
of every request, then probe, repair, attribution, diagnosis, slices and the canary.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from replay.threads import fix_threads

fix_threads()  # before anything below loads numpy

from parity.config import load_config  # noqa: E402  # after the threads are fixed
from parity.options import Progress, ReplayOptions, plant_from_text  # noqa: E402  # as above
from parity.runner import replay_day  # noqa: E402  # as above

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
BUGS = (
    "hour_shift:features.hour_tokyo",
    "scale:features.affinity_total",
    "off_by_one:features.ad",
    "weight_scale:regression.leaf_sum",
)


def main() -> None:
    """Measure, and write the figures down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default="2019-11-30")
    day = date.fromisoformat(parser.parse_args().date)
    figures: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "phases_cpu_s": {
            f"legacy -> {challenger}, {len(bugs)} bugs": phases(challenger, day, bugs)
            for challenger, bugs in (("cpp", ()), ("port", ()), ("port", BUGS))
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "phases.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=1))


@dataclass
class Marks:
    """Processor seconds at the beginning of each phase."""

    at: list[tuple[str, float]] = field(default_factory=list)

    def __call__(self, progress: Progress) -> None:
        """A phase goes on, or begins."""
        if not self.at or self.at[-1][0] != progress.phase:
            self.at.append((progress.phase, cpu_seconds()))

    def spent(self, phase: str) -> float:
        """In one phase, until the next begins."""
        place = [name for name, _ in self.at].index(phase)
        return round(self.at[place + 1][1] - self.at[place][1], 2)


def phases(challenger: str, day: date, bugs: tuple[str, ...]) -> dict[str, Any]:
    """One replay without the trace cache."""
    config, marks = load_config(ROOT / "parity.yaml"), Marks()
    with tempfile.TemporaryDirectory() as out:
        report, _, _ = replay_day(
            ReplayOptions(
                config=config,
                date=day,
                reference="legacy",
                challenger=challenger,
                logs=config.logs,
                out=Path(out),
                cache=None,
                plants=tuple(plant_from_text(bug) for bug in bugs),
                listener=marks,
            )
        )
    screen, causes = marks.spent("replay"), marks.spent("probe")
    return {
        "screen": screen,
        "causes": causes,
        "share": round(causes / screen, 3),
        "named": [cause.checkpoint for cause in report.causes],
    }


def cpu_seconds() -> float:
    """Of this process and its children so far."""
    own, total = os.getpid(), 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended just now
            continue
        if int(entry.name) == own or int(fields[1]) == own:
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
