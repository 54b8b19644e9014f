"""Train a bridge: the transformer learns what the legacy model leaves to be said of a click."""

from __future__ import annotations

import copy
import hashlib
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from modern.bridge.model import save_bridge, untrained_residual
from modern.features.feature_set import FeatureSet, open_with_steps
from modern.port.stack import PortStack, open_stack
from modern.training.curves import Curve, svg_of_curves
from modern.training.data import (
    LabelledRequests,
    Span,
    choose_days,
    labelled_requests,
    only_labelled,
    place_of_requests,
    text_of_days,
)
from modern.training.fit import repeatable
from modern.training.fitting import Fitting
from modern.training.metrics import Quality, log_losses, quality_of
from modern.training.sampling import Thinned
from modern.transformer.calibration import Calibration, pctr_from_logits
from modern.transformer.forward import logits_of
from modern.transformer.inputs import check_collapse
from modern.transformer.model import RankingTransformer
from modern.transformer.training_config import ModernConfig
from replay.digests import digest_of_json, digest_of_path
from replay.logs.parquet import LoggedDay, list_days, open_day, read_shard

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOutcome:
    """The held-out day: the port alone, and with what was learned."""

    training_id: str
    held_out: str
    port: Quality
    bridge: Quality


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Labelled candidates, and the port's log-odds of each."""

    rows: LabelledRequests
    base: Logits


def train_bridge(
    logs: Path,
    legacy: Path,
    config: ModernConfig,
    out: Path,
    *,
    train: Span | None = None,
    held_out: Span | None = None,
    history: Path | None = None,
    untrained: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> BridgeOutcome:
    """Fit the residual, the port held as it is, and write the bridge.

    A share of the requests, by hash, chooses the epoch; before the first one the residual is zero,
    so what is kept is never worse there than the port alone.

    Args:
        logs: Folder of the logged days.
        legacy: The legacy artifact.
        config: Of the residual and its training.
        out: The bridge's folder.
        train: As of `choose_days`.
        held_out: Likewise.
        history: The step features that the transformer reads besides; None: it reads no history.
        untrained: Write the bridge as it is before training: the port, bit for bit.
        say: Told how it goes.

    Raises:
        LogError: The days can not be read, or hold nothing to learn from.
        ArtifactError: The legacy artifact can not be read.
        ConfigError: `out` holds something else, or the days do not make a training.
    """
    port = open_stack(legacy)
    features_json, features = open_with_steps(legacy / "features.json", history)
    check_collapse(config.history, features)
    days = choose_days(list_days(logs), train=train, held_out=held_out)
    training_days = [open_day(logs, day) for day in days.train]
    learned = _rows_of(training_days, features, config, port)
    chosen = place_of_requests(learned.rows.request_ids, seed=config.training.seed)
    kept_back = chosen < config.training.kept_back_share
    fit, stopping = _take(learned, ~kept_back), _take(learned, kept_back)
    with repeatable(config.training):
        model = untrained_residual(features, config, fit.rows.inputs)
        curve = [_log_loss(model, stopping)]
        say(f"{len(fit.rows):,} labelled candidates to fit; the port alone: {curve[0]:.5f}")
        if not untrained:
            model, curve = _fitted(model, fit, stopping, config, say)
    held_out_days = [open_day(logs, day) for day in days.held_out]
    judged = _rows_of(held_out_days, features, config, port)
    port_quality, bridge_quality = _judged(model, judged, port)
    facts = {
        "trained_on": [day.isoformat() for day in days.train],
        "held_out": text_of_days(days.held_out),
        "log_digest": digest_of_json({d.day.isoformat(): d.digest for d in training_days}),
        "seed": config.training.seed,
        "versions": {
            "numpy": np.__version__,
            "python": platform.python_version(),
            "torch": str(torch.__version__),
        },
    }
    decides = {
        **facts,
        "legacy": digest_of_path(legacy),
        "features": hashlib.sha256(features_json).hexdigest(),
        "config": config.to_json(),
    }
    weights = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    training_id = digest_of_json({**decides, "weights": weights.hexdigest()})
    training_id = training_id.removeprefix("sha256:")[:32]
    task = config.transformer.tasks[0]
    save_bridge(
        out,
        legacy,
        model,
        config,
        fit.rows.inputs,
        features_json=features_json,
        facts={**facts, "training_id": training_id},
        metrics={
            "held_out": facts["held_out"],
            "port": asdict(port_quality),
            "bridge": asdict(bridge_quality),
        },
        curves=svg_of_curves(
            [Curve(task=task, fit=[None] * len(curve), stopping=list(curve))],
            best_epoch=1 + int(np.argmin(curve)),
        ),
    )
    return BridgeOutcome(
        training_id=training_id,
        held_out=text_of_days(days.held_out),
        port=port_quality,
        bridge=bridge_quality,
    )


def _fitted(
    model: RankingTransformer,
    fit: _Rows,
    stopping: _Rows,
    config: ModernConfig,
    say: Callable[[str], None],
) -> tuple[RankingTransformer, list[float]]:
    """The weights with the lowest log loss on the stopping part, the first zeros among them."""
    training = config.training
    best, curve = copy.deepcopy(model), [_log_loss(model, stopping)]
    everything = Thinned(rows=fit.rows, kept=np.ones(1))
    fitting = Fitting(model, lambda _: everything, training, base=fit.base)
    while fitting.epoch <= training.epochs:
        fitting.run_epoch(lambda _: None)
        loss = _log_loss(fitting.averaged, stopping)
        if loss < min(curve):
            best = copy.deepcopy(fitting.averaged)
        curve.append(loss)
        say(f"epoch {len(curve) - 1:2}  log loss {loss:.5f}{'  best' * (loss == min(curve))}")
        if len(curve) - 1 - int(np.argmin(curve)) >= training.patience:
            break
    return best.eval(), curve


def _rows_of(
    days: Iterable[LoggedDay], features: FeatureSet, config: ModernConfig, port: PortStack
) -> _Rows:
    """Both read the same valid requests in the same order, with their labelled candidates alone."""
    days = tuple(days)
    rows = labelled_requests(days, features, config)
    batches = (only_labelled(read_shard(shard).batch) for day in days for shard in day.shards)
    base = [port.score(batch, capture=["logit"])["logit"] for batch in batches]
    logits = np.concatenate(base)[:, np.newaxis]
    assert len(logits) == len(rows), "one logit for each labelled candidate"
    return _Rows(rows=rows, base=logits)


def _take(of: _Rows, requests: NDArray[np.bool_]) -> _Rows:
    kept = np.repeat(requests, np.diff(of.rows.inputs.candidate_offsets))
    return _Rows(rows=of.rows.take(requests), base=of.base[kept])


def _log_loss(model: RankingTransformer, of: _Rows) -> float:
    logits = logits_of(model.eval(), of.rows.inputs) + of.base
    probability = pctr_from_logits(logits[:, 0], Calibration(slope=1.0, intercept=0.0))
    return float(np.mean(log_losses(probability, of.rows.click)))


def _judged(model: RankingTransformer, of: _Rows, port: PortStack) -> tuple[Quality, Quality]:
    artifact = port.parts.artifact
    calibration = Calibration(slope=artifact.slope, intercept=artifact.intercept)
    bridged = of.base[:, 0] + logits_of(model, of.rows.inputs)[:, 0]
    ours, theirs = (pctr_from_logits(logits, calibration) for logits in (of.base[:, 0], bridged))
    return quality_of(ours, of.rows.click), quality_of(theirs, of.rows.click)
