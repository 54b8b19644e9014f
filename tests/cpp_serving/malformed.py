"""Sound model files of each format, small enough to read, and ways to put a malformation into them."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cpp_serving.scorer_file import ScorerFile
from tests.cpp_serving.opened import exported
from tests.cpp_serving.test_tree_scorer import a_case

Model = dict[str, Any]
# How XGBoost's UBJSON writes a list's numbers; in others each value says its own type.
_TYPES = {
    "split_conditions": "d", "base_weights": "d", "loss_changes": "d", "sum_hessian": "d",
    "weight_drop": "d", "left_children": "l", "right_children": "l", "parents": "l",
    "split_indices": "l", "categories": "l", "categories_nodes": "l", "categories_segments": "L",
    "categories_sizes": "L", "default_left": "U", "split_type": "U",
}  # fmt: skip
_FORMS = {"d": ">f", "l": ">i", "L": ">q", "U": ">B"}


@cache
def sound_json(growth: str = "depthwise") -> bytes:
    """Seed 7 grows trees of several levels: nodes 1 to 4 exist in the first."""
    return a_case("xgboost", "binary:logistic", growth, seed=7).data


@cache
def sound_text(growth: str = "leaves") -> str:
    return a_case("lightgbm", "binary", growth, seed=7).data.decode()


@cache
def sound_artifact() -> bytes:
    with TemporaryDirectory() as folder:
        return exported(Path(folder)).read_bytes()


def json_with(edit: Callable[[Model], object], growth: str = "depthwise") -> bytes:
    """XGBoost's JSON, its model edited."""
    return json.dumps(_edited(edit, growth)).encode()


def ubjson_with(edit: Callable[[Model], object], growth: str = "depthwise") -> bytes:
    """The same as UBJSON, as XGBoost writes it."""
    return ubjson(_edited(edit, growth))


def text_with(edit: Callable[[Text], object], growth: str = "leaves") -> bytes:
    """LightGBM's text, edited."""
    text = Text(sound_text(growth))
    edit(text)
    assert text.text != sound_text(growth)
    return text.text.encode()


def artifact_with(edit: Callable[[ScorerFile], object]) -> bytes:
    """The scorer's own file, edited, its checksums renewed."""
    file = ScorerFile(sound_artifact())
    edit(file)
    data = file.sealed()
    assert data != sound_artifact()
    return data


def _edited(edit: Callable[[Model], object], growth: str) -> Model:
    model: Model = json.loads(sound_json(growth))
    before = copy.deepcopy(model)
    edit(model)
    assert repr(model) != repr(before)  # NaN is unlike itself
    return model


class Text:
    """LightGBM's text; a number of the first tree is put by its line and place."""

    def __init__(self, text: str) -> None:
        self.text = text

    def put(self, key: str, place: int, value: object) -> None:
        head, sep, rest = self.text.partition(f"\n{key}=")
        line, end, tail = rest.partition("\n")
        words = line.split(" ")
        words[place] = str(value)
        self.text = f"{head}{sep}{' '.join(words)}{end}{tail}"

    def replace(self, old: str, new: str) -> None:
        assert old in self.text
        self.text = self.text.replace(old, new, 1)


def tree_of(model: Model) -> Model:
    booster = model["learner"]["gradient_booster"]
    tree: Model = (booster.get("gbtree") or booster)["model"]["trees"][0]
    return tree


def nodes_of(file: ScorerFile) -> NDArray[np.uint32]:
    """[node, 3] of the first tree and those after it: threshold's bits, feature, left child."""
    return file._nodes()


def header_of(file: ScorerFile, section: str) -> NDArray[np.uint32]:
    """The numbers that a section begins with."""
    return file.values(section, "<u4")


def ubjson(value: object, key: str = "") -> bytes:
    """A value of JSON as XGBoost's UBJSON; lengths are int64."""
    if isinstance(value, dict):
        members = (_text(name) + ubjson(own, name) for name, own in value.items())
        return b"{" + b"".join(members) + b"}"
    if isinstance(value, list):
        code = _TYPES.get(key, "")
        if code and all(isinstance(one, int | float) for one in value):
            head = b"[$" + code.encode() + b"#L" + struct.pack(">q", len(value))
            return head + b"".join(struct.pack(_FORMS[code], _fits(code, one)) for one in value)
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(ubjson(one) for one in value)
    if isinstance(value, str):
        return b"S" + _text(value)
    if isinstance(value, bool) or value is None:
        return {True: b"T", False: b"F", None: b"Z"}[value]
    if isinstance(value, int):
        return b"L" + struct.pack(">q", value)
    return b"d" + struct.pack(">f", value)


def _fits(code: str, number: float) -> float:
    return number if code != "d" else float(np.float32(number))


def _text(text: str) -> bytes:
    data = text.encode()
    return b"L" + struct.pack(">q", len(data)) + data
