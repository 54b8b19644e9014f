import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from legacy.__main__ import main
from replay.errors import ConfigError
from tests.legacy.logs import write_features, write_logs


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "legacy", *arguments], capture_output=True, text=True, check=False
    )


def test_training_prints_held_out_figures_next_to_the_priors(tmp_path: Path) -> None:
    logs = write_logs(tmp_path / "logs")
    features = write_features(tmp_path / "features.json")
    arguments = [
        "train", "--logs", str(logs), "--out", str(tmp_path / "out"), "--features", str(features),
    ]  # fmt: skip

    first = CliRunner().invoke(main, arguments, catch_exceptions=False)
    second = CliRunner().invoke(main, arguments, catch_exceptions=False)

    assert "training on 2019-11-24, holding out 2019-11-25" in first.output
    table = first.output.split("held out 2019-11-25")[1].splitlines()
    assert table[0].split() == ["NE", "AUC", "calibration"]
    assert table[1].split()[0] == "prior"
    assert float(table[2].split()[1]) < float(table[1].split()[1])
    assert "nothing to do" in second.output
    assert second.output.endswith(first.output.split("(training")[1].split("\n", 1)[1])


def test_an_error_is_printed_without_a_traceback(tmp_path: Path) -> None:
    found = command("train", "--logs", str(tmp_path / "none"), "--out", str(tmp_path / "out"))

    assert found.returncode == 2
    assert found.stderr.startswith("LogError: there is no folder")
    assert "Traceback" not in found.stderr
    assert not (tmp_path / "out").exists()


def test_help_loads_no_framework() -> None:
    script = (
        "import sys; from legacy.__main__ import main; main(['train', '--help'], "
        "standalone_mode=False); sys.exit(bool({'tensorflow', 'xgboost'} & set(sys.modules)))"
    )

    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert found.returncode == 0
    assert b"--held-out" in found.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--held-out", "yesterday"], "'yesterday' is not a day"),
        (["--days", "2019-11-26:2019-11-24"], "ends before it starts"),
        (["--days", "2019-11-24:tomorrow"], "'tomorrow' is not a day"),
    ],
)
def test_malformed_days_are_refused(tmp_path: Path, options: list[str], says: str) -> None:
    logs = write_logs(tmp_path / "logs", requests=1)

    with pytest.raises(ConfigError, match=says):
        CliRunner().invoke(
            main,
            ["train", "--logs", str(logs), "--out", str(tmp_path / "out"), *options],
            catch_exceptions=False,
        )
