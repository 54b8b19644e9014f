from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modern.transformer.config import HistoryConfig, TransformerConfig
from modern.transformer.training_config import (
    ModernConfig,
    TrainingConfig,
    config_from_json,
    load_variant,
)
from replay.errors import ArtifactError, ConfigError

Change = Callable[[dict[str, Any]], object]


def test_a_configuration_survives_json() -> None:
    config = ModernConfig(
        transformer=TransformerConfig(
            width=48, num_heads=4, dropout=0.25, form="plain", tasks=("click", "conversion")
        ),
        history=HistoryConfig(max_old=7, collapse_by=("ad", "action"), age_edges_hours=(1.0, 2.5)),
        training=TrainingConfig(seed=11, epochs=3),
    )

    text = json.dumps(config.to_json())

    assert config_from_json(json.loads(text), where="a test") == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("training"), "expected transformer, history, training"),
        (lambda c: c["transformer"].pop("width"), "width, history_layers"),
        (lambda c: c["transformer"].update(depth=3), "'depth': 3"),
        (lambda c: c["transformer"].update(tasks="click"), "list of str"),
        (lambda c: c["history"].update(collapse_by=["ad", 3]), "list of str"),
        (lambda c: c["history"].update(age_edges_hours=[1]), "list of float"),
        (lambda c: c["history"].update(max_recent=0, max_old=0), "max_old is 0"),
        (lambda c: c["transformer"].update(width="32"), "no int"),
        (lambda c: c["transformer"].update(num_layers=True), "no int"),
        (lambda c: c["transformer"].update(dropout=None), "no float"),
        (lambda c: c["transformer"].update(activation="relu"), "relu"),
        (lambda c: c["training"].update(epochs=0), "epochs is 0"),
        (lambda c: c.update(training=[]), r"training holds \[\]"),
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


@pytest.mark.parametrize("name", ["shared", "plain", "early_fusion", "no_history", "small"])
def test_a_variant_is_a_file_that_says_what_differs(name: str) -> None:
    found = load_variant(name)

    expected = name if name != "small" else "shared"
    assert found.transformer.form == expected
    assert config_from_json(found.to_json(), where="a test") == found
    assert (found == ModernConfig()) == (name == "shared")


def test_a_new_variant_needs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "wide.json"
    path.write_text('{"transformer": {"width": 64}, "history": {"max_recent": 3}}')

    found = load_variant(str(path))

    assert (found.transformer.width, found.history.max_recent) == (64, 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "can not be read"),
        ("[]", "holds no object"),
        ('{"model": {}}', "holds model"),
        ('{"transformer": {"depth": 3}}', "'depth': 3"),
        ('{"transformer": {"form": "late"}}', "no form is called 'late'"),
        ('{"transformer": 3}', "3 is not made of"),
    ],
)
def test_a_variant_that_can_not_be_built_is_refused_by_file(
    tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(text)

    with pytest.raises(ConfigError, match=says):
        load_variant(str(path))


def test_an_unknown_variant_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="known: early_fusion, no_history, plain, shared, small"):
        load_variant("sharde")
