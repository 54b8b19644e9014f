"""The transformer's artifact: one folder, every file under the digest and the id of one training."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from modern.features.feature_set import FeatureSet, is_training_id, open_feature_set
from modern.transformer.calibration import Calibration
from modern.transformer.config import Form, Task
from modern.transformer.history import HistoryCode
from modern.transformer.inputs import check_collapse, features_read
from modern.transformer.layout import TokenLayout, layout_of
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import module_places
from modern.transformer.tokens import plain_statistics
from modern.transformer.training_config import ModernConfig, config_from_json
from replay.digests import digest_of_file
from replay.errors import ArtifactError, ConfigError

FORMAT = "parity.modern/3"
FILES = (
    *("calibration.json", "curves.svg", "features.json", "metrics.json", "rounding.json"),
    "weights.safetensors",
)
_FIX = "train again: python -m modern train"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransformerArtifact:
    """What one training left behind, checked.

    Attributes:
        manifest: As it stands in manifest.json.
        feature_set: What the model reads of features.json.
        layout: Which features become tokens.
        model: In evaluation mode.
        calibrations: Of each task.
        rounding: Module path to the largest float32 error measured there.
        history_code: What reads the history; a planted fault replaces a part of it.
    """

    training_id: str
    manifest: Mapping[str, Any]
    feature_set: FeatureSet
    config: ModernConfig
    layout: TokenLayout
    model: RankingTransformer
    calibrations: Mapping[Task, Calibration]
    rounding: Mapping[str, float]
    metrics: Mapping[str, Any]
    history_code: HistoryCode = field(default_factory=HistoryCode)


def save_artifact(
    out: Path,
    *,
    manifest: Mapping[str, Any],
    features_json: bytes,
    model: RankingTransformer,
    calibrations: Mapping[Task, Calibration],
    rounding: Mapping[str, float],
    metrics: Mapping[str, Any],
    curves: str,
) -> None:
    """Write the folder in one step: it stands whole, or as it stood before.

    Args:
        out: The folder; one that is no artifact of this format is never replaced.
        manifest: With its "training_id"; the format and the files' digests are added here.
        features_json: The bytes of features.json.
        model: Its parameters and statistics become weights.safetensors.
        calibrations: Of each task; become calibration.json.
        rounding: Module path to its largest error; becomes rounding.json.
        metrics: Becomes metrics.json.
        curves: Becomes curves.svg.

    Raises:
        ConfigError: `out` holds something else.
    """
    check_replaceable(out)
    training_id = manifest["training_id"]
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        fresh = scratch / "new"
        fresh.mkdir()
        (fresh / "features.json").write_bytes(features_json)
        (fresh / "curves.svg").write_text(curves, encoding="utf-8")
        _write_json(
            fresh / "calibration.json",
            {
                "training_id": training_id,
                "tasks": {task: asdict(found) for task, found in calibrations.items()},
            },
        )
        _write_json(
            fresh / "rounding.json", {"training_id": training_id, "largest_error": dict(rounding)}
        )
        _write_json(fresh / "metrics.json", {"training_id": training_id, **metrics})
        # One entry of metadata: several would be written in no fixed order.
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, fresh / "weights.safetensors", metadata={"training_id": training_id})
        # safetensors makes its file private; who may read the others may read it too.
        (fresh / "weights.safetensors").chmod((fresh / "features.json").stat().st_mode)
        digests = {name: digest_of_file(fresh / name) for name in FILES}
        _write_json(fresh / "manifest.json", {"format": FORMAT, **manifest, "files": digests})
        for path in fresh.iterdir():
            _flush(path)
        if out.exists():
            out.rename(scratch / "old")
        fresh.rename(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_replaceable(out: Path) -> None:
    """Refuse to write over a file or a folder that is not an artifact of this format.

    Raises:
        ConfigError: There is such a file or folder.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    names = {path.name for path in out.iterdir()} if out.is_dir() else {"a file"}
    if foreign := names - {*FILES, "manifest.json"}:
        raise ConfigError(
            f"{str(out)!r} is there and is no artifact of this training "
            f"(it holds {', '.join(sorted(foreign)[:3])}).",
            where="--out",
            fix="name another folder, or remove this one",
        )


def load_artifact(folder: Path) -> TransformerArtifact:
    """Read the folder and check every file before anything of it is used.

    Raises:
        ArtifactError: A file is missing, damaged, of an unknown format, or from another training.
    """
    manifest = _read_manifest(folder)
    training_id: str = manifest["training_id"]
    where = str(folder / "manifest.json")
    config = config_from_json(manifest.get("config"), where=where)
    feature_set = open_feature_set(folder / "features.json")
    if feature_set.training_id != manifest.get("features_training_id"):
        raise ArtifactError(
            f"the feature set is of training {feature_set.training_id}, the transformer was "
            f"trained on that of {manifest.get('features_training_id')!r}.",
            where=str(folder / "features.json"),
            fix=_FIX,
        )
    feature_set = features_read(feature_set, config.transformer)
    check_collapse(config.history, feature_set)
    layout = layout_of(feature_set)
    return TransformerArtifact(
        training_id=training_id,
        manifest=manifest,
        feature_set=feature_set,
        config=config,
        layout=layout,
        model=_read_model(folder / "weights.safetensors", layout, config, training_id),
        calibrations=_read_calibrations(folder / "calibration.json", config, training_id),
        rounding=_read_rounding(folder / "rounding.json", layout, config, training_id),
        metrics=_read_json(folder / "metrics.json", training_id),
    )


