"""The bridge: the ported legacy model, and a transformer that adds to its log-odds.

A rung between two models: while the transformer's heads are zero the bridge is the port, bit for
bit, with the whole new machinery running beside it; trained it is something better, and only then.
A folder holds both parts, each in the format it has everywhere else.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from modern.features.feature_set import FeatureSet, feature_set_from_json
from modern.port.legacy_artifact import LegacyArtifact, read_artifact
from modern.training.fit import statistics_of_inputs
from modern.transformer.artifact import TransformerArtifact, load_artifact, save_artifact
from modern.transformer.calibration import Calibration
from modern.transformer.inputs import ModelInputs, features_read
from modern.transformer.layout import layout_of
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import module_places
from modern.transformer.rounding import measure_rounding
from modern.transformer.training_config import ModernConfig
from replay.errors import ArtifactError, ConfigError

FORMAT = "parity.bridge/1"
LEGACY, RESIDUAL = "legacy", "residual"
# The residual is added as it is: a calibration of its own would be a second set of weights.
AS_IT_IS = Calibration(slope=1.0, intercept=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BridgeArtifact:
    """Both parts, each checked, over one and the same feature set."""

    legacy: LegacyArtifact
    residual: TransformerArtifact


def untrained_residual(
    features: FeatureSet, config: ModernConfig, inputs: ModelInputs
) -> RankingTransformer:
    """A transformer that adds nothing yet: heads and prior are zero, everything else is drawn.

    Args:
        features: The legacy model's, and those of the steps where the transformer reads a history.
        config: Sizes and form; one task.
        inputs: Some requests, for the statistics of the real features.

    Raises:
        ConfigError: More than one task: the legacy model has one.
    """
    if len(config.transformer.tasks) != 1:
        raise ConfigError(
            f"the tasks are {list(config.transformer.tasks)}.",
            where="the bridge's configuration",
            fix="name the legacy model's one task",
        )
    read = features_read(features, config.transformer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.training.seed)
        return RankingTransformer(
            layout_of(read),
            config.transformer,
            config.history,
            statistics=statistics_of_inputs(inputs),
            prior_logits=(0.0,),
        ).eval()


def save_bridge(
    out: Path,
    legacy: Path,
    model: RankingTransformer,
    config: ModernConfig,
    inputs: ModelInputs,
    *,
    features_json: bytes,
    facts: dict[str, Any],
    metrics: dict[str, Any],
    curves: str,
) -> None:
    """Write the folder in one step.

    Args:
        out: The folder; one that is no bridge is never replaced.
        legacy: The legacy artifact's folder, copied.
        model: What is added.
        config: Of the model.
        inputs: Some requests that its rounding is measured on.
        features_json: What it reads: the legacy model's features, with or without those of steps.
        facts: For the manifest of the residual: training_id, days, log, seed, versions.
        metrics: Held-out figures.
        curves: The picture of the training.

    Raises:
        ConfigError: `out` holds something else.
    """
    if out.exists() and not (out / "bridge.json").is_file():
        raise ConfigError(
            f"{str(out)!r} is there and is no bridge.",
            where="--out",
            fix="name another folder, or remove this one",
        )
    features = feature_set_from_json(json.loads(features_json), where=str(legacy))
    layout = layout_of(features_read(features, config.transformer))
    places = module_places(layout, config.transformer)
    model = model.eval().requires_grad_(requires_grad=False)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        fresh = scratch / "new"
        fresh.mkdir()
        shutil.copytree(legacy, fresh / LEGACY)
        save_artifact(
            fresh / RESIDUAL,
            manifest={
                **facts,
                "features_training_id": features.training_id,
                "config": config.to_json(),
            },
            features_json=features_json,
            model=model,
            calibrations={config.transformer.tasks[0]: AS_IT_IS},
            rounding=measure_rounding(model, inputs, layout, places=places),
            metrics=metrics,
            curves=curves,
        )
        text = json.dumps({"format": FORMAT, "training_id": facts["training_id"]}, indent=2)
        (fresh / "bridge.json").write_text(text + "\n")
        if out.exists():
            out.rename(scratch / "old")
        fresh.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def load_bridge(folder: Path) -> BridgeArtifact:
    """Read both parts, and check that they belong together.

    Raises:
        ArtifactError: A part is damaged, or made for another feature set.
    """
    path = folder / "bridge.json"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _damaged(f"it can not be read: {error}", path) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise _damaged(f"it is no bridge of the format {FORMAT!r}", path)
    legacy, residual = read_artifact(folder / LEGACY), load_artifact(folder / RESIDUAL)
    if residual.training_id != found.get("training_id"):
        raise _damaged("the residual is of another training", path)
    if residual.manifest["features_training_id"] != legacy.training_id:
        raise _damaged("the residual was made beside another legacy model", path)
    return BridgeArtifact(legacy=legacy, residual=residual)


def _damaged(what: str, path: Path) -> ArtifactError:
    return ArtifactError(
        f"{what}.", where=str(path), fix="make it again: python -m modern train-bridge"
    )
