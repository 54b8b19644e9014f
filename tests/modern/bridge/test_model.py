"""Rung 3 of the ladder: the port with a transformer beside it is the port, until it is trained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the bridge needs torch")

import torch

from modern.bridge.model import save_bridge, untrained_residual
from modern.bridge.stack import BridgeStack, open_stack
from modern.features.feature_set import open_feature_set, open_with_steps
from modern.port.stack import open_stack as open_port
from modern.transformer.config import TransformerConfig
from modern.transformer.inputs import inputs_from_batch
from modern.transformer.training_config import ModernConfig
from parity.compare.alignment import align
from parity.explain.causes import find_causes, unexplained
from parity.explain.probe import probe
from parity.plan import Plan
from parity.tolerance import PlannedTolerance
from replay.capabilities import Fault
from replay.errors import ArtifactError, ConfigError
from tests.artifacts import write_artifact
from tests.builders import random_batch

BATCH = random_batch(24, 5, seed=5)
CONFIG = ModernConfig(
    transformer=TransformerConfig(width=8, num_layers=1, num_heads=2, feed_forward=8)
)
EXACT = Plan(tolerances={"*": PlannedTolerance(kind="exact", why="nothing is added yet")})


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("bridge") / "legacy", num_trees=20, depth=4)


def bridge(legacy: Path, name: str, *, heads: float, history: Path | None = None) -> BridgeStack:
    """A bridge whose heads are drawn this large; 0 is before training."""
    features_json, features = open_with_steps(legacy / "features.json", history)
    inputs = inputs_from_batch(random_batch(60, seed=3), features, CONFIG.history)
    model = untrained_residual(features, CONFIG, inputs)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        model.heads.weight.add_(heads * torch.randn_like(model.heads.weight))
    facts = {
        "training_id": "ab" * 16,
        "trained_on": ["2019-11-29"],
        "held_out": "2019-11-30",
        "log_digest": "sha256:" + "0" * 64,
        "seed": 7,
        "versions": {},
    }
    save_bridge(
        legacy.parent / name,
        legacy,
        model,
        CONFIG,
        inputs,
        features_json=features_json,
        facts=facts,
        metrics={},
        curves="<svg/>",
    )
    return open_stack(legacy.parent / name)


def named(reference, challenger, plan: Plan) -> list[str]:
    alignment = align(reference.checkpoints, challenger.checkpoints, plan)
    found = probe(reference, challenger, BATCH, alignment)
    assert unexplained(found) == ()
    return [cause.checkpoint for cause in find_causes(found)]


def fault_of(stack: BridgeStack, kind: str, checkpoint: str) -> Fault:
    return next(f for f in stack.faults() if (f.kind, f.checkpoint) == (kind, checkpoint))


def test_before_training_it_is_the_port_bit_for_bit(legacy: Path) -> None:
    port, untrained = open_port(legacy), bridge(legacy, "untrained", heads=0.0)

    assert named(port, untrained, EXACT) == []
    names = list(port.checkpoints)
    ours, theirs = port.score(BATCH, capture=names), untrained.score(BATCH, capture=names)
    assert [n for n in names if ours[n].tobytes() != theirs[n].tobytes()] == []
    assert set(port.checkpoints) < set(untrained.checkpoints)


@pytest.mark.parametrize(
    ("kind", "checkpoint"),
    [("utc_offset", "features.hour_tokyo"), ("nan_direction", "gbdt.leaves")],
)
def test_a_fault_of_the_ported_part_is_named_across_the_rung(
    legacy: Path, kind: str, checkpoint: str
) -> None:
    untrained = bridge(legacy, "untrained", heads=0.0)
    offered = [f for f in untrained.faults() if f.checkpoint == checkpoint]
    fault = next((f for f in offered if f.kind == kind), offered[0])

    assert named(open_port(legacy), untrained.planted(fault), EXACT) == [checkpoint]


def test_trained_it_adds_its_log_odds_and_a_fault_beside_is_named_there(legacy: Path) -> None:
    port, trained = open_port(legacy), bridge(legacy, "trained", heads=0.5)
    ours = port.score(BATCH, capture=["logit"])["logit"]

    trace = trained.score(BATCH, capture=["residual", "logit"])

    assert np.abs(trace["residual"]).max() > 0.1
    assert (trace["logit"] == ours + trace["residual"]).all()
    path = "residual.interaction.norm"
    broken = trained.planted(fault_of(trained, "layernorm_eps", path))
    assert named(trained, broken, Plan()) == [path]
    assert named(port, trained, Plan()) == ["logit"]  # another model is not a translation


def test_a_bridge_reads_a_history_of_its_own_and_a_lag_in_it_is_named_there(
    legacy: Path, tmp_path: Path
) -> None:
    """The port knows no steps: before training not a bit of it moves, trained they move the logit."""
    steps = [
        {
            "name": "action",
            "kind": "hash",
            "sources": ["history.action"],
            "seed": 21,
            "buckets": 8,
            "normalise": "none",
        },
        {"name": "ad", "kind": "number", "source": "history.ad_id"},
    ]
    path = tmp_path / "steps.json"
    path.write_text(json.dumps({"format": "parity.history_features/1", "history": steps}))
    untrained = bridge(legacy, "untrained_history", heads=0.0, history=path)
    trained = bridge(legacy, "trained_history", heads=0.5, history=path)

    assert named(open_port(legacy), untrained, EXACT) == []
    place = "residual.history.place"
    broken = trained.planted(fault_of(trained, "history_lag", place))
    assert named(trained, broken, Plan()) == [place]
    read = trained.score(BATCH, capture=[place])[place]
    assert (read >= 0).sum() > 0


def test_what_is_given_for_the_residual_is_used(legacy: Path) -> None:
    trained = bridge(legacy, "trained", heads=0.5)
    zero = np.zeros(BATCH.num_candidates, dtype=np.float32)

    trace = trained.score(BATCH, capture=["logit", "pctr"], given={"residual": zero})

    ported = open_port(legacy).score(BATCH, capture=["logit", "pctr"])
    assert (trace["logit"] == ported["logit"]).all()
    assert (trace["pctr"] == ported["pctr"]).all()


def test_a_residual_beside_another_legacy_model_is_refused(legacy: Path, tmp_path: Path) -> None:
    stack = bridge(legacy, "untrained", heads=0.0)
    shutil.copytree(stack.path, tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "legacy")
    write_artifact(tmp_path / "mixed" / "legacy", num_trees=20, depth=4, seed=1)

    with pytest.raises(ArtifactError, match="beside another legacy model"):
        open_stack(tmp_path / "mixed")


def test_more_tasks_than_the_legacy_model_has_are_refused(legacy: Path) -> None:
    features = open_feature_set(legacy / "features.json")
    inputs = inputs_from_batch(random_batch(10, seed=3), features, CONFIG.history)
    two = replace(CONFIG.transformer, tasks=("click", "conversion"))

    with pytest.raises(ConfigError, match="tasks"):
        untrained_residual(features, replace(CONFIG, transformer=two), inputs)
