"""Writes what a training learned as the one file the C++ scorer maps (docs/formats.md)."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from legacy.artifact import LegacyArtifact, open_artifact
from legacy.feature_set import Feature, FeatureSet
from legacy.trees import Tree, Trees
from replay.errors import ArtifactError

MAGIC = b"PARITYSC"
VERSION = 1
ALIGNMENT = 64
NONE = 0xFFFFFFFF
MISSING_GOES_LEFT = 0x80000000

# Numbers of the kinds in the file; never renumber, only append.
KINDS: Mapping[str, int] = {
    "number": 0,
    "log1p": 1,
    "hour": 2,
    "weekday": 3,
    "recency": 4,
    "rate": 5,
    "tokens": 6,
    "history_count": 7,
    "history_recency": 8,
    "history_matches": 9,
    "bucket": 10,
    "hash": 11,
    "id": 12,
}
_RECORD = struct.Struct("<IIIIIIiIIIIIdd")
_NODE = np.dtype([("threshold", "<f4"), ("feature", "<u4"), ("left", "<u4")])


def export(artifact: Path, out: Path) -> None:
    """Write the scorer's file of a legacy artifact, whole or not at all.

    The same artifact gives the same bytes.

    Raises:
        ArtifactError: The artifact is not sound, or has what the scorer can not honour
            (DART, several classes or targets, categorical splits), named.
    """
    opened = open_artifact(artifact)
    _refuse_unsupported(json.loads(opened.model.booster), where=artifact / "booster.json")
    data = scorer_bytes(opened)
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(out)
    finally:
        Path(temporary).unlink(missing_ok=True)


def scorer_bytes(artifact: LegacyArtifact) -> bytes:
    """The scorer's file of an opened artifact, as bytes."""
    model = artifact.model
    names = _Names()
    program, edges, vocabularies = _program(model.features, names)
    regression, calibration = model.regression, model.calibration
    sections = {
        "names": names.to_bytes(),
        "program": program,
        "edges": np.asarray(edges, dtype="<f8").tobytes(),
        "vocabularies": np.asarray(vocabularies, dtype="<i8").tobytes(),
        "trees": _trees(artifact.trees, len(model.features.real)),
        "leaf_weights": regression.leaf_weights.astype("<f4").tobytes(),
        "category_weights": regression.category_weights.astype("<f4").tobytes(),
        "calibration": struct.pack(
            "<fIdd", regression.bias, 0, calibration.slope, calibration.intercept
        ),
    }
    return _assembled(sections, training_id=artifact.training_id)


class _Names:
    """Every text of the file, each once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def place(self, name: str) -> int:
        return self._places.setdefault(name, len(self._places))

    def to_bytes(self) -> bytes:
        texts = [name.encode() for name in self._places]
        offsets = np.cumsum([0, *(len(text) for text in texts)])
        count = struct.pack("<I", len(texts))
        return count + offsets.astype("<u4").tobytes() + b"".join(texts)


def _program(features: FeatureSet, names: _Names) -> tuple[bytes, Sequence[float], Sequence[int]]:
    edges: list[float] = []
    vocabularies: list[int] = []
    money = NONE if features.money is None else names.place(features.money)
    records = [struct.pack("<II", len(features.features), money)]
    for feature in features.features:
        parameters = feature.parameters
        window = (0, 0)
        if feature.kind == "bucket":
            window = (len(edges), len(parameters["edges"]))
            edges.extend(float(edge) for edge in parameters["edges"])
        elif feature.kind == "id":
            window = (len(vocabularies), len(parameters["vocabulary"]))
            vocabularies.extend(parameters["vocabulary"])
        places = [names.place(path) for path in _paths(feature)]
        records.append(
            _RECORD.pack(
                KINDS[feature.kind],
                names.place(feature.name),
                *places,
                *[NONE] * (3 - len(places)),
                parameters.get("normalise") == "lower",
                parameters.get("utc_offset_minutes", 0),
                parameters.get("seed", 0),
                parameters.get("buckets", 0),
                *window,
                0,
                parameters.get("prior", 0.0),
                parameters.get("weight", 0.0),
            )
        )
    return b"".join(records), edges, vocabularies


def _paths(feature: Feature) -> tuple[str, ...]:
    if feature.kind == "history_matches":
        return (f"history.{feature.parameters['field']}", *feature.sources)
    return feature.sources


def _trees(trees: Trees, num_features: int) -> bytes:
    laid_out = [_breadth_first(tree) for tree in trees.trees]
    node_offsets = np.cumsum([0, *(len(nodes) for nodes in laid_out)])
    header = struct.pack(
        "<IIII", len(laid_out), num_features, node_offsets[-1], trees.leaf_offsets[-1]
    )
    return b"".join(
        [
            header,
            node_offsets.astype("<u4").tobytes(),
            trees.leaf_offsets.astype("<u4").tobytes(),
            *(nodes.tobytes() for nodes in laid_out),
        ]
    )


def _breadth_first(tree: Tree) -> NDArray[Any]:
    """The nodes of a tree in the file's order; leaves keep their ordinal by node id."""
    ordinal = {int(node): place for place, node in enumerate(tree.leaf_nodes)}
    order = [0]
    nodes = np.zeros(len(tree.left), dtype=_NODE)
    for place in range(len(tree.left)):
        node = order[place]
        if tree.left[node] < 0:
            nodes[place] = (0.0, NONE, ordinal[node])
            continue
        feature = int(tree.split_feature[node])
        feature |= MISSING_GOES_LEFT if tree.default_left[node] else 0
        nodes[place] = (tree.threshold[node], feature, len(order))
        order += [int(tree.left[node]), int(tree.right[node])]
    return nodes


def _assembled(sections: Mapping[str, bytes], *, training_id: str) -> bytes:
    """Header, section table and sections, each at a multiple of 64, with all checksums."""
    table = b""
    body = b""
    start = _aligned(64 + 40 * len(sections))
    for name, data in sections.items():
        offset = start + len(body)
        table += struct.pack("<16sQQII", name.encode(), offset, len(data), zlib.crc32(data), 0)
        body += data.ljust(_aligned(len(data)), b"\0")

    def header(checksum: int) -> bytes:
        length = start + len(body)
        fixed = struct.pack("<8sIIQII", MAGIC, VERSION, len(sections), length, checksum, 0)
        return fixed + training_id.encode().ljust(32, b"\0")[:32]

    rest = table.ljust(start - 64, b"\0") + body
    return header(zlib.crc32(header(0) + rest)) + rest


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _refuse_unsupported(booster: Any, *, where: Path) -> None:
    """Refuse boosters whose leaves mean something else than one weight of one class."""
    learner = booster["learner"]
    parameters = learner.get("learner_model_param", {})
    model = learner["gradient_booster"]["model"]
    found: str | None = None
    if "weight_drop" in learner["gradient_booster"] or "weight_drop" in model:
        found = "DART tree weights ('weight_drop')"
    elif int(parameters.get("num_class", "0")) > 1 or any(model.get("tree_info", ())):
        found = "several classes"
    elif int(parameters.get("num_target", "1")) > 1:
        found = "several targets"
    for place, tree in enumerate(model["trees"]):
        if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
            found = f"vectors in the leaves of tree {place}"
        if tree.get("categories_nodes") or any(tree.get("split_type", ())):
            found = f"categorical splits in tree {place}"
    if found is not None:
        raise ArtifactError(
            f"the booster has {found}, which the scorer can not honour.",
            where=str(where),
            fix="train a gbtree of one class and one target on numeric features",
        )
