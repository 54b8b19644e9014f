from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the transformer needs torch")

import torch
from torch import Tensor, nn

from modern.export.bounds import Bounds, bounds_of, check_within, example
from modern.export.folder import Kind, export_artifact, open_export
from modern.export.run import run_program
from modern.export.stack import EXPORTED_AGAIN, open_stack
from modern.export.torch_graph import load_program, save_program
from modern.transformer.artifact import load_artifact
from modern.transformer.forward import run_forward
from modern.transformer.stack import open_stack as open_modern
from parity.explain.weights import weight_facts
from replay.errors import ArtifactError, ConfigError, StackError
from tests.builders import random_batch
from tests.modern.exports import artifact_of, export_of, opened
from tests.modern.small_transformer import CONFIG, feature_set, some_inputs


def test_any_number_of_requests_steps_and_candidates_within_the_bounds_is_one_program() -> None:
    exported = open_export(export_of("torch"))
    inputs = some_inputs(feature_set(), num_requests=40)

    for bounds in (exported.bounds, Bounds(requests=2, candidates=2, steps=exported.bounds.steps)):
        found = run_program(exported.program, inputs, bounds, num_tasks=1)
        wanted = run_forward(exported.artifact.model, inputs)

        assert abs(found.logits - wanted.logits).max() < 1e-6


def test_the_bounds_are_those_of_the_history_and_are_enforced() -> None:
    artifact = load_artifact(artifact_of())
    bounds = bounds_of(artifact, candidates=3)
    assert bounds.steps == CONFIG.history.max_old + CONFIG.history.max_recent

    arguments = example(artifact, Bounds(candidates=8, steps=bounds.steps))

    with pytest.raises(StackError, match=r"5 candidates in one call, .* exported for 1 to 3"):
        check_within(bounds, arguments)


def test_a_request_with_more_steps_than_the_program_knows_is_refused() -> None:
    exported = open_export(export_of("torch"))
    inputs = some_inputs(feature_set(), num_requests=40)
    short = Bounds(requests=8, candidates=8, steps=2)

    with pytest.raises(StackError, match="steps in one call"):
        run_program(exported.program, inputs, short, num_tasks=1)


@pytest.mark.parametrize("bounds", [{"candidates": 1}, {"requests": 1}, {"steps": 1}])
def test_an_axis_of_one_would_be_fixed_and_is_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="the bounds are"):
        Bounds(**bounds)


@pytest.mark.parametrize("name", ["program.pt2", "artifact/weights.safetensors", "manifest.json"])
def test_a_changed_file_is_refused_before_anything_is_run(tmp_path: Path, name: str) -> None:
    shutil.copytree(export_of("torch"), tmp_path / "export")
    path = tmp_path / "export" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(ArtifactError):
        open_stack(tmp_path / "export")


def test_what_is_no_export_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")

    with pytest.raises(ConfigError, match="no export"):
        export_artifact(artifact_of(), "torch", tmp_path / "mine")

    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_module_is_given_and_recorded_through_the_graph() -> None:
    stack = opened("torch")
    batch = random_batch(num_requests=12, seed=3)
    before = stack.score(batch, capture=["interest", "logit"])

    turned = np.roll(before["interest"], 1, axis=1)
    after = stack.score(batch, capture=["interest", "logit"], given={"interest": turned})

    assert (after["interest"] == before["interest"]).all()
    assert (after["logit"] != before["logit"]).all()


def test_the_same_weights_run_in_both_forms_and_are_told_apart() -> None:
    shared = open_modern(artifact_of())
    plain = open_modern(artifact_of(), form="plain")
    batch = random_batch(num_requests=12, seed=3)

    logits = [stack.score(batch, capture=["logit"])["logit"] for stack in (shared, plain)]

    assert abs(logits[0] - logits[1]).max() < 1e-5
    assert shared.identity().digest != plain.identity().digest
    assert open_modern(artifact_of(), form="shared").identity() == shared.identity()
    with pytest.raises(ConfigError, match="another function"):
        open_modern(artifact_of(), form="early_fusion")


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_a_program_shows_the_weights_epsilons_and_activations_that_it_holds(kind: Kind) -> None:
    stack, reference = opened(kind), open_modern(artifact_of())
    assert weight_facts(reference, stack) == ()

    for name, checkpoint in (
        ("layernorm_eps", "request.norm"),
        ("gelu_tanh", "interaction.layers.0.feed_forward"),
        ("weight_scale", "interaction.layers.0.feed_forward"),
        ("gelu_as_silu", "request.layers.0.feed_forward"),
    ):
        fault = next(f for f in stack.faults() if (f.kind, f.checkpoint) == (name, checkpoint))
        stack = stack.planted(fault)

    facts = weight_facts(reference, stack)
    assert "activation is silu instead of gelu" in [fact.says for fact in facts]
    found = {(fact.module, fact.kind) for fact in facts}
    assert found == {
        ("request.norm", "epsilon"),
        ("request.layers.0.feed_forward.activation", "activation"),
        ("interaction.layers.0.feed_forward.activation", "activation"),
        ("interaction.layers.0.feed_forward.down", "weights"),
    }


def test_exported_again_it_is_the_same_program() -> None:
    stack = opened("torch")
    batch = random_batch(num_requests=12, seed=3)
    names = ["interest", "logit"]

    again = stack.vary(EXPORTED_AGAIN, batch, names)

    before = stack.score(batch, capture=names)
    assert all((again[name] == before[name]).all() for name in names)
    with pytest.raises(ConfigError, match="no variation"):
        stack.vary("upside down", batch, names)


class Nothing(nn.Module):
    """Weights without elements, as steps without real features have; the second as if read from a file."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(0, 3))
        self.register_buffer("second", torch.zeros(1, 3)[:0])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.first.sum() + self.second.sum()


def test_weights_without_elements_are_saved_too(tmp_path: Path) -> None:
    program = torch.export.export(Nothing(), (torch.ones(2),))

    save_program(program, tmp_path / "graph.pt2")

    loaded = load_program(tmp_path / "graph.pt2")
    assert {n: tuple(w.shape) for n, w in loaded.state_dict.items()} == {
        "first": (0, 3),
        "second": (0, 3),
    }
    assert loaded.module()(torch.ones(2)).tolist() == [1.0, 1.0]
