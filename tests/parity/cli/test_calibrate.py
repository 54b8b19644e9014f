"""`parity calibrate`: what is printed, what is kept, and that a plan follows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from parity.cli.main import main
from parity.config import load_config
from parity.noise import ChannelNoise
from replay.errors import ConfigError
from tests.toy_logs import write_toy_log

CONFIG = """\
logs: logs
stacks:
  ours: {open: "tests.toys:open_stack"}  # the one we trust
  theirs: {open: "tests.toys:open_stack"}
plans:
  # A translation.
  - reference: ours
    challenger: theirs
    tolerances:
      pctr: {kind: absolute, value: 0.001, why: "a person's"}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parity.yaml").write_text(CONFIG)
    write_toy_log(tmp_path / "logs")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("parity.cli.main.fix_threads", lambda: None)

    def run(*more: str) -> tuple[int, str, str]:
        sides = ["--reference", "ours", "--challenger", "theirs"]
        code = main(["calibrate", *sides, "--config", str(folder / "parity.yaml"), *more])
        return (code, *capsys.readouterr())

    return run


def test_without_write_nothing_is_kept(folder: Path, run: Run) -> None:
    code, out, err = run("--requests", "16")

    assert (code, err) == (0, "")
    assert out.startswith("CALIBRATED  ")
    assert "on 16 requests" in out
    assert "ours does not recompute in float64" in out
    assert "--write puts them there" in out
    assert (folder / "parity.yaml").read_text() == CONFIG
    assert not (folder / "calibration").exists()


def test_what_is_written_is_followed_where_nobody_stated_another(folder: Path, run: Run) -> None:
    code, out, _ = run("--write")

    plan = load_config(folder / "parity.yaml").plan("ours", "theirs")
    mix = plan.tolerances["inner.mix"]
    assert code == 0
    assert "written    calibration/ours-theirs.json" in out
    assert isinstance(mix, ChannelNoise)
    assert len(mix.noise) == 3
    assert "candidates" in mix.why
    assert plan.tolerances["pctr"].why == "a person's"
    assert plan.measured_on.startswith("sha256:")
    assert all(line in (folder / "parity.yaml").read_text() for line in CONFIG.splitlines())


def test_a_second_time_gives_the_same_bytes(folder: Path, run: Run) -> None:
    run("--write")
    before = (folder / "parity.yaml").read_text()

    run("--write")

    assert (folder / "parity.yaml").read_text() == before


@pytest.mark.parametrize("how", ["changed", "gone", "other"])
def test_a_calibration_that_is_not_the_plans_is_refused(folder: Path, run: Run, how: str) -> None:
    run("--write")
    path = folder / "calibration" / "ours-theirs.json"
    if how == "changed":
        path.write_text(path.read_text().replace('"margin": 4.0', '"margin": 400.0'))
    elif how == "gone":
        path.unlink()
    else:
        path.write_text("{}")

    with pytest.raises(ConfigError, match="calibration is"):
        load_config(folder / "parity.yaml").plan("ours", "theirs")


def test_json_holds_every_figure(run: Run) -> None:
    code, out, _ = run("--format", "json", "--precision", "bf16")

    content = json.loads(out)
    assert code == content["exit_code"] == 0
    assert content["precision"] == "bf16"
    assert content["tolerances"]["logit"]["kind"] == "envelope"
    assert content["written"] is None
