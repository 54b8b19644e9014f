from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from modern.transformer.artifact import FILES, load_artifact, save_artifact
from modern.transformer.calibration import Calibration
from replay.digests import digest_of_file
from replay.errors import ArtifactError, ConfigError
from tests.modern.small_transformer import CONFIG, TRAINING_ID, feature_set, write_artifact

Damage = Callable[[Path], object]
EVERY_FILE = (*FILES, "manifest.json")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def accept(folder: Path, name: str) -> None:
    """Put a file's present digest into the manifest, as somebody who tampers would."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = digest_of_file(folder / name)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "artifact")

    found = load_artifact(folder)

    assert sorted(p.name for p in folder.iterdir()) == sorted(EVERY_FILE)
    assert found.training_id == TRAINING_ID
    assert found.config == CONFIG
    assert found.feature_set == feature_set()
    assert found.calibrations == {"click": Calibration(slope=1.1, intercept=-0.2)}
    assert not found.model.training
    saved = load_file(folder / "weights.safetensors")
    for name, tensor in found.model.state_dict().items():
        assert torch.equal(tensor, saved[name])


@pytest.mark.parametrize("name", EVERY_FILE)
@pytest.mark.parametrize("damage", [cut_short, change_a_byte, Path.unlink])
def test_a_damaged_or_missing_file_is_refused_by_name(
    tmp_path: Path, name: str, damage: Damage
) -> None:
    folder = write_artifact(tmp_path / "artifact")
    damage(folder / name)

    with pytest.raises(ArtifactError) as refused:
        load_artifact(folder)

    assert name in {Path(refused.value.where).name, "manifest.json"}


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "calibration.json", "rounding.json", "metrics.json"]
)
def test_a_file_of_another_training_is_refused_even_when_its_digest_is_accepted(
    tmp_path: Path, name: str
) -> None:
    folder = write_artifact(tmp_path / "artifact")
    other = write_artifact(tmp_path / "other", seed=1, training_id="f" * 32)
    (folder / name).write_bytes((other / name).read_bytes())
    with pytest.raises(ArtifactError, match="digest"):
        load_artifact(folder)
    accept(folder, name)

    with pytest.raises(ArtifactError, match="is of training 'ffff") as refused:
        load_artifact(folder)

    assert Path(refused.value.where).name == name


def test_a_feature_set_of_another_training_is_refused(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "artifact")
    edit_json(folder / "features.json", training_id="e" * 32)
    accept(folder, "features.json")

    with pytest.raises(ArtifactError, match="feature set is of training eeee"):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "parity.modern/1"}, "format"),
        ({"format": "parity.legacy/1"}, "format"),
        ({"training_id": "short"}, "training_id"),
        ({"files": {}}, "files"),
        ({"config": {}}, "configuration"),
        ({"features_training_id": None}, "feature set"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    folder = write_artifact(tmp_path / "artifact")
    edit_json(folder / "manifest.json", **changes)

    with pytest.raises(ArtifactError, match=says):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        (
            "calibration.json",
            {"tasks": {"click": {"slope": -1.0, "intercept": 0.0}}},
            "never reverses",
        ),
        ("calibration.json", {"tasks": {"click": {"slope": "1", "intercept": 0.0}}}, "no finite"),
        ("calibration.json", {"tasks": {"click": {"slope": 1.0}}}, "no finite"),
        ("calibration.json", {"tasks": {"conversion": {}}}, "does not list the tasks"),
        ("rounding.json", {"largest_error": {}}, "does not list the modules"),
    ],
)
def test_values_that_no_training_writes_are_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], says: str
) -> None:
    folder = write_artifact(tmp_path / "artifact")
    edit_json(folder / name, **changes)
    accept(folder, name)

    with pytest.raises(ArtifactError, match=says):
        load_artifact(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop("heads.bias"), "heads.bias"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra"),
        (lambda w: w.update({"heads.bias": torch.zeros(2)}), "heads.bias"),
        (lambda w: w.update({"heads.bias": torch.zeros(1).double()}), "heads.bias"),
        (lambda w: w["heads.bias"].fill_(float("nan")), "not finite"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], says: str
) -> None:
    folder = write_artifact(tmp_path / "artifact")
    weights = load_file(folder / "weights.safetensors")
    change(weights)
    save_file(weights, folder / "weights.safetensors", metadata={"training_id": TRAINING_ID})
    accept(folder, "weights.safetensors")

    with pytest.raises(ArtifactError, match=says):
        load_artifact(folder)


class Exploit:
    """Unpickling it would make a folder."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_a_pickle_in_the_place_of_the_weights_is_never_run(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "artifact")
    proof = tmp_path / "proof"
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Exploit(proof)))
    accept(folder, "weights.safetensors")

    with pytest.raises(ArtifactError, match="weights can not be read"):
        load_artifact(folder)

    assert not proof.exists()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
def test_what_is_no_artifact_is_refused(tmp_path: Path, make: Damage) -> None:
    make(tmp_path / "artifact")

    with pytest.raises(ArtifactError):
        load_artifact(tmp_path / "artifact")


def test_a_new_training_replaces_the_old_one_whole(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "artifact")
    write_artifact(folder, seed=1, training_id="a" * 32)

    assert load_artifact(folder).training_id == "a" * 32
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


def test_a_folder_that_holds_something_else_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter.txt").write_text("precious")

    with pytest.raises(ConfigError, match=r"chapter\.txt"):
        write_artifact(folder)

    assert [p.name for p in folder.iterdir()] == ["chapter.txt"]


def test_a_save_that_fails_leaves_the_old_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_artifact(tmp_path / "artifact")
    old = load_artifact(folder)

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modern.transformer.artifact.save_file", disk_full)

    with pytest.raises(OSError, match="No space"):
        save_artifact(
            folder,
            manifest=dict(old.manifest) | {"training_id": "b" * 32},
            features_json=b"{}",
            model=old.model,
            calibrations=old.calibrations,
            rounding=old.rounding,
            metrics={},
            curves="",
        )

    assert load_artifact(folder).training_id == TRAINING_ID
    assert [p.name for p in tmp_path.iterdir()] == ["artifact"]


def test_the_same_training_writes_the_same_bytes(tmp_path: Path) -> None:
    first = write_artifact(tmp_path / "first")
    second = write_artifact(tmp_path / "second")

    for name in EVERY_FILE:
        assert (first / name).read_bytes() == (second / name).read_bytes()
