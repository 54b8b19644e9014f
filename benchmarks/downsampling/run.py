"""Whether a training on few negatives is calibrated, and how much of a miss is chance.

    .venv/bin/python benchmarks/downsampling/run.py            # imports, trains and judges; writes results/
    .venv/bin/python benchmarks/downsampling/run.py --size small    # the log of benchmarks/quality

The synthetic log knows its true probabilities, so the sum of predictions over held-out days is held
against their sum, which no luck of outcomes moves. What is left of chance is in the calibration's
own part of the training days; `level.py` tells it apart from the rest. Every step is skipped when
its files stand below --work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from replay.threads import fix_threads

fix_threads()  # before anything below loads numpy

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

import numpy as np  # noqa: E402  # after the threads are fixed
from level import Level, Rows, level_of  # noqa: E402  # beside this file

from modern.training.data import labelled_batches, place_of_requests  # noqa: E402  # as above
from modern.training.job import plan_job, run_job  # noqa: E402  # as above
from modern.transformer.artifact import TransformerArtifact, load_artifact  # noqa: E402  # as above
from modern.transformer.forward import logits_of  # noqa: E402  # as above
from modern.transformer.training_config import load_variant  # noqa: E402  # as above
from replay.logs.parquet import open_day  # noqa: E402  # as above

RESULTS = Path(__file__).parent / "results"
HELD_OUT = (date(2026, 1, 22), date(2026, 1, 24))
TRUTH = {
    "click": "true_pctr",
    "conversion": "true_pconversion",
    "view_2s": "true_pview_2s",
    "view_5s": "true_pview_5s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A log and its trainings.

    Attributes:
        importing: Settings of the log; all of its 21 days have five shown candidates a request.
        first_day: Of those that are learned from, up to the day before the held-out ones.
        kept_back_share: Of the requests, for the calibration alone.
        epochs: By rate. An epoch of few rows is short.
    """

    importing: tuple[str, ...]
    first_day: date
    kept_back_share: float
    epochs: dict[float, int]


SIZES = {
    # What is kept back holds some 8,500 conversions: their number alone is known to 1.1 %.
    "large": Size(
        importing=("--requests", "12000", "--candidates", "5", "--seed", "11"),
        first_day=date(2026, 1, 12),
        kept_back_share=0.45,
        epochs={1.0: 1, 0.1: 2, 0.01: 2},
    ),
    # Where the miss was seen; 700 conversions are kept back.
    "small": Size(
        importing=("--requests", "1800", "--candidates", "10", "--seed", "7"),
        first_day=date(2026, 1, 5),
        kept_back_share=0.125,
        epochs={1.0: 5, 0.1: 8, 0.01: 8},
    ),
}


