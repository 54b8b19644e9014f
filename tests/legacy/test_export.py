"""The exporter writes docs/formats.md's file: whole, deterministic, or not at all."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legacy import export as module
from legacy.artifact import open_artifact
from legacy.export import export
from replay.errors import ArtifactError
from tests.artifacts import FEATURES, write_artifact

SECTIONS = [
    "names", "program", "edges", "vocabularies", "trees", "leaf_weights", "category_weights",
    "calibration",
]  # fmt: skip


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    return write_artifact(tmp_path / "legacy")


def sections_of(data: bytes) -> dict[str, bytes]:
    """Read independently of the writer, byte by byte as docs/formats.md says."""
    assert data[:8] == b"PARITYSC"
    version, count, length, crc, zero = struct.unpack_from("<IIQII", data, 8)
    assert (version, count, length, zero) == (1, 8, len(data), 0)
    assert zlib.crc32(data[:24] + bytes(4) + data[28:]) == crc
    found = {}
    end = 64 + 40 * count
    for place in range(count):
        name, offset, size, crc, zero = struct.unpack_from("<16sQQII", data, 64 + 40 * place)
        assert offset % 64 == 0
        assert not any(data[end:offset])
        section = data[offset : offset + size]
        assert (zlib.crc32(section), zero) == (crc, 0)
        found[name.rstrip(b"\0").decode()] = section
        end = offset + size
    assert not any(data[end:])
    return found


def names_of(section: bytes) -> list[str]:
    (count,) = struct.unpack_from("<I", section)
    offsets = np.frombuffer(section, "<u4", count + 1, 4)
    text = section[4 + 4 * (count + 1) :]
    return [text[a:b].decode() for a, b in pairwise(offsets)]


def test_the_file_is_as_the_format_says(legacy: Path, tmp_path: Path) -> None:
    export(legacy, tmp_path / "scorer.bin")

    data = (tmp_path / "scorer.bin").read_bytes()
    sections = sections_of(data)
    model = open_artifact(legacy).model
    assert list(sections) == SECTIONS
    assert data[32:64].decode() == json.loads((legacy / "manifest.json").read_text())["training_id"]
    np.testing.assert_array_equal(
        np.frombuffer(sections["leaf_weights"], "<f4"), model.regression.leaf_weights
    )
    np.testing.assert_array_equal(
        np.frombuffer(sections["category_weights"], "<f4"), model.regression.category_weights
    )
    bias, zero, slope, intercept = struct.unpack("<fIdd", sections["calibration"])
    assert (bias, zero) == (float(model.regression.bias), 0)
    assert (slope, intercept) == (model.calibration.slope, model.calibration.intercept)
    assert np.frombuffer(sections["edges"], "<f8").tolist() == [
        edge for f in FEATURES if f["kind"] == "bucket" for edge in f["edges"]
    ]
    assert np.frombuffer(sections["vocabularies"], "<i8").tolist() == [
        place for f in FEATURES if f["kind"] == "id" for place in f["vocabulary"]
    ]


def test_every_feature_has_its_record(legacy: Path, tmp_path: Path) -> None:
    export(legacy, tmp_path / "scorer.bin")

    sections = sections_of((tmp_path / "scorer.bin").read_bytes())
    names = names_of(sections["names"])
    count, money = struct.unpack_from("<II", sections["program"])
    assert count == len(FEATURES)
    assert names[money] == "candidate.bid_micros"
    records = {}
    for place in range(count):
        record = struct.unpack_from("<II3IIiIIIIIdd", sections["program"], 8 + 64 * place)
        paths = [names[i] for i in record[2:5] if i != 0xFFFFFFFF]
        records[names[record[1]]] = (record[0], paths, *record[5:])
    assert list(records) == [feature["name"] for feature in FEATURES]
    assert records["page_hour"] == (2, ["context.page_at"], 0, -210, 0, 0, 0, 0, 0, 0.0, 0.0)
    assert records["user_ctr"][1] == ["user.clicks", "user.impressions"]
    assert records["user_ctr"][-2:] == (0.1, 20.0)
    assert records["category_matches"][:2] == (9, ["history.category", "candidate.category"])
    assert records["temperature_bucket"] == (
        10, ["context.temperature"], 0, 0, 0, 0, 5, 2, 0, 0.0, 0.0,
    )  # fmt: skip
    assert records["cross"] == (
        11,
        ["user.segment", "candidate.advertiser_id", "candidate.fresh"],
        1, 0, 4294967295, 32, 0, 0, 0, 0.0, 0.0,
    )  # fmt: skip


def test_nodes_lie_breadth_first_and_leaves_keep_their_ordinals(
    legacy: Path, tmp_path: Path
) -> None:
    """Every tree of the file is the booster's, followed node by node from the root."""
    export(legacy, tmp_path / "scorer.bin")

    section = sections_of((tmp_path / "scorer.bin").read_bytes())["trees"]
    booster = json.loads((legacy / "booster.json").read_bytes())
    trees = booster["learner"]["gradient_booster"]["model"]["trees"]
    num_trees, num_features, num_nodes, _ = struct.unpack_from("<IIII", section)
    assert (num_trees, num_features) == (len(trees), len(booster["learner"]["feature_names"]))
    offsets = np.frombuffer(section, "<u4", num_trees + 1, 16)
    kind = np.dtype([("threshold", "<f4"), ("feature", "<u4"), ("left", "<u4")])
    nodes = np.frombuffer(section, kind, num_nodes, 16 + 8 * (num_trees + 1))
    for tree, begin, end in zip(trees, offsets, offsets[1:], strict=False):
        leaves = [i for i, left in enumerate(tree["left_children"]) if left < 0]
        pairs = [(0, 0)]
        for place, node in pairs:
            entry = nodes[begin + place]
            if tree["left_children"][node] < 0:
                assert entry["feature"] == 0xFFFFFFFF
                assert entry["left"] == leaves.index(node)
                continue
            assert entry["threshold"] == np.float32(tree["split_conditions"][node])
            assert entry["feature"] & 0x7FFFFFFF == tree["split_indices"][node]
            assert entry["feature"] >> 31 == tree["default_left"][node]
            pairs.append((int(entry["left"]), tree["left_children"][node]))
            pairs.append((int(entry["left"]) + 1, tree["right_children"][node]))
        assert [place for place, _ in pairs] == list(range(end - begin))


