from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from modern.config import ModernConfig, TrainingConfig, config_from_json
from modern.transformer import TransformerConfig
from replay.errors import ArtifactError, ConfigError

Change = Callable[[dict[str, Any]], object]


def test_a_configuration_survives_json() -> None:
    config = ModernConfig(
        transformer=TransformerConfig(width=48, num_heads=4, dropout=0.25),
        training=TrainingConfig(seed=11, epochs=3),
    )

    text = json.dumps(config.to_json())

    assert config_from_json(json.loads(text), where="a test") == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("training"), "expected transformer, training"),
        (lambda c: c["transformer"].pop("width"), "expected width"),
        (lambda c: c["transformer"].update(depth=3), "'depth': 3"),
        (lambda c: c["transformer"].update(width="32"), "no int"),
        (lambda c: c["transformer"].update(num_layers=True), "no int"),
        (lambda c: c["transformer"].update(dropout=None), "no float"),
        (lambda c: c["transformer"].update(activation="relu"), "relu"),
        (lambda c: c["training"].update(epochs=0), "epochs is 0"),
        (lambda c: c.update(training=[]), "no dict"),
    ],
)
def test_a_manifest_whose_configuration_was_changed_is_refused(change: Change, says: str) -> None:
    value = ModernConfig().to_json()
    change(value)

    with pytest.raises(ArtifactError, match=says):
        config_from_json(value, where="manifest.json")


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"patience": 0},
        {"threads": 0},
        {"seed": -1},
        {"seed": 2**63},
        {"kept_back_share": 0.0},
        {"kept_back_share": 0.5},
    ],
    ids=str,
)
def test_a_training_that_can_not_be_done_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TrainingConfig(**settings)
