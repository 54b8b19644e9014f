"""From logged days and a feature set to a transformer's artifact, in one job."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

import modern
from modern.features.feature_set import FeatureSet, open_with_steps
from modern.training.curves import Curve, svg_of_curves
from modern.training.data import (
    LabelledRequests,
    Span,
    choose_days,
    labelled_requests,
    split_rows,
    text_of_days,
)
from modern.training.fit import Epoch, Progress, fit_transformer
from modern.training.metrics import Quality, quality_of
from modern.training.outcome import Outcome, TaskOutcome, metrics_json
from modern.training.state import StateFile
from modern.training.transfer import Loaded, Start, line_of_loaded, load_start, open_start
from modern.transformer.artifact import FORMAT, check_replaceable, load_artifact, save_artifact
from modern.transformer.calibration import Calibration, fit_calibration, pctr_from_logits
from modern.transformer.config import Task
from modern.transformer.forward import logits_of
from modern.transformer.inputs import check_collapse, features_read
from modern.transformer.layout import layout_of
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import module_places
from modern.transformer.rounding import measure_rounding
from modern.transformer.training_config import ModernConfig
from replay.digests import digest_of_file, digest_of_json
from replay.errors import ArtifactError, ConfigError
from replay.logs.parquet import LoggedDay, list_days, open_day

# The sources that decide the weights; another one of these is another training.
SOURCES = (
    "features/*.py",
    *(f"training/{name}.py" for name in ("batches", "data", "fit", "fitting", "job", "labels")),
    *(f"training/{name}.py" for name in ("metrics", "sampling", "transfer")),
    *(f"transformer/{name}.py" for name in ("artifact", "attention", "calibration", "config")),
    *(f"transformer/{name}.py" for name in ("forward", "history", "history_*", "inputs", "layout")),
    *(f"transformer/{name}.py" for name in ("inter*", "model", "module_places", "padding")),
    *(f"transformer/{name}.py" for name in ("request_encoder", "rounding", "tokens")),
    "transformer/training_config.py",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One training, everything that decides its bytes known and nothing computed yet.

    Attributes:
        training_id: From the digests of all that, so the same inputs have the same id.
        log_digest: Of the training days and the held-out ones.
        start: The weights to start from; None: random ones.
    """

    train: tuple[LoggedDay, ...]
    held_out: tuple[LoggedDay, ...]
    feature_set: FeatureSet
    features_json: bytes
    config: ModernConfig
    versions: Mapping[str, str]
    training_id: str
    log_digest: str
    start: Start | None = None


