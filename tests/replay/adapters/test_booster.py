"""Bare boosters as stacks: the contract, the library's own answers, and faults named."""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm
import numpy as np
import pytest
import xgboost

from replay.adapters.model_stack import ModelStack
from replay.capabilities import Fault
from replay.conformance import CLAIMS, Claim
from replay.errors import ArtifactError, ConfigError, StackError
from tests.builders import random_batch
from tests.replay.adapters.boosters import HERE, NAMES, arrays, example, opened, saved
from tests.replay.adapters.opened import causes_between

KINDS = ("xgboost", "dart", "categorical", "lightgbm", "forest")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize("kind", ["categorical", "lightgbm"])
def test_a_booster_keeps_the_contract(claim: Claim, kind: str, paths: dict[str, Path]) -> None:
    assert claim(opened(paths[kind]), random_batch(24, 6, seed=8)) == []


def test_its_logit_is_the_librarys_within_what_sums_may_differ_by(
    kind: str, paths: dict[str, Path]
) -> None:
    stack = opened(paths[kind])

    trace = stack.score(example(), capture=["logit", "pctr", "gbdt.leaves"])

    given = arrays(example())
    of = example().keys.request_of("candidate")
    matrix = np.column_stack([given["dense"], given["slot"][of], given["age"][of]])
    if kind in ("lightgbm", "forest"):
        booster = lightgbm.Booster(model_file=paths[kind])
        expected = np.asarray(booster.predict(matrix))
    else:
        model = xgboost.Booster(model_file=paths[kind])
        rows = xgboost.DMatrix(matrix, feature_names=list(NAMES), enable_categorical=True,
                               feature_types=model.feature_types)  # fmt: skip
        expected = model.predict(rows)
    np.testing.assert_allclose(trace["pctr"], expected, rtol=0, atol=2e-7)
    assert stack.observation.largest < 1e-6
    assert len(np.unique(trace["gbdt.leaves"])) > 3


def test_two_forms_of_one_model_have_no_cause(paths: dict[str, Path], tmp_path: Path) -> None:
    xgboost.Booster(model_file=paths["xgboost"]).save_model(tmp_path / "model.ubj")

    assert causes_between(opened(paths["xgboost"]), opened(tmp_path / "model.ubj")) == []


def test_every_fault_is_named_where_it_was_planted(kind: str, paths: dict[str, Path]) -> None:
    reference = opened(paths[kind])
    faults = reference.faults()

    assert {fault.kind for fault in faults} >= {"threshold_le", "nan_direction", "weight_scale"}
    for fault in faults:
        assert _named(reference, fault) == [fault.checkpoint], fault


def _named(reference: ModelStack, fault: Fault) -> list[str]:
    planted = reference.planted(fault)
    assert planted.identity().digest != reference.identity().digest
    return causes_between(reference, planted, random_batch(200, 6, seed=11))


def test_a_model_of_another_training_is_told_by_its_leaves(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    """The same splits everywhere but at the last tree's root."""
    model = json.loads(paths["xgboost"].read_text())
    tree = model["learner"]["gradient_booster"]["model"]["trees"][-1]
    tree["split_conditions"][0] += 3.0
    (tmp_path / "model.json").write_text(json.dumps(model))

    assert causes_between(opened(paths["xgboost"]), opened(tmp_path / "model.json")) == [
        "gbdt.leaves"
    ]


def test_what_can_not_be_a_booster_stack_is_refused(paths: dict[str, Path], tmp_path: Path) -> None:
    text = paths["xgboost"].read_text()
    cut, classes, dropped = (tmp_path / f"{name}.json" for name in ("cut", "classes", "dropped"))
    cut.write_text(text[: len(text) // 2])
    xgboost.train({"objective": "multi:softprob", "num_class": 3, "nthread": 1}, xgboost.DMatrix(
        np.ones((4, 1)), np.arange(4) % 3, nthread=1), 1).save_model(classes)  # fmt: skip
    dropped.write_text(text.replace('"name":"gbtree"', '"name":"gbtree","weight_drop":[1]'))
    squared = tmp_path / "squared.txt"
    squared.write_text(
        paths["lightgbm"]
        .read_text()
        .replace("objective=binary sigmoid:0.7", "objective=regression sqrt")
    )
    other = tmp_path / "model.onnx"
    other.write_bytes(b"\x08\x08\x12")

    for path, says in (
        (tmp_path / "none.json", "no such file"),
        (cut, "can not read"),
        (classes, "'multi:softprob' of 3 outputs"),
        (squared, "'regression sqrt'"),
        (dropped, "DART weights"),
        (other, "no booster's"),
    ):
        with pytest.raises(ArtifactError, match=says):
            opened(path)
    with pytest.raises(ConfigError, match="the model reads slot"):
        opened(paths["xgboost"], inputs=f"{HERE}:without_slot", request_inputs=["age"])
    with pytest.raises(ConfigError, match="no column of float32"):
        opened(paths["xgboost"], columns={})


def test_a_given_leaf_that_the_tree_lacks_is_refused(paths: dict[str, Path]) -> None:
    stack = opened(paths["lightgbm"])
    leaves = stack.score(example(), capture=["gbdt.leaves"])["gbdt.leaves"].copy()
    leaves[0, 1] = 99

    with pytest.raises(StackError, match="leaf of tree 1 is none of its"):
        stack.score(example(), capture=["logit"], given={"gbdt.leaves": leaves})
