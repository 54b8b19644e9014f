"""The command against a runner that a test wrote: arguments in, exit code and output out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from parity.cli.main import cli
from parity.judge.report import Report
from parity.judge.verdict import Verdict, decide
from parity.judge.verdict_json import RunFacts
from parity.options import Progress, ReplayOptions, default_workers
from parity.render.run_directory import write_run
from replay.errors import ArtifactError, LogError, ToolkitError
from tests.parity.a_report import POLICY, a_diverged_report, a_report

Runner = Callable[[ReplayOptions], tuple[Report, Verdict, Path]]
ARGUMENTS = ["replay", "--date", "2019-11-30", "--reference", "ours", "--challenger", "theirs"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "parity.yaml").write_text(
        "logs: days\n"
        "stacks: {ours: {open: 'a.b:c'}, theirs: {open: 'a.b:d'}}\n"
        "plans: [{reference: ours, challenger: theirs}]\n"
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, runner: Runner, *arguments: str) -> Result:
    module = ModuleType("parity.runner")
    module.replay_day = runner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "parity.runner", module)
    return CliRunner().invoke(cli, [*ARGUMENTS, *arguments], standalone_mode=False)


def finished(report: Report) -> Runner:
    def replay_day(options: ReplayOptions) -> tuple[Report, Verdict, Path]:
        options.listener(Progress(phase="replay", done=0, total=100))
        run_dir = options.out / "run"
        verdict = decide(report, POLICY)
        write_run(run_dir, report, verdict, RunFacts(run_id="run"))
        return report, verdict, run_dir

    return replay_day


def failing(error: BaseException, *heard: Progress) -> Runner:
    def replay_day(options: ReplayOptions) -> tuple[Report, Verdict, Path]:
        for progress in heard:
            options.listener(progress)
        raise error

    return replay_day


@pytest.mark.parametrize(("report", "code"), [(a_report(), 0), (a_diverged_report(), 1)])
def test_the_exit_code_is_the_verdicts(
    monkeypatch: pytest.MonkeyPatch, report: Report, code: int
) -> None:
    result = run(monkeypatch, finished(report))

    assert result.return_value == code
    assert decide(report, POLICY).verdict in result.stdout
    assert str(Path("runs") / "run" / "report.html") in result.stdout


def test_json_prints_the_verdict_alone(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    result = run(monkeypatch, finished(a_diverged_report()), "--format", "json")

    assert json.loads(result.stdout)["verdict"] == "DIVERGED"
    assert result.stdout == (project / "runs" / "run" / "verdict.json").read_text()
    assert result.return_value == 1
    assert "features.age_days is where" in result.stderr


def seen(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ReplayOptions:
    got: list[ReplayOptions] = []

    def replay_day(options: ReplayOptions) -> tuple[Report, Verdict, Path]:
        got.append(options)
        return finished(a_report())(options)

    run(monkeypatch, replay_day, *arguments)
    return got[0]


def test_without_flags_the_configuration_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    options = seen(monkeypatch)

    assert (options.reference, options.challenger) == ("ours", "theirs")
    assert options.date == date(2019, 11, 30)
    assert options.logs == Path("days")
    assert options.out == Path("runs")
    assert options.cache == Path(".cache/parity")
    assert (options.sample, options.seed, options.engine) == (1.0, 0, "local")
    assert options.workers == default_workers() >= 1
    assert options.canary
    assert options.plants == ()
    assert options.resume is None


def test_every_flag_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    options = seen(
        monkeypatch,
        *["--logs", "other", "--out", "there", "--sample", "0.25", "--seed", "7"],
        *["--engine", "ray", "--workers", "3", "--no-canary", "--no-cache", "--resume", "r"],
        *["--plant", "scale=2:logit", "--plant", "hour_shift:features.hour"],
    )

    assert (options.logs, options.out, options.resume) == (Path("other"), Path("there"), Path("r"))
    assert (options.sample, options.seed, options.engine, options.workers) == (0.25, 7, "ray", 3)
    assert (options.canary, options.cache) == (False, None)
    assert [str(p) for p in options.plants] == ["scale=2:logit", "hour_shift:features.hour"]


REPLAYING = Progress(phase="replay", done=0, total=9, run_dir=Path("runs/r1"))


@pytest.mark.parametrize(
    ("error", "heard", "code"),
    [
        (ArtifactError("cut short.", where="x", fix="y"), [], 2),
        (ArtifactError("cut short.", where="x", fix="y"), [Progress(phase="open")], 2),
        (LogError("page checksum.", where="x", fix="y"), [Progress(phase="open"), REPLAYING], 4),
    ],
)
def test_errors_before_the_first_request_are_two_and_after_it_four(
    monkeypatch: pytest.MonkeyPatch, error: ToolkitError, heard: list[Progress], code: int
) -> None:
    result = run(monkeypatch, failing(error, *heard))

    assert result.return_value == code
    assert result.stderr.startswith(f"{type(error).__name__}: {error.what}\n  where: x")
    assert result.stdout == ""


@pytest.mark.parametrize(("heard", "code"), [([], 2), ([REPLAYING], 4)])
def test_a_full_disk_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, heard: list[Progress], code: int
) -> None:
    full = OSError(28, "No space left on device", "runs/x")

    result = run(monkeypatch, failing(full, *heard))

    assert result.return_value == code
    assert "No space left on device" in result.stderr
    assert "where: runs/x" in result.stderr


def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/parity", "replay", "--date", "2019-11-30"])

    result = run(monkeypatch, failing(KeyboardInterrupt(), REPLAYING))

    assert result.return_value == 130
    assert "resumable: parity replay --date 2019-11-30 --resume runs/r1" in result.stderr


def test_an_interruption_before_there_is_a_run_has_nothing_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = run(monkeypatch, failing(KeyboardInterrupt()))

    assert result.return_value == 130
    assert "resumable" not in result.stderr


def test_plants_are_listed_without_a_challenger(project: Path) -> None:
    result = CliRunner().invoke(cli, ["replay", "--plant", "list"], standalone_mode=False)

    assert result.return_value == 0
    for kind in ("scale", "hour_shift"):
        assert any(line.startswith(kind) for line in result.stdout.splitlines())
