"""A model file that is not sound is refused before it is scored: what, where, and what to do."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from benchmarks.exactness import xgboost_cases
from cpp_serving._core import TreeScorer
from replay.errors import ArtifactError
from tests.cpp_serving.test_tree_scorer import a_case

Model = dict[str, Any]


@cache
def _json(objective: str = "binary:logistic", growth: str = "depthwise") -> bytes:
    # Seed 7 grows trees of several levels: nodes 1 to 4 exist in the first.
    return a_case("xgboost", objective, growth, seed=7).data


@cache
def _text(growth: str = "leaves") -> str:
    return a_case("lightgbm", "binary", growth, seed=7).data.decode()


def refusal(data: bytes) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        TreeScorer.from_bytes(data, "stranger.model")
    error = caught.value
    assert error.where.startswith("stranger.model")
    assert len(error.fix) > 10
    return error


def changed(change: Callable[[Model, Model], object], **kind: str) -> ArtifactError:
    """The refusal of a sound model after `change(learner, first tree)`."""
    model = json.loads(_json(**kind))
    booster = model["learner"]["gradient_booster"]
    tree = (booster.get("gbtree") or booster)["model"]["trees"][0]
    before = copy.deepcopy(model)
    change(model["learner"], tree)
    assert model != before
    return refusal(json.dumps(model).encode())


def put(tree: Model, part: str, place: int, value: object) -> None:
    tree[part][place] = value


def swap_siblings(tree: Model) -> None:
    """The root's children change places, in every part that names them."""
    tree["left_children"][0], tree["right_children"][0] = 2, 1


def delete_parents(tree: Model) -> None:
    tree["parents"] = []


