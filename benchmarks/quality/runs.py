"""What is trained, on which days of which log, and where its files stand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIANTS = Path(__file__).parent / "variants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One log.

    Attributes:
        importing: Arguments of `parity logs import`.
        held_out: Days that nothing was learned from; later ones are not touched.
        truth: Task to the field that holds its true probability.
    """

    importing: tuple[str, ...]
    held_out: str
    truth: Mapping[str, str] = field(default_factory=dict)


LOGS: Mapping[str, Setting] = {
    # Seventeen days teach; three give some 4,100 clicks to judge by.
    "synthetic": Setting(
        importing=(
            *("synthetic", "--days", "21", "--requests", "1800", "--candidates", "10"),
            *("--seed", "7"),
        ),
        held_out="2026-01-22:2026-01-24",
        truth={
            "click": "true_pctr",
            "conversion": "true_pconversion",
            "view_2s": "true_pview_2s",
            "view_5s": "true_pview_5s",
        },
    ),
    # The last six weeks hold a sixth of the ratings; two weeks of them are left for a replay.
    "movielens": Setting(importing=("movielens",), held_out="1998-03-16:1998-04-08"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training of the transformer.

    Attributes:
        changes: To the log's variant.
        histories: What it is judged with (`python -m modern predict --histories`).
        init_from: The run whose weights it starts from.
    """

    log: str
    what: str
    seed: int
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    histories: tuple[str, ...] = ("own",)
    init_from: str | None = None

    @property
    def name(self) -> str:
        return f"{self.log}-{self.what}-{self.seed}"


def runs_of(log: str, seeds: int) -> list[Run]:
    """All trainings on a log."""
    found = []
    for seed in range(1, seeds + 1):
        found += [
            Run(log=log, what="transformer", seed=seed, histories=("own", "others", "shuffled")),
            Run(
                log=log,
                what="no_history",
                seed=seed,
                changes={"transformer": {"form": "no_history"}},
            ),
        ]
    return found


@dataclass(frozen=True, slots=True)
class Work:
    """The folder of all files, by what they are."""

    root: Path

    def logs(self, log: str) -> Path:
        return self.root / "logs" / log

    def legacy(self, log: str, seed: int) -> Path:
        return self.root / "legacy" / f"{log}-{seed}"

    def modern(self, name: str) -> Path:
        return self.root / "modern" / name

    def predictions(self, name: str) -> Path:
        return self.root / "predictions" / f"{name}.parquet"

    def variant(self, run: Run) -> Path:
        """The log's variant with the run's changes, written down."""
        value = json.loads((VARIANTS / f"{run.log}.json").read_text())
        for part, changes in run.changes.items():
            value[part] = value.get(part, {}) | dict(changes)
        path = self.root / "variants" / f"{run.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1) + "\n")
        return path

    def note(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep what a training cost."""
        path = self.root / "cost" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(facts) + "\n")

    def cost(self, name: str) -> Mapping[str, Any]:
        path = self.root / "cost" / f"{name}.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}
