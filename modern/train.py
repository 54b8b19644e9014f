"""From logged days and a feature set to a transformer's artifact, in one job."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modern.calibration import Calibration, fit_calibration, pctr_from_logits
from modern.config import ModernConfig
from modern.data import LabelledRequests, choose_days, labelled_requests, split_rows
from modern.features import FeatureSet, feature_set_from_json, open_feature_set
from modern.features_steps import extended
from modern.fit import Epoch, fit_transformer
from modern.forward import logits_of
from modern.inputs import check_collapse, features_read
from modern.layout import layout_of
from modern.metrics import Quality, quality_of
from modern.module_places import module_places
from modern.rounding import measure_rounding
from modern.transformer import RankingTransformer
from modern.transformer_artifact import FORMAT, check_replaceable, load_artifact, save_artifact
from modern.transformer_config import Task
from replay.digests import digest_of_file, digest_of_json
from replay.errors import ArtifactError
from replay.logs.parquet import LoggedDay, list_days, open_day

# The sources that decide the weights; another one of these is another training.
SOURCES = (
    *("config.py", "data.py", "inputs.py", "layout.py", "history*.py", "padding.py"),
    *("tokens.py", "transformer.py", "transformer_config.py", "attention.py", "inter*.py"),
    *("request_encoder.py", "module_places.py", "fit.py", "forward.py", "rounding.py"),
    *("transformer_artifact.py", "calibration.py", "train.py", "metrics.py", "features*.py"),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One training, everything that decides its bytes known and nothing computed yet.

    Attributes:
        training_id: From the digests of all that, so the same inputs have the same id.
        log_digest: Of the training days and the held-out one.
    """

    train: tuple[LoggedDay, ...]
    held_out: LoggedDay
    feature_set: FeatureSet
    features_json: bytes
    config: ModernConfig
    versions: Mapping[str, str]
    training_id: str
    log_digest: str