BROKEN: dict[str, tuple[Callable[[Model, Model], object], str]] = {
    "a child that is not there": (
        lambda _, tree: put(tree, "left_children", 0, 9999),
        "its child is node 9999",
    ),
    "a negative child": (
        lambda _, tree: put(tree, "right_children", 0, -7),
        "its child is node -7",
    ),
    "a cycle": (
        lambda _, tree: (put(tree, "left_children", 1, 0), delete_parents(tree)),
        "a cycle, or a child of two parents",
    ),
    "a parent that is another": (lambda _, tree: put(tree, "parents", 2, 1), "says its parent is"),
    "a bad split index": (lambda _, tree: put(tree, "split_indices", 0, 600), "a bad split index"),
    "a negative split index": (
        lambda _, tree: put(tree, "split_indices", 0, -1),
        "bad split index",
    ),
    "swapped siblings": (lambda _, tree: swap_siblings(tree), "siblings swapped"),
    "a threshold that is no number": (
        lambda _, tree: put(tree, "split_conditions", 0, float("nan")),
        "its threshold is no number",
    ),
    "an infinite leaf": (
        lambda _, tree: put(tree, "split_conditions", tree["left_children"].index(-1), 1e39),
        "its leaf value is not finite",
    ),
    "a node on no path": (
        lambda _, tree: (put(tree, "left_children", 0, -1), put(tree, "right_children", 0, -1)),
        "are on no path from the root",
    ),
    "a huge count of nodes": (
        lambda _, tree: tree["tree_param"].update(num_nodes="4000000000"),
        "says there are 4000000000 nodes",
    ),
    "parts of other sizes": (lambda _, tree: tree["default_left"].pop(), "of other sizes"),
    "a part that is missing": (lambda _, tree: tree.pop("right_children"), "are missing"),
    "a vector in the leaves": (
        lambda _, tree: tree["tree_param"].update(size_leaf_vector="3"),
        "multi_output_tree",
    ),
    "a split of an unknown type": (lambda _, tree: put(tree, "split_type", 0, 2), "split type 2"),
    "a categorical node without categories": (
        lambda _, tree: put(tree, "split_type", 0, 1),
        "has no categories",
    ),
    "a huge count of trees": (
        lambda learner, _: _model_of(learner)["gbtree_model_param"].update(num_trees="1000000000"),
        "gbtree_model_param says 1000000000",
    ),
    "a tree of an output that is not there": (
        lambda learner, _: put(_model_of(learner), "tree_info", 0, 5),
        "belongs to output 5 of 1",
    ),
    "iterations that do not part the trees": (
        lambda learner, _: put(_model_of(learner), "iteration_indptr", 0, 1),
        "iteration_indptr",
    ),
    "no trees": (lambda learner, _: _model_of(learner)["trees"].clear(), "no trees"),
    "a linear booster": (
        lambda learner, _: learner["gradient_booster"].update(name="gblinear"),
        "'gblinear': only gbtree and dart",
    ),
    "an unknown objective": (
        lambda learner, _: learner["objective"].update(name="reg:mine"),
        "'reg:mine', whose prediction is not known",
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
    "a huge count of classes": (
        lambda learner, _: learner["learner_model_param"].update(num_class="2000000000"),
        "2000000000 outputs",
    ),
    "a huge count of features": (
        lambda learner, _: learner["learner_model_param"].update(num_feature="99999999999"),
        "99999999999 features",
    ),
    "a count that is none": (
        lambda learner, _: learner["learner_model_param"].update(num_feature="-6"),
        "no whole number from 0",
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
        assert "multi_output_tree" in str(refusal(bytes(booster.save_raw(form))))


LIGHTGBM_BROKEN: dict[str, tuple[str, str, str]] = {
    "a linear leaf": ("is_linear=0", "is_linear=1", "linear_tree"),
    "an unknown objective": ("objective=binary", "objective=mine", "'mine'"),
    "another version": ("version=v4", "version=v9", "'v9'"),
    "a huge count of outputs": (
        "num_tree_per_iteration=1",
        "num_tree_per_iteration=999999999999",
        "num_tree_per_iteration is 999999999999",
    ),
    "a line twice": ("num_cat=0\n", "num_cat=0\nnum_cat=0\n", "there twice"),
    "other features": ("max_feature_idx=5", "max_feature_idx=2", "6 feature names for 3"),
}


@pytest.mark.parametrize("name", LIGHTGBM_BROKEN)
def test_a_damaged_lightgbm_model_is_refused_by_name(name: str) -> None:
    old, new, said = LIGHTGBM_BROKEN[name]
    assert old in _text()

    assert said in str(refusal(_text().replace(old, new, 1).encode()))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("left_child", "9999", "has the child 9999"),
        ("left_child", "0", "a cycle, or a child of two parents"),
        ("right_child", "-9999", "has the child -9999"),
        ("split_feature", "77", "a bad split index"),
        ("threshold", "nan", "its threshold is no number"),
        ("leaf_value", "inf", "its leaf value is not finite"),
        ("decision_type", "15", "a categorical node has no set"),
        ("decision_type", "14", "which is not known"),
        ("threshold", "word", "holds 'word', no number"),
    ],
)
def test_a_damaged_lightgbm_tree_is_refused_by_name(key: str, value: str, said: str) -> None:
    head, sep, rest = _text().partition(f"\n{key}=")
    first, _, others = rest.partition(" ")

    assert first
    assert said in str(refusal(f"{head}{sep}{value} {others}".encode()))


@pytest.mark.parametrize("form", ["json", "ubj", "text"])
def test_a_file_that_is_cut_is_refused_wherever_it_is_cut(form: str) -> None:
    data = {
        "json": _json,
        "ubj": lambda: xgboost_cases.trained("reg:gamma", "depthwise", seed=7, ubjson=True).data,
        "text": _text().partition("end of trees")[0].encode,
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
        (b"tree\nversion=v4\n", "no line"),
    ],
)
def test_what_is_no_model_is_refused_with_its_reason(data: bytes, said: str) -> None:
    assert said in str(refusal(data))


def test_a_small_file_takes_little_memory() -> None:
    """Category 16,777,215 would need 2 MiB as a bit set; 100 of them, 200 MiB."""
    import resource

    model = json.loads(_json(growth="categorical"))
    tree = model["learner"]["gradient_booster"]["model"]["trees"][0]
    tree["categories"] = [2**24 - 1 for _ in tree["categories"]]
    data = json.dumps(model).encode()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    scorers = [TreeScorer.from_bytes(data, "large categories") for _ in range(100)]

    assert len(scorers) == 100
    # Kibibytes on Linux.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
