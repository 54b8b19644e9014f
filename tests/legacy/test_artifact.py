import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legacy import artifact as module
from legacy.artifact import FILES, open_artifact
from legacy.artifact import write_artifact as write
from replay.errors import ArtifactError
from tests.artifacts import write_artifact


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("artifact") / "legacy", num_trees=5)


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "legacy"))


def test_what_was_written_is_read_back(written: Path) -> None:
    opened = open_artifact(written)

    assert len(opened.training_id) == 32
    assert len(opened.trees.trees) == 5
    assert opened.model.features.training_id == opened.training_id
    weights = opened.model.regression
    assert weights.leaf_weights.dtype == weights.category_weights.dtype == np.float32
    assert len(weights.leaf_weights) == weights.leaf_offsets[-1]
    assert opened.model.calibration.slope == 0.9


def test_the_same_training_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = write_artifact(tmp_path / "again", num_trees=5)

    for name in (*FILES, "manifest.json"):
        assert (again / name).read_bytes() == (written / name).read_bytes()


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_file_cut_short_is_refused_by_name(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) * 2 // 3])

    with pytest.raises(ArtifactError, match=f"{name}.*cut short or changed") as caught:
        open_artifact(folder)
    assert name in caught.value.where


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_refused_by_name(folder: Path, name: str) -> None:
    original = (folder / name).read_bytes()
    for place in np.random.default_rng(1).integers(len(original), size=25):
        data = bytearray(original)
        data[place] ^= 1
        (folder / name).write_bytes(data)

        with pytest.raises(ArtifactError, match=name):
            open_artifact(folder)


def test_one_changed_byte_of_the_manifest_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    original = path.read_bytes()
    for place in range(0, len(original), 7):
        data = bytearray(original)
        data[place] ^= 1
        path.write_bytes(data)

        with pytest.raises(ArtifactError):
            open_artifact(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_training_is_refused_as_such(
    folder: Path, tmp_path: Path, name: str
) -> None:
    other = write_artifact(tmp_path / "other", num_trees=5, seed=1)
    shutil.copy(other / name, folder / name)

    with pytest.raises(ArtifactError, match=f"{name} comes from training"):
        open_artifact(folder)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(ArtifactError, match=f"{name} can not be read: No such file"):
        open_artifact(folder)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json can not be read"):
        open_artifact(tmp_path / "nowhere")


def test_an_unknown_version_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace("parity.legacy/1", "parity.legacy/9"))

    with pytest.raises(ArtifactError, match=r"'parity\.legacy/9'"):
        open_artifact(folder)


def reseal(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    """Change a JSON file and make the manifest's digest fit it, as a faulty writer would."""
    value = json.loads((folder / name).read_bytes())
    change(value)
    data = json.dumps(value).encode()
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = module._digest(data)
    (folder / "manifest.json").write_bytes(module._json_bytes(manifest))


def first_tree(model: Any) -> Any:
    return model["learner"]["gradient_booster"]["model"]["trees"][0]


def set_in_tree(field: str, place: int, value: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        first_tree(model)[field][place] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_in_tree("left_children", 0, 10_000), "do not form one tree"),
        (set_in_tree("left_children", 0, 0), "do not form one tree"),
        (set_in_tree("left_children", 0, -1), "a node has one child"),
        (set_in_tree("split_indices", 0, 99), "splits on a feature that does not exist"),
        (set_in_tree("split_conditions", 0, 1e60), "a threshold is not finite"),
        (lambda m: first_tree(m).update(split_conditions=[]), "one value a node"),
        (lambda m: first_tree(m).update(left_children=["x"]), "tree 0 .* malformed"),
        (lambda m: m["learner"].pop("gradient_booster"), "lacks 'gradient_booster'"),
        (lambda m: m["learner"]["gradient_booster"].update(name="dart"), "'dart'"),
        (lambda m: m["learner"]["feature_names"].reverse(), "the booster's features are"),
    ],
)
def test_a_malformed_tree_is_refused_before_xgboost_sees_it(
    folder: Path, change: Callable[[Any], None], says: str
) -> None:
    reseal(folder, "booster.json", change)

    with pytest.raises(ArtifactError, match=says):
        open_artifact(folder)


def test_a_cycle_is_refused(folder: Path) -> None:
    def swap_two_subtrees(model: Any) -> None:
        tree = first_tree(model)
        left, right = tree["left_children"], tree["right_children"]
        inner = [node for node in range(1, len(left)) if left[node] >= 0][:2]
        # Each becomes a child of the other: every node still is somebody's child once.
        for children in (left, right):
            for node, child in enumerate(children):
                if child == inner[0]:
                    children[node] = left[inner[1]]
                elif child == inner[1] and node == inner[0]:
                    children[node] = inner[1]
        left[inner[1]] = inner[0]

    reseal(folder, "booster.json", swap_two_subtrees)

    with pytest.raises(ArtifactError, match=r"child|one tree"):
        open_artifact(folder)


def test_a_feature_set_of_other_columns_is_refused(folder: Path) -> None:
    def widen(value: Any) -> None:
        (ad,) = (f for f in value["features"] if f["name"] == "ad")
        ad["vocabulary"].append(2**63 - 1)

    reseal(folder, "features.json", widen)

    with pytest.raises(ArtifactError, match="category weights for"):
        open_artifact(folder)


def test_an_artifact_is_replaced_as_a_whole(folder: Path, tmp_path: Path) -> None:
    (folder / "left-over.txt").write_text("x")
    other = open_artifact(write_artifact(tmp_path / "other", num_trees=4, seed=5))

    write_artifact(folder, num_trees=4, seed=5)

    assert open_artifact(folder).training_id == other.training_id
    assert not (folder / "left-over.txt").exists()


def test_a_failed_write_leaves_what_stood(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_artifact(folder)

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("legacy.artifact.os.fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write(folder, model=before.model, facts=_facts_of(folder))
    monkeypatch.undo()

    assert open_artifact(folder).training_id == before.training_id
    assert [path.name for path in folder.parent.iterdir()] == ["legacy"]


def _facts_of(folder: Path) -> module.TrainingFacts:
    manifest = json.loads((folder / "manifest.json").read_text())
    return module.TrainingFacts(
        trained_on=tuple(manifest["trained_on"]),
        **{k: manifest[k] for k in ("log_digest", "feature_set", "seed", "versions", "config")},
    )