def plan_job(
    logs: Path,
    features: Path,
    config: ModernConfig,
    *,
    first: date | None = None,
    last: date | None = None,
    held_out: date | None = None,
    history: Path | None = None,
) -> Job:
    """Find the days, read the feature set, and give the training its id.

    Args:
        logs: Folder of the logged days.
        features: The features.json to read by.
        config: What is built and how it is trained.
        first: As of `choose_days`.
        last: Likewise.
        held_out: Likewise.
        history: The step features that extend the feature set, where it has none of its own.

    Raises:
        LogError: A day can not be read.
        ConfigError: The days do not make a training (see `choose_days`).
        ArtifactError: The feature set can not be read.
    """
    days = choose_days(list_days(logs), first=first, last=last, held_out=held_out)
    feature_set = open_feature_set(features)
    features_json = features.read_bytes()
    if history is not None:
        features_json = extended(features_json, history)
        feature_set = feature_set_from_json(json.loads(features_json), where=str(history))
    check_collapse(config.history, feature_set)
    train = tuple(open_day(logs, day) for day in days.train)
    held_out_day = open_day(logs, days.held_out)
    log_digest = digest_of_json({d.day.isoformat(): d.digest for d in (*train, held_out_day)})
    versions = {
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }
    root = Path(__file__).parent
    sources = sorted({path for pattern in SOURCES for path in root.glob(pattern)})
    decides = {
        "format": FORMAT,
        "trained_on": [day.isoformat() for day in days.train],
        "held_out": days.held_out.isoformat(),
        "log": log_digest,
        "features": hashlib.sha256(features_json).hexdigest(),
        "config": config.to_json(),
        "versions": versions,
        "sources": {path.name: digest_of_file(path) for path in sources},
    }
    return Job(
        train=train,
        held_out=held_out_day,
        feature_set=feature_set,
        features_json=features_json,
        config=config,
        versions=versions,
        training_id=digest_of_json(decides).removeprefix("sha256:")[:32],
        log_digest=log_digest,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training came to.

    Attributes:
        trained: False when the folder held this very training already.
        prior: The figures of always predicting the training days' click rate.
        modern: The transformer's, on the same held-out rows.
    """

    trained: bool
    training_id: str
    held_out: str
    prior: Quality
    modern: Quality


def run_job(job: Job, out: Path, *, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Train, judge on the held-out day, and write the artifact; or find that it stands there.

    Raises:
        ConfigError: `out` holds something that is no such artifact.
        LogError: The days can not be read, or hold nothing to learn from.
    """
    check_replaceable(out)
    done = _standing(job, out)
    if done is not None:
        return done
    rows = labelled_requests(job.train, job.feature_set, job.config)
    training = job.config.training
    parts = split_rows(rows, kept_back_share=training.kept_back_share, seed=training.seed)
    say(
        f"{len(rows):,} labelled candidates of {len(job.train)} days, {int(rows.click.sum()):,} "
        f"clicked; {len(parts.fit):,} to fit, {len(parts.stopping):,} to stop, "
        f"{len(parts.calibration):,} to calibrate"
    )
    layout = layout_of(features_read(job.feature_set, job.config.transformer))
    model = fit_transformer(parts, layout, job.config, report=lambda epoch: say(_line_of(epoch)))
    calibrations = fit_calibrations(model, parts.calibration)
    outcome = _judge(job, model, calibrations, rows)
    save_artifact(
        out,
        manifest=_manifest(job),
        features_json=job.features_json,
        model=model,
        calibrations=calibrations,
        rounding=measure_rounding(
            model,
            parts.fit.inputs,
            layout,
            places=module_places(layout, job.config.transformer),
        ),
        metrics=_metrics_json(outcome),
    )
    return outcome


def table_of(outcome: Outcome) -> str:
    """The held-out figures beside the prior's, as text."""
    rows = f"{outcome.modern.rows:,} labelled candidates, {outcome.modern.clicks:,} clicked"
    lines = [
        f"held out {outcome.held_out}: {rows}",
        f"{'':10}{'NE':>10}{'AUC':>10}{'calibration':>14}",
    ]
    for name, quality in (("prior", outcome.prior), ("modern", outcome.modern)):
        figures = (quality.ne, quality.auc, quality.calibration)
        shown = ["undefined" if f is None else f"{f:.4f}" for f in figures]
        lines.append(f"{name:10}{shown[0]:>10}{shown[1]:>10}{shown[2]:>14}")
    return "\n".join(lines)


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
    held_out = labelled_requests([job.held_out], job.feature_set, job.config)
    first = calibrations[model.config.tasks[0]]
    pctr = pctr_from_logits(logits_of(model, held_out.inputs)[:, 0], first)
    prior = np.full(len(held_out), rows.click.mean())
    return Outcome(
        trained=True,
        training_id=job.training_id,
        held_out=job.held_out.day.isoformat(),
        prior=quality_of(prior, held_out.click),
        modern=quality_of(pctr, held_out.click),
    )


def _standing(job: Job, out: Path) -> Outcome | None:
    """The outcome of this very training, when `out` holds it undamaged."""
    try:
        artifact = load_artifact(out)
    except ArtifactError:
        return None
    if artifact.training_id != job.training_id:
        return None
    return Outcome(
        trained=False,
        training_id=job.training_id,
        held_out=artifact.metrics["held_out"],
        prior=Quality(**artifact.metrics["prior"]),
        modern=Quality(**artifact.metrics["modern"]),
    )


def _manifest(job: Job) -> dict[str, Any]:
    return {
        "training_id": job.training_id,
        "features_training_id": job.feature_set.training_id,
        "trained_on": [day.day.isoformat() for day in job.train],
        "held_out": job.held_out.day.isoformat(),
        "log_digest": job.log_digest,
        "seed": job.config.training.seed,
        "versions": dict(job.versions),
        "config": job.config.to_json(),
    }


def _metrics_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "held_out": outcome.held_out,
        "prior": asdict(outcome.prior),
        "modern": asdict(outcome.modern),
    }


def _line_of(epoch: Epoch) -> str:
    return f"epoch {epoch.number:2}  log loss {epoch.log_loss:.5f}{'  best' if epoch.best else ''}"
