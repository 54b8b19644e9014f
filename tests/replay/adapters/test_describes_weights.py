"""What an adapted model says of its weights and settings, for a comparison by the judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from replay.capabilities import DescribesWeights
from tests.replay.adapters import models
from tests.replay.adapters.opened import exported, from_export, from_module


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
