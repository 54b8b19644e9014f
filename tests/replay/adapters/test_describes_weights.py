"""What an adapted model says of its weights and settings, for a comparison by the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from parity.explain.weights import weight_facts
from replay.capabilities import DescribesWeights
from tests.replay.adapters import models
from tests.replay.adapters.opened import changed, exported, from_export, from_module


def test_a_module_shows_its_state_and_the_settings_of_each_submodule() -> None:
    module = models.transformer()
    module.layers[0].norm1.eps = 1e-3
    stack = from_module(module)

    assert isinstance(stack, DescribesWeights)
    assert stack.weights().keys() == module.state_dict().keys()
    settings = stack.configuration()
    assert settings["layers.0.norm1.eps"] == "0.001"
    assert settings["layers.0.mlp.1.approximate"] == "none"
    assert settings["ids.class"] == "Embedding"


def test_a_graph_shows_its_initializers_and_its_operators_attributes(tmp_path: Path) -> None:
    module = models.transformer()
    stack = from_export(exported(module, tmp_path / "model.onnx", opset=20))

    assert isinstance(stack, DescribesWeights)
    np.testing.assert_array_equal(
        stack.weights()["head.weight"], module.head.weight.detach().numpy()
    )
    settings = stack.configuration()
    assert settings["layers.0.norm1.class"] == "LayerNormalization"
    assert float(settings["layers.0.norm1.epsilon"]) == np.float32(1e-5)
    assert settings["layers.0.mlp.1.approximate"] == "none"


def test_weights_without_a_modules_path_stand_under_the_checkpoint_that_reads_them(
    tmp_path: Path,
) -> None:
    """The older exporter numbers the turned weights of a linear layer over three axes."""
    stack = from_export(exported(models.transformer(), tmp_path / "model.onnx", opset=17))

    numbered = [name for name in stack.weights() if "onnx::" in name]

    assert numbered
    for name in numbered:
        assert name.rpartition(".")[0] in stack.checkpoints, name


def test_a_cause_in_a_graph_says_what_was_done_to_its_weights(tmp_path: Path) -> None:
    sides = [
        from_export(exported(module, tmp_path / f"{number}.onnx", opset=17))
        for number, module in enumerate(
            (models.transformer(), changed(models.transformer(), scaled))
        )
    ]

    facts = weight_facts(*sides)

    assert [fact.says for fact in facts] == [facts[0].says]
    assert "1.01 x the reference's values" in facts[0].says
    assert facts[0].module in sides[0].checkpoints


def scaled(module) -> None:
    module.layers[1].mlp[0].weight.mul_(1.01)


class Gated(nn.Module):
    """Functions called where they are needed, under no class of their own."""

    def __init__(self, activation=nn.functional.gelu, norm=None) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 8), nn.Linear(8, 1)
        self.activation, self.norm = activation, norm or nn.LayerNorm(3)

    def forward(self, dense, ids, age):
        return self.down(self.activation(self.up(self.norm(dense)))).squeeze(-1)


class Squares(nn.Module):
    """A norm that someone wrote by hand."""

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("opset", [17, 20])
def test_a_module_and_its_export_name_functions_alike(tmp_path: Path, opset: int) -> None:
    """Also where the exporter takes a GELU apart, and where no class is called as its function."""
    module = models.transformer()
    stacks = (
        from_module(module),
        from_export(exported(module, tmp_path / "model.onnx", opset=opset)),
    )

    for settings in (stack.configuration() for stack in stacks):
        assert settings["layers.0.mlp.1.activation"] == "gelu"
        assert settings["layers.0.norm1.norm"] == "layer norm"


def test_an_activation_is_told_between_a_module_and_a_graph(tmp_path: Path) -> None:
    """By their classes they say nothing to each other: a graph has other words for every one."""
    other = changed(models.transformer(), relu)
    graph = from_export(exported(other, tmp_path / "model.onnx"))

    (fact,) = weight_facts(from_module(models.transformer()), graph)

    assert (fact.module, fact.says) == ("layers.1.mlp.1", "activation is relu instead of gelu")
    assert fact.kind == "activation"


def test_a_function_is_known_by_the_operator_that_computes_it() -> None:
    ours = from_module(Gated())
    assert ours.configuration()["activation"] == "gelu"

    theirs = from_module(Gated(nn.functional.silu, Squares()))

    assert {(fact.module, fact.says, fact.kind) for fact in weight_facts(ours, theirs)} >= {
        ("", "activation is silu instead of gelu", "activation"),
        ("norm", "norm is RMS norm instead of layer norm", "norm"),
    }


def test_a_planted_activation_shows_in_the_planted_program() -> None:
    stack = from_module(models.transformer())
    (fault,) = (
        f for f in stack.faults() if (f.kind, f.checkpoint) == ("gelu_as_relu", "layers.0.mlp.1")
    )

    assert stack.planted(fault).configuration()["layers.0.mlp.1.activation"] == "relu"
    assert stack.configuration()["layers.0.mlp.1.activation"] == "gelu"


def relu(module) -> None:
    module.layers[1].mlp[1] = nn.ReLU()
