"""What a training came to: held-out figures of each task beside the prior's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from modern.training.fit import Epoch
from modern.training.metrics import Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutcome:
    """One task on the held-out days, each on the same rows.

    Attributes:
        prior: Always predicting the training days' rate.
        uncalibrated: The weights alone, with what makes up for thinned negatives.
        modern: With their calibration: what is served.
    """

    prior: Quality
    uncalibrated: Quality
    modern: Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training came to.

    Attributes:
        trained: False when the folder held this very training already.
        held_out: The days, as `text_of_days` writes them.
        tasks: In the order of the configuration.
    """

    trained: bool
    training_id: str
    held_out: str
    tasks: Mapping[str, TaskOutcome]


def table_of(outcome: Outcome) -> str:
    """The held-out figures beside the prior's, as text, a block for each task."""
    lines = []
    for task, found in outcome.tasks.items():
        lines += [
            (
                f"held out {outcome.held_out}, {task}: {found.modern.rows:,} labelled candidates, "
                f"{found.modern.clicks:,} of them 1"
            ),
            f"{'':10}{'NE':>10}{'AUC':>10}{'calibration':>14}",
        ]
        for name, quality in (("prior", found.prior), ("modern", found.modern)):
            figures = (quality.ne, quality.auc, quality.calibration)
            shown = ["undefined" if f is None else f"{f:.4f}" for f in figures]
            lines.append(f"{name:10}{shown[0]:>10}{shown[1]:>10}{shown[2]:>14}")
    return "\n".join(lines)


def metrics_json(outcome: Outcome, epochs: Sequence[Epoch]) -> dict[str, Any]:
    """What `metrics.json` of the artifact holds."""
    first = asdict(next(iter(outcome.tasks.values())))
    return {
        "held_out": outcome.held_out,
        "prior": first["prior"],
        "modern": first["modern"],
        "tasks": {task: asdict(found) for task, found in outcome.tasks.items()},
        "epochs": [asdict(epoch) for epoch in epochs],
    }
