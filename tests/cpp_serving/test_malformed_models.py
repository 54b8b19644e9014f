"""What only one format or kind of model can have wrong; what all can is in test_malformations.py."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.exactness import xgboost_cases
from cpp_serving._core import TreeScorer
from replay.errors import ArtifactError
from tests.cpp_serving.malformed import json_with, sound_json, sound_text, tree_of

Model = dict[str, Any]


def refusal(data: bytes) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        TreeScorer.from_bytes(data, "stranger.model")
    error = caught.value
    assert error.where.startswith("stranger.model")
    assert len(error.fix) > 10
    return error


def changed(change: Callable[[Model, Model], object], **kind: str) -> ArtifactError:
    """The refusal of a sound model after `change(learner, first tree)`."""
    return refusal(json_with(lambda model: change(model["learner"], tree_of(model)), **kind))


def put(tree: Model, part: str, place: int, value: object) -> None:
    tree[part][place] = value


BROKEN: dict[str, tuple[Callable[[Model, Model], object], str]] = {
    "a parent that is another": (lambda _, tree: put(tree, "parents", 2, 1), "says its parent is"),
    "an infinite leaf": (
        lambda _, tree: put(tree, "split_conditions", tree["left_children"].index(-1), 1e39),
        "its leaf value is not finite",
    ),
    "a split of an unknown type": (lambda _, tree: put(tree, "split_type", 0, 2), "split type 2"),
    "a categorical node without categories": (
        lambda _, tree: put(tree, "split_type", 0, 1),
        "has no categories",
    ),
    "a tree of an output that is not there": (
        lambda learner, _: put(_model_of(learner), "tree_info", 0, 5),
        "belongs to output 5 of 1",
    ),
    "iterations that do not part the trees": (
        lambda learner, _: put(_model_of(learner), "iteration_indptr", 0, 1),
        "iteration_indptr",
    ),
    "a linear booster": (
        lambda learner, _: learner["gradient_booster"].update(name="gblinear"),
        "'gblinear': only gbtree and dart",
    ),
    "a base_score that is no probability": (
        lambda learner, _: learner["learner_model_param"].update(base_score="[2E0]"),
        "has no margin for",
    ),
    "a base_score for other outputs": (
        lambda learner, _: learner["learner_model_param"].update(base_score="[2E-1,3E-1]"),
        "for 1 outputs",
    ),
    "a base_score that is no number": (
        lambda learner, _: learner["learner_model_param"].update(base_score="half"),
        "base_score is 'half'",
    ),
    "names of other features": (
        lambda learner, _: learner.update(feature_names=["one"]),
        "1 feature names for 6",
    ),
}


def _model_of(learner: Model) -> Model:
    model: Model = learner["gradient_booster"]["model"]
    return model


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_xgboost_model_is_refused_by_name(name: str) -> None:
    change, said = BROKEN[name]

    assert said in str(changed(change))


def test_the_place_in_the_file_is_named() -> None:
    def change(_: Model, tree: Model) -> None:
        put(tree, "left_children", 0, "one")

    error = changed(change)

    assert "learner.gradient_booster.model.trees[0].left_children, byte" in error.where


@pytest.mark.parametrize("weights", [[], [1.0], [float("nan")] * 99])
def test_the_weights_of_dart_fit_its_trees(weights: list[float]) -> None:
    def change(learner: Model, _: Model) -> None:
        learner["gradient_booster"]["weight_drop"] = weights

    assert "weight_drop" in str(changed(change, growth="dart"))


def test_categories_lie_within_the_tree() -> None:
    def too_far(_: Model, tree: Model) -> None:
        tree["categories_sizes"][0] = 2**40

    def no_category(_: Model, tree: Model) -> None:
        tree["categories"][0] = 2**24

    assert "lie outside" in str(changed(too_far, growth="categorical"))
    assert "is no category" in str(changed(no_category, growth="categorical"))


def test_a_model_with_vector_leaves_is_refused_as_xgboost_writes_it() -> None:
    import xgboost

    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 3))
    booster = xgboost.train(
        {"multi_strategy": "multi_output_tree", "nthread": 1, "verbosity": 0},
        xgboost.DMatrix(features, features[:, :2], nthread=1),
        num_boost_round=2,
    )

    for form in ("json", "ubj"):
        error = refusal(bytes(booster.save_raw(form)))
        assert "multi_output_tree" in error.what
        assert error.fix.startswith("score it with the library that wrote it")


LIGHTGBM_BROKEN: dict[str, tuple[str, str, str]] = {
    "a linear leaf": ("is_linear=0", "is_linear=1", "linear_tree"),
    "a line twice": ("num_cat=0\n", "num_cat=0\nnum_cat=0\n", "there twice"),
    "other features": ("max_feature_idx=5", "max_feature_idx=2", "6 feature names for 3"),
}


@pytest.mark.parametrize("name", LIGHTGBM_BROKEN)
def test_a_damaged_lightgbm_model_is_refused_by_name(name: str) -> None:
    old, new, said = LIGHTGBM_BROKEN[name]
    assert old in sound_text()

    assert said in str(refusal(sound_text().replace(old, new, 1).encode()))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("decision_type", "15", "a categorical node has no set"),
        ("decision_type", "14", "which is not known"),
        ("threshold", "word", "holds 'word', no number"),
    ],
)
def test_a_damaged_lightgbm_tree_is_refused_by_name(key: str, value: str, said: str) -> None:
    head, sep, rest = sound_text().partition(f"\n{key}=")
    first, _, others = rest.partition(" ")

    assert first
    assert said in str(refusal(f"{head}{sep}{value} {others}".encode()))


@pytest.mark.parametrize("form", ["json", "ubj", "text"])
def test_a_file_that_is_cut_is_refused_wherever_it_is_cut(form: str) -> None:
    data = {
        "json": sound_json,
        "ubj": lambda: xgboost_cases.trained("reg:gamma", "depthwise", seed=7, ubjson=True).data,
        "text": sound_text().partition("end of trees")[0].encode,
    }[form]()

    for length in [*range(64), *range(64, len(data) - 1, max(1, len(data) // 400))]:
        refusal(data[:length])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"binf\0\0\0\0", "old binary format"),
        (b"[]", "no model file"),
        (b"PK\x03\x04", "no model file"),
        (b"{}", "holds no learner.gradient_booster"),
        (b'{"a":' + b"[" * 100_000, "more than 64 deep"),
        (b'{"a":' * 100_000, "more than 64 deep"),
        (b'{"version":[3,2,0],"version":[3,2,0]}', "there twice"),
        (b'{"version":[3,2,0]} {"version":[]}', "goes on after its end"),
        (b'{"\xff":1}', "not UTF-8"),
        (b'{"a":"\\q"}', "means nothing"),
        (b"{L" + struct.pack(">q", -1), "a length is negative"),
        (b"{L" + struct.pack(">q", 2**62), "cut short"),
        (b"{i\x07version[$l#L" + struct.pack(">q", 2**61), "which the document can not hold"),
        (b"{i\x01a[$Z#L" + struct.pack(">q", 2**40), "not written by XGBoost"),
        (b"tree\nversion=v4\n", "no tree comes after it"),
        (b"tree\nversion=v4\nTree=0\n", "no line"),
    ],
)
def test_what_is_no_model_is_refused_with_its_reason(data: bytes, said: str) -> None:
    assert said in str(refusal(data))


def test_a_small_file_takes_little_memory() -> None:
    """Category 16,777,215 would need 2 MiB as a bit set; 100 of them, 200 MiB."""
    import resource

    model = json.loads(sound_json(growth="categorical"))
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["categories"] = [2**24 - 1 for _ in tree["categories"]]
    data = json.dumps(model).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    scorers = [TreeScorer.from_bytes(data, "large categories") for _ in range(100)]

    assert len(scorers) == 100
    # Kibibytes on Linux.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
