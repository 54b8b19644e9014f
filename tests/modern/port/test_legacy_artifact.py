"""A legacy artifact is opened whole, of one training, or refused by the file that is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modern.port.legacy_artifact import PARTS, read_artifact
from replay.digests import digest_of_file
from replay.errors import ArtifactError
from tests.artifacts import FEATURES, write_artifact


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("artifact") / "legacy", num_trees=3, depth=2)


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(written, tmp_path / "legacy"))


def sign(folder: Path, name: str) -> None:
    """Let the manifest say the file's new digest, so that the next check has to find the fault."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = digest_of_file(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_json(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads((folder / name).read_text())
    change(value)
    (folder / name).write_text(json.dumps(value))
    if name != "manifest.json":
        sign(folder, name)


def change_arrays(folder: Path, **changes: Any) -> None:
    with np.load(folder / "regression.npz") as arrays:
        found = {name: arrays[name] for name in arrays.files}
    np.savez(folder / "regression.npz", **(found | changes))
    sign(folder, "regression.npz")


def test_a_whole_artifact_is_read(written: Path) -> None:
    artifact = read_artifact(written)

    assert (
        artifact.training_id == json.loads((written / "manifest.json").read_text())["training_id"]
    )
    assert [f.name for f in artifact.features.features] == [f["name"] for f in FEATURES]
    assert artifact.forest.num_trees == 3
    assert len(artifact.regression.category_weights) == artifact.features.num_columns
    assert (artifact.slope, artifact.intercept) == (0.9, -0.25)


@pytest.mark.parametrize("name", PARTS)
def test_one_changed_byte_is_refused_by_the_files_name(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)

    with pytest.raises(ArtifactError, match=f"'{name}' was changed"):
        read_artifact(folder)


@pytest.mark.parametrize("name", PARTS)
def test_a_file_cut_short_is_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    sign(folder, name)

    with pytest.raises(ArtifactError, match="can not be read"):
        read_artifact(folder)


@pytest.mark.parametrize("name", [*PARTS, "manifest.json"])
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(ArtifactError, match="can not be read") as caught:
        read_artifact(folder)

    assert name in caught.value.where


@pytest.mark.parametrize("name", PARTS)
def test_a_file_of_another_training_is_refused(folder: Path, name: str, tmp_path: Path) -> None:
    other = write_artifact(tmp_path / "other", num_trees=3, depth=2, seed=1)
    shutil.copy(other / name, folder / name)
    sign(folder, name)

    with pytest.raises(ArtifactError, match=f"{name}' comes from training"):
        read_artifact(folder)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no folder"):
        read_artifact(tmp_path / "legacy")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.update(format="parity.legacy/2"), "parity.legacy/2"),
        (lambda m: m.update(training_id="x"), "32 lowercase"),
        (lambda m: m.update(files=[]), "lists no files"),
        (lambda m: m["files"].pop("booster.json"), "booster.json"),
        (lambda m: m["files"].update({"../x": "sha256:"}), "no plain file name"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    change_json(folder, "manifest.json", change)

    with pytest.raises(ArtifactError, match=said):
        read_artifact(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"leaf_weights": np.zeros(3, np.float32)}, "3 leaf weights"),
        ({"leaf_weights": np.zeros(3, np.float64)}, "float64"),
        ({"leaf_weights": np.full(12, np.nan, np.float32)}, "not finite"),
        ({"leaf_offsets": np.asarray([0, 4, 8], np.int64)}, r"of 2 trees.*of 3"),
        ({"category_weights": np.zeros(5, np.float32)}, "5 category weights"),
        ({"category_weights": np.zeros((5, 1), np.float32)}, r"float32\[5, 1\]"),
        ({"bias": np.asarray(["0"], object)}, "can not be read"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    folder: Path, changes: dict[str, Any], said: str
) -> None:
    change_arrays(folder, **changes)

    with pytest.raises(ArtifactError, match=said):
        read_artifact(folder)


def test_weights_without_a_member_are_refused(folder: Path) -> None:
    np.savez(folder / "regression.npz", bias=np.float32(0))
    sign(folder, "regression.npz")

    with pytest.raises(ArtifactError, match="holds no 'training_id'"):
        read_artifact(folder)


@pytest.mark.parametrize("value", ["1", True, None])
def test_a_calibration_without_numbers_is_refused(folder: Path, value: object) -> None:
    change_json(folder, "calibration.json", lambda c: c.update(slope=value))

    with pytest.raises(ArtifactError, match="no number"):
        read_artifact(folder)


def test_a_calibration_that_is_not_finite_is_refused(folder: Path) -> None:
    change_json(folder, "calibration.json", lambda c: c.update(slope=float("inf")))

    with pytest.raises(ArtifactError, match="not finite"):
        read_artifact(folder)
