from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from parity.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[3]
HEAVY = {
    "numpy", "pyarrow", "scipy", "pydantic", "ruamel.yaml", "rich", "jinja2",
    "torch", "tensorflow", "xgboost", "ray",
}  # fmt: skip


def parity(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from parity.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Here = Callable[[list[str]], Done]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a command line in this process, where numpy is loaded already."""
    monkeypatch.setattr("parity.cli.main.fix_threads", lambda: None)

    def run(arguments: list[str]) -> Done:
        code = main(arguments)
        return Done(code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys, json\n"
        "from parity.cli.main import main\n"
        f"main({arguments!r})\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert HEAVY.isdisjoint(json.loads(done.stdout.splitlines()[-1]))


def test_help_answers_at_once() -> None:
    """Well under half a second of processor time, whatever else the machine is doing."""
    code = (
        "import time; from parity.cli.main import main; main(['--help']); "
        "print(time.process_time())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert float(done.stdout.splitlines()[-1]) < 0.3


def test_help_names_every_command_and_exit_code() -> None:
    done = parity("--help")

    assert done.returncode == 0
    for name, (_, says) in COMMANDS.items():
        assert name in done.stdout
        assert says.split()[0] in done.stdout
    assert "130  interrupted, resumable\n" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_there(name: str) -> None:
    module, _, attribute = COMMANDS[name][0].partition(":")

    assert getattr(importlib.import_module(module), attribute).name == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rplay"], "no command is called 'rplay' (known: replay, ladder, gate, "),
        (["--wrong"], "No such option"),
        (["gate"], "Missing argument 'RUN'"),
        (["gate", "x"], "Missing option '--artifact'"),
        (["replay", "--sample", "0"], "--sample"),
        (["replay", "--sample", "1.1"], "--sample"),
        (["replay", "--sample", "nan"], "--sample"),
        (["replay", "--workers", "0"], "--workers"),
        (["replay", "--engine", "spark"], "--engine"),
        (["replay", "--format", "xml"], "--format"),
        (["replay", "--seed", "-1"], "--seed"),
    ],
)
def test_wrong_arguments_exit_with_two_and_name_the_argument(
    here: Here, arguments: list[str], said: str
) -> None:
    done = here(arguments)

    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parity.yaml").write_text(
        "stacks:\n"
        "  ours: {open: 'team.serving:open_stack', artifact: ours.bin}\n"
        "  theirs: {open: 'team.serving:open_other'}\n"
        "plans: [{reference: ours, challenger: theirs}]\n"
    )
    return tmp_path


REPLAY = ["replay", "--date", "2019-11-30", "--reference", "ours", "--challenger", "theirs"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay"], "--date is missing"),
        (["replay", "--date", "2019-11-30"], "--reference is missing"),
        (["replay", "--date", "2019-11-30", "--reference", "ours"], "--challenger is missing"),
        ([*REPLAY, "--date", "30.11.2019"], "'30.11.2019' is no date"),
        ([*REPLAY, "--date", "20191130"], "'20191130' is no date"),
        ([*REPLAY, "--date", "2019-02-30"], "'2019-02-30' is no date"),
        ([*REPLAY, "--plant", "scale"], "'scale' names no kind and checkpoint"),
        ([*REPLAY, "--config", "none.yaml"], "does not exist"),
        ([*REPLAY, "--reference", "evil\x1b[31m\u202e"], "evil\\"),
    ],
)
def test_what_can_not_be_used_is_answered_with_what_where_and_fix(
    here: Here, project: Path, arguments: list[str], said: str
) -> None:
    done = here(arguments)

    assert done.code == 2
    assert said in done.err
    assert "where:" in done.err and "fix:" in done.err
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err and "\u202e" not in done.err
    assert done.out == ""
    assert [path.name for path in project.iterdir()] == ["parity.yaml"]


@pytest.mark.usefixtures("project")
def test_stacks_are_listed_configured_ones_first(here: Here) -> None:
    done = here(["stacks"])

    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "ours", "team.serving:open_stack", "ours.bin", "(not", "there", "yet)",
    ]  # fmt: skip
    assert lines[1].split() == ["theirs", "team.serving:open_other", "no", "artifact"]


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("a bug"), 4, "Traceback"),
        (PermissionError(13, "Permission denied", "/runs"), 2, "where: /runs"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.usefixtures("project")
def test_no_failure_reads_as_a_verdict(
    here: Here, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    """Python's own exit code for an error is 1, which means DIVERGED here."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("parity.config.load_config", fail)

    done = here(["stacks"])

    assert done.code == code
    assert said in done.err


def test_a_reader_that_leaves_early_is_no_crash(project: Path) -> None:
    code = "import sys, os\nfrom parity.cli.main import main\nsys.exit(main(['stacks']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)}, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()

    errors = process.stderr.read()
    process.stderr.close()
    process.wait(timeout=60)

    assert "Traceback" not in errors


def test_threads_are_fixed_before_anything_is_loaded() -> None:
    code = (
        "import os, sys\n"
        "os.environ.pop('OMP_NUM_THREADS', None)\n"
        "from parity.cli.main import main\n"
        "main(['--help'])\n"
        "assert 'numpy' not in sys.modules\n"
        "assert os.environ['OMP_NUM_THREADS'] == '1'\n"
    )

    subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "parity", "rplay"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("Usage: parity ")
