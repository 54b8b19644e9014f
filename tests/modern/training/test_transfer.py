"""From clicks to conversions: what is taken, what is fresh, and that it is proven."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modern.__main__ import main
from modern.training import transfer
from modern.training.job import Running, plan_job, run_job
from modern.training.transfer import digest_of_weights, load_start, open_start
from modern.transformer.artifact import load_artifact
from modern.transformer.config import TransformerConfig
from modern.transformer.tokens import plain_statistics
from modern.transformer.training_config import ModernConfig, TrainingConfig
from replay.errors import ArtifactError, ConfigError
from tests.modern.small_synthetic import write_features, write_log

CLICK = ModernConfig(
    transformer=TransformerConfig(width=8, num_layers=2, feed_forward=16),
    training=TrainingConfig(epochs=1),
)
BOTH = replace(CLICK, transformer=replace(CLICK.transformer, tasks=("conversion", "click")))


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs"), days=5, requests=100)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Path:
    folder = tmp_path_factory.mktemp("clicks")
    features = write_features(folder / "features.json", logs)
    run_job(plan_job(logs, features, CLICK), folder / "artifact")
    return folder / "artifact"


def test_a_conversion_model_starts_from_the_click_model(clicks: Path) -> None:
    start = open_start(clicks, (clicks / "features.json").read_bytes(), BOTH)
    fresh = load_artifact(clicks).model
    model = type(fresh)(
        load_artifact(clicks).layout,
        BOTH.transformer,
        BOTH.history,
        statistics=plain_statistics(load_artifact(clicks).layout),
        prior_logits=(-4.0, -2.0),
    )

    loaded = load_start(start, model)

    ours, theirs = model.state_dict(), fresh.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in loaded.names)
    assert len(loaded.names) > 20
    query = next(name for name in ours if name.endswith("task_HD"))
    assert torch.equal(ours[query], theirs[query].repeat(2, 1))
    assert ours["prior_logit_H"].tolist() == [-4.0, theirs["prior_logit_H"].item()]
    assert loaded.rows["heads.weight"] == {"conversion": "click", "click": "click"}
    assert loaded.rows["heads.bias"] == {"click": "click"}
    assert loaded.fresh == ()
    assert loaded.digest == digest_of_weights(ours, (*loaded.names, *loaded.rows))


def test_what_was_loaded_stands_in_the_manifest_and_frozen_weights_are_untouched(
    clicks: Path, logs: Path, tmp_path: Path
) -> None:
    asked = replace(
        BOTH,
        training=replace(
            BOTH.training, frozen=("candidate_tokens", "interaction.layers.0"), frozen_epochs=1
        ),
    )

    run_job(plan_job(logs, clicks / "features.json", asked, init_from=clicks), tmp_path / "both")

    artifact = load_artifact(tmp_path / "both")
    source = load_artifact(clicks)
    said = artifact.manifest["init_from"]
    assert said["training_id"] == source.training_id
    assert said["weights_digest"] == source.manifest["files"]["weights.safetensors"]
    ours, theirs = artifact.model.state_dict(), source.model.state_dict()
    frozen = [n for n in ours if n.startswith(("candidate_tokens.", "interaction.layers.0."))]
    assert len(frozen) > 10
    assert all(torch.equal(ours[name], theirs[name]) for name in frozen)
    assert not torch.equal(ours["codes.embedding_VD"], theirs["codes.embedding_VD"])


def test_after_the_frozen_epochs_the_weights_learn(
    clicks: Path, logs: Path, tmp_path: Path
) -> None:
    training = replace(BOTH.training, epochs=2, frozen=("candidate_tokens",), frozen_epochs=1)
    job = plan_job(
        logs, clicks / "features.json", replace(BOTH, training=training), init_from=clicks
    )

    run_job(job, tmp_path / "both", running=Running(save_every_s=0.0))

    artifact, source = load_artifact(tmp_path / "both"), load_artifact(clicks)
    best = max(e["number"] for e in artifact.metrics["epochs"] if e["best"])
    moved = not torch.equal(
        artifact.model.state_dict()["candidate_tokens.whole_D"],
        source.model.state_dict()["candidate_tokens.whole_D"],
    )
    assert moved == (best == 2)
    assert not (tmp_path / ".both.training").exists()


def test_a_weight_that_changes_on_the_way_is_noticed(
    clicks: Path, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = transfer.digest_of_weights
    calls: list[str] = []

    def off_by_one_bit(weights: dict[str, torch.Tensor], names: list[str]) -> str:
        calls.append("")
        if len(calls) == 1:
            weights["heads.weight"].view(torch.int32)[0, 0] ^= 1
        return original(weights, names)

    monkeypatch.setattr(transfer, "digest_of_weights", off_by_one_bit)

    with pytest.raises(ArtifactError, match="not what was read"):
        run_job(plan_job(logs, clicks / "features.json", BOTH, init_from=clicks), tmp_path / "both")


def test_weights_of_other_features_are_refused(clicks: Path, logs: Path, tmp_path: Path) -> None:
    value = json.loads((clicks / "features.json").read_text())
    value["features"].pop()
    other = tmp_path / "features.json"
    other.write_text(json.dumps(value))

    with pytest.raises(ConfigError, match="read other features"):
        plan_job(logs, other, BOTH, init_from=clicks)


def test_freezing_what_is_no_module_or_was_never_loaded_is_refused(
    clicks: Path, logs: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    paths = ["--logs", str(logs), "--features", str(clicks / "features.json")]
    common = ["train", *paths, "--out", str(tmp_path / "out"), "--freeze-epochs", "1"]

    assert main([*common, "--freeze", "codes"]) == 2
    assert "--init-from ARTIFACT" in capsys.readouterr().err
    assert main([*common, "--freeze", "kodes", "--init-from", str(clicks)]) == 2
    error = capsys.readouterr().err
    assert "'kodes' is to be frozen and is no module" in error and "codes" in error
    assert main([*common, "--init-from", str(clicks)]) == 2
    assert "nothing is frozen for 1 epochs" in capsys.readouterr().err
