from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from parity.cli.logs import logs
from replay.errors import ConfigError, LogError

TINY = ("--days", "2", "--requests", "30", "--candidates", "4", "--seed", "1")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(logs, list(arguments), catch_exceptions=False)


def synthetic(out: Path, *arguments: str) -> Result:
    return invoke("import", "synthetic", "--out", str(out), *TINY, *arguments)


def test_an_import_prints_what_each_day_holds_and_the_total(tmp_path: Path) -> None:
    result = synthetic(tmp_path, "--start", "2026-02-28")

    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[:5] for line in lines] == [
        ["2026-02-28", "30", "requests", "120", "candidates"],
        ["2026-03-01", "30", "requests", "120", "candidates"],
        ["total", "60", "requests", "240", "candidates"],
    ]
    assert "already" not in result.output


def test_a_second_import_says_that_the_days_stood(tmp_path: Path) -> None:
    synthetic(tmp_path)

    assert synthetic(tmp_path).output.count("stood already") == 2


def test_days_are_listed_as_they_were_imported(tmp_path: Path) -> None:
    imported = synthetic(tmp_path).output

    assert invoke("days", str(tmp_path)).output == imported


def test_a_folder_without_days_has_none(tmp_path: Path) -> None:
    assert invoke("days", str(tmp_path)).output == "no days\n"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no folder"):
        invoke("days", str(tmp_path / "absent"))


def test_no_candidates_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="candidates is 0"):
        synthetic(tmp_path, "--candidates", "0")


@pytest.mark.parametrize("start", ["yesterday", "20260105", "2026-1-5", "2026-02-30"])
def test_a_malformed_first_day_is_wrong_use(tmp_path: Path, start: str) -> None:
    result = synthetic(tmp_path, "--start", start)

    assert result.exit_code == 2
    assert "is not a day YYYY-MM-DD" in result.output
    assert not list(tmp_path.iterdir())


def test_help_loads_neither_numpy_nor_pyarrow() -> None:
    program = (
        "import sys; from parity.cli.logs import logs\n"
        "try: logs(['import', 'synthetic', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'numpy', 'pyarrow'} & set(sys.modules), sorted(sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
