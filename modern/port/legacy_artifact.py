"""Opens the legacy artifact by code of its own: digests and training ids first, then the parts."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modern.features.feature_set import FeatureSet, is_training_id, open_feature_set
from modern.port.trees import Forest, forest_from_json
from replay.digests import digest_of_file
from replay.errors import ArtifactError

FORMAT = "parity.legacy/1"
PARTS = ("features.json", "booster.json", "regression.npz", "calibration.json")
AGAIN = "train again with `python -m legacy train`, or restore the whole folder from one training"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regression:
    """The logistic regression over leaves and categories.

    Attributes:
        leaf_weights: [leaf of all trees], float32.
        leaf_offsets: [tree + 1], int64; tree t owns leaf_weights[offsets[t]:offsets[t + 1]].
        category_weights: [column], float32.
        bias: float32.
    """

    leaf_weights: NDArray[np.float32]
    leaf_offsets: NDArray[np.int64]
    category_weights: NDArray[np.float32]
    bias: np.float32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LegacyArtifact:
    """Everything that one training left behind, checked to belong together.

    Attributes:
        slope, intercept: Of the calibration, float64.
    """

    training_id: str
    features: FeatureSet
    forest: Forest
    regression: Regression
    slope: float
    intercept: float


def read_artifact(folder: Path) -> LegacyArtifact:
    """Read the folder that `python -m legacy train` wrote (docs/formats.md).

    Raises:
        ArtifactError: A file is missing, has another digest than the manifest says, carries
            another training's id, or breaks a rule of its format.
    """
    training_id = _read_manifest(folder)
    features = open_feature_set(folder / "features.json")
    _same_training(features.training_id, training_id, folder / "features.json")
    forest = _read_forest(folder / "booster.json", features, training_id)
    regression = _read_regression(folder / "regression.npz", training_id)
    _fits(regression, forest, features, folder / "regression.npz")
    slope, intercept = _read_calibration(folder / "calibration.json", training_id)
    return LegacyArtifact(
        training_id=training_id,
        features=features,
        forest=forest,
        regression=regression,
        slope=slope,
        intercept=intercept,
    )


def _read_manifest(folder: Path) -> str:
    """The training's id, after every file of the manifest was found to have its digest."""
    path = folder / "manifest.json"
    if not folder.is_dir():
        raise ArtifactError(
            "the legacy artifact is no folder, or is not there.",
            where=str(folder),
            fix="train one with `python -m legacy train --out FOLDER`",
        )
    manifest = _read_json(path)
    if manifest.get("format") != FORMAT:
        raise _bad(f"the format is {manifest.get('format')!r}, not {FORMAT!r}", path)
    training_id, files = manifest.get("training_id"), manifest.get("files")
    if not isinstance(training_id, str) or not is_training_id(training_id):
        raise _bad(f"training_id {training_id!r} is not 32 lowercase hexadecimal digits", path)
    if not isinstance(files, dict):
        raise _bad("it lists no files", path)
    for name in PARTS:
        if name not in files:
            raise _bad(f"it does not list {name!r}", path)
    for name, digest in files.items():
        if Path(name).name != name or name in {".", ".."}:
            raise _bad(f"it lists {name!r}, which is no plain file name", path)
        _has_digest(folder / name, digest)
    return training_id


def _has_digest(path: Path, digest: object) -> None:
    try:
        found = digest_of_file(path)
    except OSError as error:
        raise _bad(
            f"{path.name!r}, which the manifest lists, can not be read: {error}", path
        ) from error
    if found != digest:
        raise _bad(f"{path.name!r} was changed: it is {found}, the manifest says {digest}", path)


def _read_forest(path: Path, features: FeatureSet, training_id: str) -> Forest:
    model = _read_json(path)
    learner = model.get("learner")
    attributes = learner.get("attributes") if isinstance(learner, dict) else None
    found = attributes.get("training_id") if isinstance(attributes, dict) else None
    _same_training(found, training_id, path)
    names = tuple(feature.name for feature in features.real)
    return forest_from_json(model, feature_names=names, where=str(path))


def _read_regression(path: Path, training_id: str) -> Regression:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _bad(f"the weights can not be read: {error}", path) from error
    shapes = {
        "training_id": ("U", 0),
        "leaf_weights": ("f4", 1),
        "leaf_offsets": ("i8", 1),
        "category_weights": ("f4", 1),
        "bias": ("f4", 0),
    }
    for name, (dtype, ndim) in shapes.items():
        if name not in found:
            raise _bad(f"it holds no {name!r}", path)
        array = found[name]
        fits = array.dtype.kind == "U" if dtype == "U" else array.dtype == np.dtype(f"<{dtype}")
        if not fits or array.ndim != ndim:
            raise _bad(f"{name!r} is {array.dtype}{list(array.shape)}", path)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise _bad(f"{name!r} holds a value that is not finite", path)
    _same_training(str(found["training_id"]), training_id, path)
    return Regression(
        leaf_weights=found["leaf_weights"],
        leaf_offsets=found["leaf_offsets"],
        category_weights=found["category_weights"],
        bias=np.float32(found["bias"]),
    )


def _fits(regression: Regression, forest: Forest, features: FeatureSet, path: Path) -> None:
    """Refuse weights that are not those of these trees and these categories."""
    if not np.array_equal(regression.leaf_offsets, forest.leaf_offsets):
        raise _bad(
            f"its leaf offsets (of {len(regression.leaf_offsets) - 1} trees) are not those of "
            f"booster.json (of {forest.num_trees})",
            path,
        )
    if len(regression.leaf_weights) != forest.leaf_offsets[-1]:
        raise _bad(
            f"it has {len(regression.leaf_weights)} leaf weights for "
            f"{forest.leaf_offsets[-1]} leaves",
            path,
        )
    if len(regression.category_weights) != features.num_columns:
        raise _bad(
            f"it has {len(regression.category_weights)} category weights for "
            f"{features.num_columns} columns of features.json",
            path,
        )


def _read_calibration(path: Path, training_id: str) -> tuple[float, float]:
    calibration = _read_json(path)
    _same_training(calibration.get("training_id"), training_id, path)
    values = []
    for name in ("slope", "intercept"):
        value = calibration.get(name)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise _bad(f"{name!r} is {value!r}, no number", path)
        if not math.isfinite(value):
            raise _bad(f"{name!r} is {value!r}, not finite", path)
        values.append(float(value))
    return values[0], values[1]


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _bad(f"{path.name!r} can not be read: {error}", path) from error
    if not isinstance(value, dict):
        raise _bad(f"{path.name!r} holds no JSON object", path)
    return value


def _same_training(found: object, training_id: str, path: Path) -> None:
    if found != training_id:
        raise ArtifactError(
            f"{path.name!r} comes from training {found!r}, the manifest from {training_id!r}.",
            where=str(path),
            fix="keep the files of one training together; " + AGAIN,
        )


def _bad(what: str, path: Path) -> ArtifactError:
    return ArtifactError(f"{what}.", where=str(path), fix=AGAIN)