def in_form(artifact: TransformerArtifact, form: Form) -> TransformerArtifact:
    """The same weights computing the same function, shared or candidate by candidate.

    Raises:
        ConfigError: Either form is another function than the other.
    """
    same: tuple[Form, ...] = ("shared", "plain")
    own = artifact.config.transformer.form
    if own not in same or form not in same:
        raise ConfigError(
            f"a model trained as {own!r} is another function than {form!r}.",
            where="the stack's option form",
            fix=f"open a model of the form {' or '.join(same)}, as one of these",
        )
    config = replace(artifact.config, transformer=replace(artifact.config.transformer, form=form))
    model = copy.deepcopy(artifact.model)
    model.config = config.transformer
    return replace(artifact, config=config, model=model)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    manifest = _read_json(path, None)
    if manifest.get("format") != FORMAT:
        raise _damaged(f"the format is {manifest.get('format')!r}, not {FORMAT!r}", path)
    training_id, files = manifest.get("training_id"), manifest.get("files")
    if not isinstance(training_id, str) or not is_training_id(training_id):
        raise _damaged(f"training_id {training_id!r} is not 32 lowercase hexadecimal digits", path)
    if not isinstance(files, dict) or set(files) != set(FILES):
        raise _damaged(f"'files' does not list {', '.join(FILES)}", path)
    for name in FILES:
        try:
            digest = digest_of_file(folder / name)
        except OSError as error:
            raise _damaged(f"{name} can not be read: {error.strerror}", folder / name) from error
        if digest != files[name]:
            raise _damaged(
                f"{name} has the digest {digest}, its manifest says {files[name]}: it was cut "
                "short, changed, or comes from another training",
                folder / name,
            )
    return manifest


def _read_model(
    path: Path, layout: TokenLayout, config: ModernConfig, training_id: str
) -> RankingTransformer:
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced below
        model = RankingTransformer(
            layout,
            config.transformer,
            config.history,
            statistics=plain_statistics(layout),
            prior_logits=(0.0,) * len(config.transformer.tasks),
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except (SafetensorError, OSError) as error:
        raise _damaged(f"the weights can not be read: {error}", path) from error
    _check_same_training(metadata.get("training_id"), training_id, path)
    expected = {name: (t.shape, t.dtype) for name, t in model.state_dict().items()}
    for name in sorted({*expected, *weights}):
        found = (weights[name].shape, weights[name].dtype) if name in weights else "absent"
        if found != expected.get(name):
            raise _damaged(
                f"weight {name!r} is {found}, the configuration asks for {expected.get(name)}", path
            )
        if not weights[name].isfinite().all():
            raise _damaged(f"weight {name!r} is not finite everywhere", path)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)


def _read_calibrations(
    path: Path, config: ModernConfig, training_id: str
) -> dict[Task, Calibration]:
    tasks = _read_json(path, training_id).get("tasks")
    if not isinstance(tasks, dict) or set(tasks) != set(config.transformer.tasks):
        raise _damaged("'tasks' does not list the tasks of the configuration", path)
    found: dict[Task, Calibration] = {}
    for task in config.transformer.tasks:
        value = tasks[task] if isinstance(tasks[task], dict) else {}
        slope, intercept = (_finite(value.get(n), n, path) for n in ("slope", "intercept"))
        if slope <= 0:
            raise _damaged(f"slope is {slope}; a calibration never reverses the ranking", path)
        found[task] = Calibration(slope=slope, intercept=intercept)
    return found


def _read_rounding(
    path: Path, layout: TokenLayout, config: ModernConfig, training_id: str
) -> dict[str, float]:
    errors = _read_json(path, training_id).get("largest_error")
    places = module_places(layout, config.transformer)
    paths = [place.path for place in places if not place.discrete]
    if not isinstance(errors, dict) or set(errors) != set(paths):
        raise _damaged("'largest_error' does not list the modules of the configuration", path)
    return {name: _finite(errors[name], name, path) for name in paths}


def _finite(value: object, name: str, path: Path) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise _damaged(f"{name} is {value!r}, which is no finite number", path)
    return value


def _read_json(path: Path, training_id: str | None) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(f"the file can not be read: {error}", path) from error
    if not isinstance(value, dict):
        raise _damaged(f"the file holds a {type(value).__name__}, not an object", path)
    if training_id is not None:
        _check_same_training(value.get("training_id"), training_id, path)
    return value


def _check_same_training(found: object, training_id: str, path: Path) -> None:
    if found != training_id:
        raise _damaged(f"it is of training {found!r}, the manifest of {training_id!r}", path)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _damaged(what: str, path: Path) -> ArtifactError:
    return ArtifactError(f"{what}.", where=str(path), fix=_FIX)