def test_the_same_artifact_gives_the_same_bytes(legacy: Path, tmp_path: Path) -> None:
    export(legacy, tmp_path / "a" / "scorer.bin")
    export(legacy, tmp_path / "b.bin")

    assert (tmp_path / "a" / "scorer.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b.bin", "legacy"]


def test_a_failed_export_leaves_the_old_file_and_nothing_else(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "scorer.bin"
    export(legacy, out)
    before = out.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        export(write_artifact(tmp_path / "other", seed=1), out)

    assert out.read_bytes() == before
    assert [p.name for p in out.parent.iterdir()] == ["scorer.bin"]


def test_an_artifact_that_was_changed_is_refused(legacy: Path, tmp_path: Path) -> None:
    with (legacy / "booster.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(ArtifactError, match=r"booster\.json"):
        export(legacy, tmp_path / "scorer.bin")
    assert not (tmp_path / "scorer.bin").exists()


def _dart(model: dict[str, Any]) -> None:
    model["learner"]["gradient_booster"]["model"]["weight_drop"] = [1.0]


def _classes(model: dict[str, Any]) -> None:
    model["learner"]["learner_model_param"]["num_class"] = "3"


def _class_of_a_tree(model: dict[str, Any]) -> None:
    model["learner"]["gradient_booster"]["model"]["tree_info"][1] = 1


def _targets(model: dict[str, Any]) -> None:
    model["learner"]["learner_model_param"]["num_target"] = "2"


def _vector_leaves(model: dict[str, Any]) -> None:
    tree = model["learner"]["gradient_booster"]["model"]["trees"][3]
    tree["tree_param"]["size_leaf_vector"] = "2"


def _categorical(model: dict[str, Any]) -> None:
    model["learner"]["gradient_booster"]["model"]["trees"][2]["split_type"][0] = 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_dart, "DART"),
        (_classes, "several classes"),
        (_class_of_a_tree, "several classes"),
        (_targets, "several targets"),
        (_vector_leaves, "leaves of tree 3"),
        (_categorical, "splits in tree 2"),
    ],
)
def test_boosters_that_the_scorer_can_not_honour_are_refused_by_name(
    legacy: Path, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    model = json.loads((legacy / "booster.json").read_bytes())
    module._refuse_unsupported(model, where=legacy / "booster.json")
    change(model)

    with pytest.raises(ArtifactError, match=named) as raised:
        module._refuse_unsupported(model, where=legacy / "booster.json")
    assert "booster.json" in raised.value.where