def main() -> None:
    """Train at every rate, judge, write results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "downsampling")
    parser.add_argument("--size", choices=list(SIZES), default="large")
    parser.add_argument("--rates", default="1,0.1,0.01")
    options = parser.parse_args()
    size, work = SIZES[options.size], options.work / options.size
    rates = [float(rate) for rate in options.rates.split(",")]
    prepare(size, work)
    found = []
    for rate in rates:
        artifact, cpu_s = train(size, rate, work)
        ne = {task: one["modern"]["ne"] for task, one in artifact.metrics["tasks"].items()}
        found += [(rate, ne[level.task], level) for level in levels(artifact, work / "logs")]
        print(f"rate {rate:g}: {cpu_s:.0f} s of a processor", flush=True)
        text = text_of(found, options.size, size)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{options.size}.md").write_text(text)
    print(text)


def prepare(size: Size, work: Path) -> None:
    """The log, and a legacy training for its feature set: three days know every ad."""
    importing = ("synthetic", "--days", "21", *size.importing)
    run("parity", "logs", "import", *importing, "--out", str(work / "logs"))
    if not (work / "legacy" / "features.json").exists():
        days = ("--days", "2026-01-19:2026-01-21", "--held-out", HELD_OUT[0].isoformat())
        logs = ("--logs", str(work / "logs"), "--out", str(work / "legacy"))
        run("legacy", "train", *logs, "--features", "synthetic", *days)


def train(size: Size, rate: float, work: Path) -> tuple[TransformerArtifact, float]:
    """The artifact of a rate, and the processor seconds it took (0 where it stood)."""
    variant = json.loads((ROOT / "benchmarks/quality/variants/synthetic.json").read_text())
    variant["training"] |= {
        "kept_back_share": size.kept_back_share,
        "negative_rates": [rate],
        "epochs": size.epochs[rate],
    }
    path = work / f"rate_{rate:g}.json"
    path.write_text(json.dumps(variant))
    job = plan_job(
        work / "logs",
        work / "legacy" / "features.json",
        load_variant(str(path)),
        train=(size.first_day, HELD_OUT[0] - timedelta(days=1)),
        held_out=HELD_OUT,
        history=ROOT / "modern" / "feature_sets" / "synthetic.json",
    )
    started = time.process_time()
    run_job(job, work / f"rate_{rate:g}", say=lambda line: print(line, flush=True))
    return load_artifact(work / f"rate_{rate:g}"), time.process_time() - started


def levels(artifact: TransformerArtifact, logs: Path) -> list[Level]:
    """A task each: what was predicted for the held-out days, over what was true."""
    training = artifact.config.training
    days = [date.fromisoformat(day) for day in artifact.manifest["trained_on"]]
    kept_back = rows_of(artifact, logs, days, known_until=days[-1], share=training.kept_back_share)
    held = [
        date.fromordinal(n) for n in range(HELD_OUT[0].toordinal(), HELD_OUT[1].toordinal() + 1)
    ]
    held_out = rows_of(artifact, logs, held)
    return [
        level_of(task, kept_back[task], held_out[task], artifact.calibrations[task])
        for task in artifact.config.transformer.tasks
    ]


def rows_of(
    artifact: TransformerArtifact,
    logs: Path,
    days: Sequence[date],
    *,
    known_until: date | None = None,
    share: float = 1.0,
) -> dict[str, Rows]:
    """Task to the labelled candidates of these days, of this share of the requests alone."""
    tasks = artifact.config.transformer.tasks
    parts: dict[str, list[Rows]] = {task: [] for task in tasks}
    opened = [open_day(logs, day) for day in days]
    first_request = 0
    for batch, rows in labelled_batches(
        opened, artifact.feature_set, artifact.config, known_until=known_until
    ):
        place = place_of_requests(rows.request_ids, seed=artifact.config.training.seed)
        request = batch.keys.request_of("candidate")
        chosen = (place < share)[request]
        logits = logits_of(artifact.model, rows.take(place < share).inputs)
        for column, task in enumerate(tasks):
            truth = batch.column(f"candidate.{TRUTH[task]}").to_numpy(zero_copy_only=False)[chosen]
            label = rows.labels[chosen, column].astype(np.float64)
            known = ~np.isnan(label)
            parts[task].append(
                Rows(
                    logit=logits[known, column],
                    label=label[known],
                    truth=truth[known],
                    request=request[chosen][known] + first_request,
                )
            )
        first_request += batch.num_requests
    return {task: Rows.joined(many) for task, many in parts.items()}


def text_of(found: Sequence[tuple[float, float, Level]], name: str, size: Size) -> str:
    """The figures as markdown."""
    lines = [
        f"# Fewer negatives: the {name} log",
        "",
        (
            f"{machine()}. Synthetic, {' '.join(size.importing)}, learned from {size.first_day} on; "
            f"{size.kept_back_share:g} of the requests for the calibration. Sum of predictions over sum of true probabilities on the "
            "three held-out days."
        ),
        "",
        (
            "| rate | task | ones kept back | weights alone | calibrated (95 %) | luck of outcomes | prior | "
            "as if without either | NE |"
        ),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for rate, ne, level in found:
        low, high = (
            level.calibrated - 1.96 * level.deviation,
            level.calibrated + 1.96 * level.deviation,
        )
        lines.append(
            f"| {rate:g} | {level.task} | {level.ones:,} | {level.raw:.3f} | {level.calibrated:.3f} "
            f"({low:.3f} to {high:.3f}) | {level.luck:+.3f} | {level.prior:+.3f} | "
            f"{level.calibrated - level.luck - level.prior:.3f} | {ne:.4f} |"
        )
    return "\n".join(lines) + "\n"


def run(module: str, *arguments: str) -> None:
    """Run a command of this project; its end with an error is ours."""
    subprocess.run(
        [sys.executable, "-m", module, *arguments],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def machine() -> str:
    """What the figures were computed on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    name = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    return name or platform.processor()


if __name__ == "__main__":
    main()
