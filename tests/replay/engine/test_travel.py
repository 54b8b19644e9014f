"""Checkpoints, identities, faults and errors arrive as what they left as."""

from __future__ import annotations

import json

import pytest

from replay import errors
from replay.capabilities import Fault
from replay.checkpoint import CheckpointGraph
from replay.engine import travel
from replay.engine.failures import StackRaisedError
from replay.errors import ToolkitError
from replay.stack import StackIdentity
from tests.replay.engine.toy_stack import CHECKPOINTS


def test_a_graph_arrives_with_every_attribute() -> None:
    graph = CheckpointGraph(CHECKPOINTS, stack="toy")

    text = json.dumps(travel.json_from_graph(graph))
    found = travel.graph_from_json(json.loads(text), stack="other")

    assert tuple(found.values()) == CHECKPOINTS
    assert found.stack == "other"


def test_an_identity_and_faults_arrive_unchanged() -> None:
    identity = StackIdentity(
        name="toy", digest="sha256:1", training_id="a" * 32, versions={"numpy": "2"}
    )
    faults = (Fault(kind="hash_seed", checkpoint="features.ad", where="code", says="Another."),)

    assert travel.identity_from_json(travel.json_from_identity(identity)) == identity
    assert travel.faults_from_json(travel.json_from_faults(faults)) == faults


@pytest.mark.parametrize(
    "kind", ["ConfigError", "LogError", "ArtifactError", "StackError", "WorkerError"]
)
def test_an_error_arrives_as_its_kind_with_its_three_parts(kind: str) -> None:
    error = getattr(errors, kind)("what", where="where", fix="fix")

    found = travel.error_from_json(json.loads(json.dumps(travel.json_from_error(error))), stack="s")

    assert type(found) is type(error)
    assert (found.what, found.where, found.fix) == ("what", "where", "fix")


def test_an_error_kind_of_the_stack_s_own_arrives_as_the_nearest_known_one() -> None:
    class DamagedWeightsError(errors.ArtifactError):
        pass

    error = DamagedWeightsError("what", where="where", fix="fix")

    found = travel.error_from_json(travel.json_from_error(error), stack="s")

    assert type(found) is errors.ArtifactError


def test_a_foreign_exception_arrives_with_its_last_frames() -> None:
    def deepest() -> None:
        raise KeyError("age")

    try:
        deepest()
    except KeyError as error:
        found = travel.error_from_json(travel.json_from_error(error), stack="port")

    assert isinstance(found, StackRaisedError)
    assert isinstance(found, ToolkitError)
    assert found.what == "KeyError: 'age'"
    assert "stack 'port'" in found.where
    assert "deepest" in found.where