def plan_job(
    logs: Path,
    features: Path,
    config: ModernConfig,
    *,
    train: Span | None = None,
    held_out: Span | None = None,
    history: Path | None = None,
    init_from: Path | None = None,
) -> Job:
    """Find the days, read the feature set, and give the training its id.

    Args:
        logs: Folder of the logged days.
        features: The features.json to read by.
        config: What is built and how it is trained.
        train: As of `choose_days`.
        held_out: Likewise.
        history: The step features that extend the feature set, where it has none of its own.
        init_from: An artifact whose weights to start from.

    Raises:
        LogError: A day can not be read.
        ConfigError: The days do not make a training (see `choose_days`), or the weights to start
            from do not fit.
        ArtifactError: The feature set or the weights can not be read.
    """
    days = choose_days(list_days(logs), train=train, held_out=held_out)
    features_json, feature_set = open_with_steps(features, history)
    check_collapse(config.history, feature_set)
    start = None if init_from is None else open_start(init_from, features_json, config)
    if start is None and config.training.frozen:
        raise ConfigError(
            f"{', '.join(config.training.frozen)} would be frozen as drawn at random.",
            where="the training's configuration, frozen",
            fix="start from an artifact's weights: --init-from ARTIFACT",
        )
    training_days = tuple(open_day(logs, day) for day in days.train)
    held_out_days = tuple(open_day(logs, day) for day in days.held_out)
    log_digest = digest_of_json(
        {d.day.isoformat(): d.digest for d in (*training_days, *held_out_days)}
    )
    versions = {
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    root = Path(str(files(modern)))
    sources = sorted({path for pattern in SOURCES for path in root.glob(pattern)})
    decides = {
        "format": FORMAT,
        "trained_on": [day.isoformat() for day in days.train],
        "held_out": [day.isoformat() for day in days.held_out],
        "init_from": None if start is None else start.weights_digest,
        "log": log_digest,
        "features": hashlib.sha256(features_json).hexdigest(),
        "config": config.to_json(),
        "versions": versions,
        "sources": {path.relative_to(root).as_posix(): digest_of_file(path) for path in sources},
    }
    return Job(
        train=training_days,
        held_out=held_out_days,
        feature_set=feature_set,
        features_json=features_json,
        config=config,
        versions=versions,
        training_id=digest_of_json(decides).removeprefix("sha256:")[:32],
        log_digest=log_digest,
        start=start,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How a training runs; none of it decides the weights, but a device that is no CPU.

    Attributes:
        device: Of torch.
        save_every_s: Seconds between two times at which a killed training can go on from.
    """

    device: str = "cpu"
    save_every_s: float = 30.0


def run_job(
    job: Job,
    out: Path,
    *,
    say: Callable[[str], None] = lambda _: None,
    running: Running = Running(),
) -> Outcome:
    """Train, judge on the held-out days, and write the artifact; or find that it stands there.

    A training that was killed goes on from what it left beside `out`.

    Raises:
        ConfigError: `out` holds something that is no such artifact.
        LogError: The days can not be read, or hold nothing to learn from.
    """
    check_replaceable(out)
    done = _standing(job, out)
    if done is not None:
        return done
    rows = labelled_requests(job.train, job.feature_set, job.config, known_until=job.train[-1].day)
    training = job.config.training
    parts = split_rows(rows, kept_back_share=training.kept_back_share, seed=training.seed)
    say(
        f"{len(rows):,} labelled candidates of {len(job.train)} days, {int(rows.click.sum()):,} "
        f"clicked; {len(parts.fit):,} to fit, {len(parts.stopping):,} to stop, "
        f"{len(parts.calibration):,} to calibrate"
    )
    layout = layout_of(features_read(job.feature_set, job.config.transformer))
    state = StateFile(
        path=out.with_name(f".{out.name}.training"),
        training_id=job.training_id,
        every_s=running.save_every_s,
    )
    loaded: list[Loaded] = []

    def begin(model: RankingTransformer) -> None:
        if job.start is not None:
            loaded.append(load_start(job.start, model))
            say(f"starting from training {job.start.training_id}: {line_of_loaded(loaded[0])}")

    fitted = fit_transformer(
        parts,
        layout,
        job.config,
        start=begin,
        state=state,
        device=running.device,
        report=lambda event: say(_line_of(event, job.config)),
    )
    model = fitted.model
    calibrations = fit_calibrations(model, parts.calibration)
    outcome = _judge(job, model, calibrations, rows)
    save_artifact(
        out,
        manifest=_manifest(job, loaded),
        features_json=job.features_json,
        model=model,
        calibrations=calibrations,
        rounding=measure_rounding(
            model,
            parts.fit.inputs,
            layout,
            places=module_places(layout, job.config.transformer),
        ),
        metrics=metrics_json(outcome, fitted.epochs),
        curves=curves_of(fitted.epochs, model.config.tasks),
    )
    state.remove()
    return outcome


def curves_of(epochs: Sequence[Epoch], tasks: Sequence[Task]) -> str:
    """The picture of a training's log losses."""
    best = max((epoch.number for epoch in epochs if epoch.best), default=1)
    return svg_of_curves(
        [
            Curve(
                task=task,
                fit=[epoch.fit[place] for epoch in epochs],
                stopping=[epoch.stopping[place] for epoch in epochs],
            )
            for place, task in enumerate(tasks)
        ],
        best_epoch=best,
    )


def fit_calibrations(model: RankingTransformer, rows: LabelledRequests) -> dict[Task, Calibration]:
    """One of each task, fitted to the outcomes that are known."""
    logits = logits_of(model, rows.inputs)
    found = {}
    for place, task in enumerate(model.config.tasks):
        known = ~np.isnan(rows.labels[:, place])
        found[task] = fit_calibration(logits[known, place], rows.labels[known, place] == 1)
    return found


def _judge(
    job: Job,
    model: RankingTransformer,
    calibrations: Mapping[Task, Calibration],
    rows: LabelledRequests,
) -> Outcome:
    held_out = labelled_requests(job.held_out, job.feature_set, job.config)
    logits = logits_of(model, held_out.inputs)
    tasks: dict[str, TaskOutcome] = {}
    for place, task in enumerate(model.config.tasks):
        known = ~np.isnan(held_out.labels[:, place])
        outcome = held_out.labels[known, place] == 1
        rate = np.nanmean(rows.labels[:, place])
        tasks[task] = TaskOutcome(
            prior=quality_of(np.full(len(outcome), rate), outcome),
            uncalibrated=quality_of(
                pctr_from_logits(logits[known, place], Calibration(slope=1.0, intercept=0.0)),
                outcome,
            ),
            modern=quality_of(pctr_from_logits(logits[known, place], calibrations[task]), outcome),
        )
    return Outcome(
        trained=True,
        training_id=job.training_id,
        held_out=text_of_days([day.day for day in job.held_out]),
        tasks=tasks,
    )


def _standing(job: Job, out: Path) -> Outcome | None:
    """The outcome of this very training, when `out` holds it undamaged."""
    try:
        artifact = load_artifact(out)
    except ArtifactError:
        return None
    if artifact.training_id != job.training_id:
        return None
    tasks = {
        task: TaskOutcome(**{name: Quality(**quality) for name, quality in found.items()})
        for task, found in artifact.metrics["tasks"].items()
    }
    return Outcome(
        trained=False,
        training_id=job.training_id,
        held_out=artifact.metrics["held_out"],
        tasks={task: tasks[task] for task in artifact.config.transformer.tasks},
    )


def _manifest(job: Job, loaded: Sequence[Loaded]) -> dict[str, Any]:
    return {
        "init_from": asdict(loaded[0]) if loaded else None,
        "training_id": job.training_id,
        "features_training_id": job.feature_set.training_id,
        "trained_on": [day.day.isoformat() for day in job.train],
        "held_out": text_of_days([day.day for day in job.held_out]),
        "log_digest": job.log_digest,
        "seed": job.config.training.seed,
        "versions": dict(job.versions),
        "config": job.config.to_json(),
    }


def _line_of(event: Epoch | Progress, config: ModernConfig) -> str:
    if isinstance(event, Epoch):
        kept = "  best" if event.best else ""
        return f"epoch {event.number:2}  log loss {event.log_loss:.5f}{kept}"
    minutes, seconds = divmod(round(event.left_s), 60)
    return (
        f"epoch {event.epoch:2} of {config.training.epochs}, {event.share:4.0%}; "
        f"{minutes}:{seconds:02} left at most"
    )
