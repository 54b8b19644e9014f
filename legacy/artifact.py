"""The legacy artifact: a folder of files that carry one training's id and are checked when opened."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legacy.feature_set import FeatureSet, feature_set_from_json
from legacy.trees import Trees, trees_from_json
from replay.digests import digest_of_json
from replay.errors import ArtifactError

FORMAT = "parity.legacy/1"
FILES = ("features.json", "booster.json", "regression.npz", "calibration.json", "metrics.json")
_REGRESSION = {
    "training_id": (np.str_, 0),
    "leaf_weights": (np.float32, 1),
    "leaf_offsets": (np.int64, 1),
    "category_weights": (np.float32, 1),
    "bias": (np.float32, 0),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegressionWeights:
    """Weights of the logistic regression.

    Attributes:
        leaf_weights: float32 [leaf]; tree t owns leaf_offsets[t]:leaf_offsets[t + 1].
        leaf_offsets: int64 [tree + 1].
        category_weights: float32 [column], by column of the category block.
        bias: Added to both sums.
    """

    leaf_weights: NDArray[np.float32]
    leaf_offsets: NDArray[np.int64]
    category_weights: NDArray[np.float32]
    bias: np.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Platt's: pctr = 1 / (1 + exp(-(slope * logit + intercept)))."""

    slope: float
    intercept: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LegacyModel:
    """Everything one training learned.

    Attributes:
        features: The feature set, vocabularies filled in.
        booster: XGBoost's JSON model.
        metrics: Held-out figures: {"prior": {...}, "legacy": {...}}.
    """

    features: FeatureSet
    booster: bytes
    regression: RegressionWeights
    calibration: Calibration
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFacts:
    """What a training was made from; its id is the digest of these.

    Attributes:
        trained_on: Days, as YYYY-MM-DD.
        feature_set: Name of the feature set.
        config: Every further choice of the training, plain JSON values.
        versions: Package to version; `legacy` to the digest of this code.
    """

    trained_on: tuple[str, ...]
    log_digest: str
    feature_set: str
    seed: int
    versions: Mapping[str, str]
    config: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        return {
            "trained_on": list(self.trained_on),
            "log_digest": self.log_digest,
            "feature_set": self.feature_set,
            "seed": self.seed,
            "versions": dict(self.versions),
            "config": dict(self.config),
        }

    @property
    def training_id(self) -> str:
        """32 hexadecimal digits: the same inputs, the same id."""
        return digest_of_json(self.to_json()).removeprefix("sha256:")[:32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LegacyArtifact:
    """An artifact whose files belong together, byte for byte as they were written."""

    path: Path
    training_id: str
    manifest: Mapping[str, Any]
    model: LegacyModel
    trees: Trees


def write_artifact(folder: Path, *, model: LegacyModel, facts: TrainingFacts) -> Path:
    """Write an artifact; a folder that exists is replaced as a whole, and never left half-written.

    The same model and facts give the same bytes.
    """
    training_id = facts.training_id
    contents = _contents(model, training_id)
    manifest = {
        "format": FORMAT,
        "training_id": training_id,
        "files": {name: _digest(data) for name, data in contents.items()},
        **facts.to_json(),
    }
    contents["manifest.json"] = _json_bytes(manifest)
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        fresh.chmod(0o755)
        for name, data in contents.items():
            with (fresh / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _put_in_place(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def open_artifact(folder: Path) -> LegacyArtifact:
    """Read and check an artifact; no model library is touched.

    Raises:
        ArtifactError: A file is missing, cut short, changed, from another training, or of
            an unknown version; or the files do not fit each other.
    """
    manifest = read_manifest(folder)
    training_id = manifest["training_id"]
    contents = {name: _checked(folder / name, manifest) for name in FILES}
    features = feature_set_from_json(
        _json(contents["features.json"], folder / "features.json"),
        where=str(folder / "features.json"),
        trained=True,
    )
    regression = _regression(contents["regression.npz"], folder / "regression.npz")
    trees = trees_from_json(
        _json(contents["booster.json"], folder / "booster.json"),
        feature_names=tuple(feature.name for feature in features.real),
        where=str(folder / "booster.json"),
    )
    _check_fit(features, regression, trees, folder)
    calibration = _json(contents["calibration.json"], folder / "calibration.json")
    metrics = _json(contents["metrics.json"], folder / "metrics.json")
    model = LegacyModel(
        features=features,
        booster=contents["booster.json"],
        regression=regression,
        calibration=Calibration(
            slope=_number(calibration, "slope", folder / "calibration.json"),
            intercept=_number(calibration, "intercept", folder / "calibration.json"),
        ),
        metrics={name: value for name, value in metrics.items() if name != "training_id"},
    )
    return LegacyArtifact(
        path=folder, training_id=training_id, manifest=manifest, model=model, trees=trees
    )


def read_manifest(folder: Path) -> Mapping[str, Any]:
    """The manifest, itself checked: its training id is the digest of the facts it states.

    Raises:
        ArtifactError: There is none, it was cut short or changed, or has an unknown version.
    """
    path = folder / "manifest.json"
    data = _read(path)
    manifest = _json(data, path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise _refused(f"manifest.json is of format {found!r}; this reads {FORMAT!r}.", path)
    try:
        facts = TrainingFacts(
            trained_on=tuple(manifest["trained_on"]),
            log_digest=manifest["log_digest"],
            feature_set=manifest["feature_set"],
            seed=manifest["seed"],
            versions=manifest["versions"],
            config=manifest["config"],
        )
        as_written = {
            "format": FORMAT,
            "training_id": facts.training_id,
            "files": {name: manifest["files"][name] for name in FILES},
            **facts.to_json(),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refused(f"manifest.json lacks or misstates {error}.", path) from error
    if _json_bytes(as_written) != data:
        raise _refused("manifest.json is not as it was written: it was changed.", path)
    return manifest


def with_training_id(booster: bytes, training_id: str) -> bytes:
    """XGBoost's JSON model with the attribute `training_id`, as the artifact keeps it."""
    model = json.loads(booster)
    model["learner"].setdefault("attributes", {})["training_id"] = training_id
    return _json_bytes(model, indent=None)


def _contents(model: LegacyModel, training_id: str) -> dict[str, bytes]:
    features = model.features.to_json() | {"training_id": training_id}
    calibration = {
        "training_id": training_id,
        "slope": model.calibration.slope,
        "intercept": model.calibration.intercept,
    }
    regression = {
        "training_id": np.array(training_id),
        "leaf_weights": model.regression.leaf_weights.astype(np.float32),
        "leaf_offsets": model.regression.leaf_offsets.astype(np.int64),
        "category_weights": model.regression.category_weights.astype(np.float32),
        "bias": np.array(model.regression.bias, dtype=np.float32),
    }
    return {
        "features.json": _json_bytes(features),
        "booster.json": with_training_id(model.booster, training_id),
        "regression.npz": _npz_bytes(regression),
        "calibration.json": _json_bytes(calibration),
        "metrics.json": _json_bytes({**model.metrics, "training_id": training_id}),
    }


def _json_bytes(value: Any, *, indent: int | None = 1) -> bytes:
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, indent=indent, separators=separators, allow_nan=False)
    return f"{text}\n".encode()


def _npz_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """As numpy.savez, but without the time of writing: the same arrays, the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def _put_in_place(fresh: Path, folder: Path) -> None:
    """Rename the finished folder to its name, an older one out of the way first."""
    if not folder.exists():
        fresh.rename(folder)
        return
    older = Path(tempfile.mkdtemp(prefix=f".{folder.name}.older.", dir=folder.parent))
    folder.rename(older / folder.name)
    fresh.rename(folder)
    shutil.rmtree(older)


def _checked(path: Path, manifest: Mapping[str, Any]) -> bytes:
    data = _read(path)
    training_id = manifest["training_id"]
    found = _training_id_in(path.name, data)
    if found is not None and found != training_id:
        raise _refused(
            f"{path.name} comes from training {found}, the manifest from {training_id}.", path
        )
    if _digest(data) != manifest["files"][path.name]:
        raise _refused(
            f"{path.name} does not have the digest in manifest.json: it was cut short or changed.",
            path,
        )
    if found is None:
        raise _refused(f"{path.name} carries no training id.", path)
    return data


def _training_id_in(name: str, data: bytes) -> str | None:
    """The training id a file carries; None when it can not be read as a whole file."""
    try:
        if name == "regression.npz":
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                found: Any = arrays["training_id"].item()
        else:
            found = json.loads(data)
            if name == "booster.json":
                found = found["learner"]["attributes"]
            found = found["training_id"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile):
        return None
    except NotImplementedError:  # zipfile: a changed byte that reads as another compression
        return None
    return found if isinstance(found, str) and len(found) == 32 else None


def _regression(data: bytes, path: Path) -> RegressionWeights:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, (kind, dimensions) in _REGRESSION.items():
        array = arrays.get(name)
        if array is None or array.ndim != dimensions or not np.issubdtype(array.dtype, kind):
            raise _refused(f"{path.name}: {name!r} is not as docs/formats.md says.", path)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _refused(f"{path.name}: {name!r} holds values that are not finite.", path)
    return RegressionWeights(
        leaf_weights=arrays["leaf_weights"],
        leaf_offsets=arrays["leaf_offsets"],
        category_weights=arrays["category_weights"],
        bias=arrays["bias"][()],
    )


def _check_fit(
    features: FeatureSet, regression: RegressionWeights, trees: Trees, folder: Path
) -> None:
    path = folder / "regression.npz"
    if not np.array_equal(regression.leaf_offsets, trees.leaf_offsets):
        raise _refused("regression.npz's leaf offsets are not those of booster.json.", path)
    if len(regression.leaf_weights) != int(trees.leaf_offsets[-1]):
        raise _refused(
            f"regression.npz has {len(regression.leaf_weights)} leaf weights for "
            f"{int(trees.leaf_offsets[-1])} leaves.",
            path,
        )
    columns = sum(feature.cardinality for feature in features.discrete)
    if len(regression.category_weights) != columns:
        raise _refused(
            f"regression.npz has {len(regression.category_weights)} category weights for "
            f"{columns} columns.",
            path,
        )


def _number(value: Any, name: str, path: Path) -> float:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, float) or not np.isfinite(found):
        raise _refused(f"{path.name}: {name!r} is {found!r}, which is no finite number.", path)
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused(f"{path.name} can not be read: {error.strerror}.", path) from error


def _json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise _refused(
            f"{path.name} is not JSON ({error}): it was cut short or changed.", path
        ) from error


def _refused(what: str, path: Path) -> ArtifactError:
    return ArtifactError(
        what, where=str(path), fix="copy the artifact again as a whole, or train it again"
    )


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
