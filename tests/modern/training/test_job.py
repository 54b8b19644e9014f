from __future__ import annotations

import ast
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

import modern
from modern.__main__ import main
from modern.training.job import SOURCES, plan_job, run_job
from modern.transformer.artifact import load_artifact
from modern.transformer.config import TransformerConfig
from modern.transformer.stack import open_stack
from modern.transformer.training_config import ModernConfig, TrainingConfig
from replay.logs.parquet import list_days, open_day, read_shard
from tests.modern.small_synthetic import write_features, write_log


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("logs"), days=4, requests=60)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory, logs: Path) -> Path:
    return write_features(tmp_path_factory.mktemp("features") / "features.json", logs)


def arguments(logs: Path, features: Path, out: Path, *more: str) -> list[str]:
    paths = ["--logs", str(logs), "--features", str(features), "--out", str(out)]
    return ["train", *paths, "--epochs", "2", *more]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_one_command_trains_judges_and_writes_an_artifact_that_opens(
    tmp_path: Path, logs: Path, features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "artifacts" / "modern"

    assert main(arguments(logs, features, out)) == 0

    printed = capsys.readouterr().out
    artifact = load_artifact(out)
    days = [day.isoformat() for day in list_days(logs)]
    assert artifact.manifest["trained_on"] == days[:2]
    assert artifact.manifest["held_out"] == days[2]
    assert artifact.manifest["features_training_id"] == "ab" * 16
    assert (out / "features.json").read_bytes() == features.read_bytes()
    assert f"held out {days[2]}, click: 300 labelled candidates" in printed
    for name in ("prior", "modern"):
        figures = artifact.metrics[name]
        shown = f"{figures['ne']:10.4f}{figures['auc']:10.4f}{figures['calibration']:14.4f}"
        assert f"{name:10}{shown}" in printed
    assert artifact.metrics["prior"]["auc"] == 0.5
    stack = open_stack(out)
    batch = read_shard(open_day(logs, list_days(logs)[3]).shards[0]).batch
    pctr = stack.score(batch, capture=("pctr",))["pctr"]
    assert pctr.shape == (480,) and (pctr > 0).all() and (pctr < 1).all()


def test_a_second_call_with_the_same_inputs_does_nothing_and_says_so(
    tmp_path: Path, logs: Path, features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "modern"
    assert main(arguments(logs, features, out)) == 0
    first = capsys.readouterr().out
    stamps = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}

    assert main(arguments(logs, features, out)) == 0

    printed = capsys.readouterr().out
    assert "nothing to do" in printed and "epoch" not in printed
    assert printed.splitlines()[-4:] == first.splitlines()[-4:]
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == stamps


def test_the_same_inputs_give_the_same_bytes_and_another_seed_another_training(
    tmp_path: Path, logs: Path, features: Path
) -> None:
    for name, seed in (("first", "7"), ("second", "7"), ("other", "8")):
        assert main(arguments(logs, features, tmp_path / name, "--seed", seed)) == 0

    first, second, other = (bytes_of(tmp_path / name) for name in ("first", "second", "other"))
    assert first == second
    assert first["weights.safetensors"] != other["weights.safetensors"]
    assert (
        load_artifact(tmp_path / "first").training_id
        != load_artifact(tmp_path / "other").training_id
    )


def test_everything_that_decides_the_weights_decides_the_training_id(
    tmp_path: Path, logs: Path, features: Path
) -> None:
    config = ModernConfig()
    days = list_days(logs)
    other_features = tmp_path / "features.json"
    other_features.write_text(features.read_text().replace('"seed": 1,', '"seed": 9,'))
    wider = replace(config, transformer=TransformerConfig(width=48))

    ids = [
        plan_job(logs, features, config).training_id,
        plan_job(logs, features, wider).training_id,
        plan_job(logs, other_features, config).training_id,
        plan_job(logs, features, config, held_out=(days[3], days[3])).training_id,
        plan_job(logs, features, config, train=(days[1], days[1])).training_id,
    ]

    assert len(set(ids)) == len(ids)
    assert plan_job(logs, features, config, train=(days[0], days[1])).training_id == ids[0]


def test_every_module_that_the_job_imports_decides_the_training_id_or_only_reports() -> None:
    root = Path(str(files(modern)))
    decide = {path for pattern in SOURCES for path in root.glob(pattern)}
    report = {root / "training" / name for name in ("curves.py", "outcome.py", "state.py")}
    assert _imported(root, root / "training" / "job.py") - decide == report


def _imported(root: Path, start: Path) -> set[Path]:
    found, waiting = set(), [start]
    while waiting:
        path = waiting.pop()
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("modern."):
                module = root.joinpath(*str(node.module).split(".")[1:])
                named = [module / f"{name.name}.py" for name in node.names]
                candidates = [module.with_suffix(".py"), *named]
                waiting += [c for c in candidates if c.exists() and c not in found]
    return found


def test_a_damaged_artifact_is_trained_anew(tmp_path: Path, logs: Path, features: Path) -> None:
    job = plan_job(logs, features, ModernConfig(training=TrainingConfig(epochs=1)))
    run_job(job, tmp_path / "modern")
    sound = bytes_of(tmp_path / "modern")
    weights = tmp_path / "modern" / "weights.safetensors"
    weights.write_bytes(sound["weights.safetensors"][:-1])

    outcome = run_job(job, tmp_path / "modern")

    assert outcome.trained
    assert bytes_of(tmp_path / "modern") == sound


def test_days_can_be_chosen(tmp_path: Path, logs: Path, features: Path) -> None:
    days = [day.isoformat() for day in list_days(logs)]
    out = tmp_path / "modern"
    more = ["--days", f"{days[1]}:{days[1]}", "--held-out", days[3]]

    assert main(arguments(logs, features, out, *more)) == 0

    manifest = load_artifact(out).manifest
    assert manifest["trained_on"] == [days[1]]
    assert manifest["held_out"] == days[3]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--held-out", "2031-01-01", "no day from 2031-01-01 to 2031-01-01"),
        ("--seed", "-1", "seed is -1"),
        ("--epochs", "0", "epochs is 0"),
        ("--logs", "nowhere", "no folder 'nowhere'"),
        ("--features", "nowhere.json", "nowhere.json"),
    ],
)
def test_wrong_use_is_one_clear_error_with_exit_2_and_nothing_written(
    tmp_path: Path,
    logs: Path,
    features: Path,
    capsys: pytest.CaptureFixture[str],
    wrong: tuple[str, str, str],
) -> None:
    option, value, says = wrong

    assert main(arguments(logs, features, tmp_path / "modern", option, value)) == 2

    error = capsys.readouterr().err
    assert says in error
    assert "where:" in error and "fix:" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--days", "a:b", "'a' is no day"),
        ("--held-out", "20260106", "'20260106' is no day"),
    ],
)
def test_a_malformed_day_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, says: str
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(arguments(tmp_path / "no log", tmp_path / "none", tmp_path / "out", option, value))

    assert exited.value.code == 2
    assert says in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused_before_the_training(
    tmp_path: Path, logs: Path, features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    assert main(arguments(logs, features, tmp_path)) == 2

    assert "thesis.txt" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_training_that_is_killed_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, logs: Path, features: Path
) -> None:
    """kill -9 in the middle; what it left is no artifact, and is gone in the end."""
    sound, killed = tmp_path / "sound", tmp_path / "killed"
    assert main(arguments(logs, features, sound)) == 0
    command = [
        sys.executable,
        "-m",
        "modern",
        *arguments(logs, features, killed, "--save-every", "0"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "left at most" in line and "epoch  2" in line:
                running.send_signal(signal.SIGKILL)
                break
    assert running.returncode == -signal.SIGKILL
    assert (tmp_path / ".killed.training").exists() and not killed.exists()

    second = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "epoch  1 of 2,  50%" not in second.stdout, "its steps were not run again"
    assert bytes_of(killed) == bytes_of(sound)
    assert not (tmp_path / ".killed.training").exists()


def test_a_task_without_a_known_outcome_on_the_last_day_is_judged_where_it_is_known(
    tmp_path: Path, logs: Path, features: Path
) -> None:
    out = tmp_path / "modern"

    assert main(arguments(logs, features, out, "--tasks", "click,conversion,view_2s")) == 0

    artifact = load_artifact(out)
    assert artifact.config.transformer.tasks == ("click", "conversion", "view_2s")
    assert list(artifact.calibrations) == ["click", "conversion", "view_2s"]
    last = artifact.metrics["epochs"][-1]
    assert last["stopping"][1] is None, "a conversion of the last day may still come"
    assert last["fit"][1] is not None
    assert 100 < artifact.metrics["tasks"]["view_2s"]["modern"]["rows"] < 300
    assert "<svg" in (out / "curves.svg").read_text()
