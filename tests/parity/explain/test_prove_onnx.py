"""An ONNX ensemble beside the booster it was made from: equal on every input, or an input that tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from legacy.export_onnx import export_onnx
from parity.explain.prove import prove
from replay.adapters.onnx_trees import OnnxTrees, open_stack
from replay.capabilities import ExposesTrees
from replay.errors import ArtifactError, StackError
from tests.artifacts import write_artifact
from tests.builders import random_batch
from tests.parity.explain.tree_stacks import BoosterStack

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prove_onnx")
    write_artifact(folder / "legacy", num_trees=12, depth=4)
    export_onnx(folder / "legacy", folder / "trees.onnx")
    return folder


@pytest.fixture(scope="module")
def reference(folder: Path) -> BoosterStack:
    return BoosterStack(folder / "legacy" / "booster.json")


def edited(folder: Path, edit: Edit) -> Path:
    """The export with its operator's attributes changed."""
    model = onnx.load(str(folder / "trees.onnx"))
    node = model.graph.node[0]
    values = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    edit(values)
    fresh = helper.make_node(
        node.op_type, list(node.input), list(node.output), domain=node.domain, **values
    )
    node.CopyFrom(fresh)
    path = folder / f"{edit.__name__}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def to_leq(values: dict[str, Any]) -> None:
    """`<=` where `<` was meant: what converters from XGBoost have done."""
    values["nodes_modes"] = [
        b"BRANCH_LEQ" if m == b"BRANCH_LT" else m for m in values["nodes_modes"]
    ]


def missing_goes_right(values: dict[str, Any]) -> None:
    values["nodes_missing_value_tracks_true"] = [0] * len(values["nodes_modes"])


def one_threshold_up(values: dict[str, Any]) -> None:
    place = values["nodes_modes"].index(b"BRANCH_LT")
    values["nodes_values"][place] = float(
        np.nextafter(np.float32(values["nodes_values"][place]), np.float32(np.inf))
    )


def leq_one_below(values: dict[str, Any]) -> None:
    """x <= the float32 before t is x < t: equal, said otherwise."""
    to_leq(values)
    below = np.nextafter(np.asarray(values["nodes_values"], np.float32), np.float32(-np.inf))
    values["nodes_values"] = below.tolist()


def turned(values: dict[str, Any]) -> None:
    """x >= t with its branches exchanged: equal, said otherwise."""
    values["nodes_modes"] = [
        b"BRANCH_GTE" if m == b"BRANCH_LT" else m for m in values["nodes_modes"]
    ]
    true, false = values["nodes_truenodeids"], values["nodes_falsenodeids"]
    values["nodes_truenodeids"], values["nodes_falsenodeids"] = false, true
    tracks = values["nodes_missing_value_tracks_true"]
    values["nodes_missing_value_tracks_true"] = [1 - one for one in tracks]


def test_the_export_is_equal_on_every_input(folder: Path, reference: BoosterStack) -> None:
    stack = open_stack(folder / "trees.onnx")

    proof = prove(reference, stack)

    assert isinstance(stack, ExposesTrees)
    assert proof.outcome == "equal"
    assert proof.trees == proof.challenger_trees == 12
    assert proof.points > proof.splits * 3


@pytest.mark.parametrize("edit", [leq_one_below, turned], ids=lambda edit: edit.__name__)
def test_the_same_trees_said_otherwise_are_equal(
    edit: Edit, folder: Path, reference: BoosterStack
) -> None:
    assert prove(reference, open_stack(edited(folder, edit))).outcome == "equal"


@pytest.mark.parametrize("edit", [to_leq, missing_goes_right], ids=lambda edit: edit.__name__)
def test_a_mistake_of_a_converter_is_found_in_every_tree(
    edit: Edit, folder: Path, reference: BoosterStack
) -> None:
    proof = prove(reference, open_stack(edited(folder, edit)))

    assert proof.outcome == "counterexample"
    assert len(proof.differing_trees) >= 11


def test_one_threshold_of_all_is_found_where_it_is(folder: Path, reference: BoosterStack) -> None:
    proof = prove(reference, open_stack(edited(folder, one_threshold_up)))

    assert (proof.outcome, proof.differing_trees) == ("counterexample", (0,))


def test_names_and_training_come_from_the_file_and_can_be_told(folder: Path) -> None:
    stack = open_stack(folder / "trees.onnx")
    told = open_stack(folder / "trees.onnx", columns=[f"c{k}" for k in range(len(stack.features))])

    assert stack.tree_features()[0] in {"hour_tokyo", "price", *stack.features}
    assert told.tree_features()[0] == "c0"
    assert stack.identity().training_id is not None


def test_features_have_to_be_given(folder: Path) -> None:
    stack, batch = open_stack(folder / "trees.onnx"), random_batch(4, 3, seed=1)
    rows = batch.num_candidates
    given = {f"features.{name}": np.zeros(rows, np.float32) for name in stack.features}

    leaves = stack.score(batch, capture=["gbdt.leaves"], given=given)["gbdt.leaves"]

    zeros = np.zeros((1, len(stack.features)), np.float32)
    assert np.array_equal(leaves, np.repeat(stack.leaves(zeros), rows, axis=0))
    with pytest.raises(StackError, match="make no features of a request"):
        stack.score(batch, capture=["gbdt.leaves"])
    with pytest.raises(StackError, match="the matrix is float64"):
        stack.leaves(zeros.astype(np.float64))


def equality(values: dict[str, Any]) -> None:
    values["nodes_modes"] = [
        b"BRANCH_EQ" if m == b"BRANCH_LT" else m for m in values["nodes_modes"]
    ]


def lost_child(values: dict[str, Any]) -> None:
    values["nodes_truenodeids"][0] = 9999


@pytest.mark.parametrize(
    ("edit", "says"), [(equality, "BRANCH_EQ, which is no threshold"), (lost_child, "no node")]
)
def test_what_is_no_tree_of_thresholds_is_refused(edit: Edit, says: str, folder: Path) -> None:
    with pytest.raises(ArtifactError, match=says):
        opened(edited(folder, edit))


def test_a_graph_without_trees_is_refused(folder: Path) -> None:
    path = folder / "none.onnx"
    model: ModelProto = onnx.load(str(folder / "trees.onnx"))
    model.graph.node[0].CopyFrom(helper.make_node("Identity", ["features"], ["leaf_sum"]))
    path.write_bytes(model.SerializeToString())

    with pytest.raises(ArtifactError, match="0 tree ensembles"):
        opened(path)


def opened(path: Path) -> OnnxTrees:
    return open_stack(path)
