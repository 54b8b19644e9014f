"""A hybrid of somebody's own: features, trees, regression, each fault named at its step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

from cpp_serving.files import open_stack as open_file
from parity.explain.prove import prove
from replay.conformance import CLAIMS, Claim
from replay.errors import ArtifactError, ConfigError, StackError
from replay.stack import Stack
from tests.builders import random_batch
from tests.replay.adapters import hybrids, models
from tests.replay.adapters.hybrids import HERE, opened, saved
from tests.replay.adapters.opened import causes_between

import tensorflow as tf  # isort: skip  # after the adapter, which sets what it reads when it loads

# Keras turns its own variables into arrays as numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BATCH = random_batch(24, 6, seed=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("hybrid") / "model")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Any:
    return opened(folder)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_a_hybrid_keeps_the_contract(claim: Claim, stack: Stack) -> None:
    assert claim(stack, BATCH) == []


def test_it_is_what_its_two_libraries_compute(stack: Any, folder: Path) -> None:
    found = hybrids.arrays(BATCH)
    matrix = np.stack([found[name] for name in models.DENSE], axis=1)
    booster = xgboost.Booster(model_file=folder / "trees.json")
    nodes = booster.predict(
        xgboost.DMatrix(matrix, feature_names=list(models.DENSE)), pred_leaf=True
    )
    served = tf.saved_model.load(str(folder / "regression")).signatures["serving_default"]
    columns = hybrids.leaf_columns(nodes.astype(np.int32))["leaves"]
    answer = served(leaves=tf.constant(columns), slot=tf.constant(found["slot"][:, None]))
    logit = answer["logit"].numpy()[:, 0]
    assert stack.score(BATCH, capture=["logit"])["logit"].tobytes() == logit.tobytes()
    order = {name: list(stack.checkpoints).index(name) for name in ("gbdt.leaves", "leaf_weights")}
    assert order["gbdt.leaves"] < order["leaf_weights"]
    assert "gbdt.leaves" in stack.checkpoints["leaf_weights"].after
    assert stack.checkpoints["slot_weights"].after == ("features.slot",)


def _threshold(model: Any) -> None:
    tree = model["learner"]["gradient_booster"]["model"]["trees"][5]
    tree["split_conditions"][0] *= 1.4


def _weights(model: Any) -> None:
    table = model.get_layer("leaf_weights").embeddings
    table.assign(table.numpy() * 1.01)


@pytest.mark.parametrize(
    ("changes", "options", "place"),
    [
        ({}, {}, None),
        ({}, {"inputs": f"{HERE}:arrays_in_cents"}, "features.price"),
        ({"booster": _threshold}, {}, "gbdt.leaves"),
        ({"regression": _weights}, {}, "leaf_weights"),
        ({}, {"leaves": f"{HERE}:leaf_columns_shifted"}, "leaf_weights"),
    ],
    ids=["nothing", "feature", "tree", "weights", "leaves counted otherwise"],
)
def test_a_fault_is_named_at_its_own_step(
    changes: dict[str, Any],
    options: dict[str, Any],
    place: str | None,
    stack: Stack,
    tmp_path: Path,
) -> None:
    challenger = opened(saved(tmp_path / "model", **changes), **options)
    assert causes_between(stack, challenger, BATCH) == ([] if place is None else [place])


def test_its_trees_are_proven_against_the_file_in_cpp(stack: Any, folder: Path) -> None:
    served = open_file(
        folder / "trees.json",
        inputs=f"{HERE}:tree_arrays",
        example="tests.replay.adapters.models:example",
    )
    assert prove(stack, served).outcome == "equal"


def test_faults_of_trees_and_model_are_found_where_they_are_said_to_be(stack: Any) -> None:
    everything = list(stack.checkpoints)
    bare = stack.score(BATCH, capture=everything)
    faults = {fault.kind: fault for fault in stack.faults()}
    assert faults["nan_direction"].checkpoint == "gbdt.leaves"
    for kind in ("nan_direction", "embedding_scaled", "max_for_mean"):
        planted = stack.planted(faults[kind])
        found = planted.score(BATCH, capture=everything, given=bare.values)
        moved = {n for n in everything if found[n].tobytes() != bare[n].tobytes()}
        assert moved == {faults[kind].checkpoint}


def test_what_does_not_fit_together_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        opened(folder, booster="model.ubj")
    with pytest.raises(ConfigError, match="the model reads leaves"):
        opened(folder, leaves=f"{HERE}:other_name")
    with pytest.raises(StackError, match="7 rows for"):
        opened(folder, leaves=f"{HERE}:too_few")
    with pytest.raises(StackError, match="function of leaves failed: KeyError"):
        opened(folder, leaves=f"{HERE}:failing")
    with pytest.raises(ConfigError, match="is the booster's"):
        opened(folder, inputs=f"{HERE}:slots_alone")
