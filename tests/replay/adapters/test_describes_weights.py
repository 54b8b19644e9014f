"""What an adapted model says of its weights and settings, for a comparison by the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
