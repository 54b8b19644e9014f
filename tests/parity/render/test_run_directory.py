from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from parity.judge.report import Example
from parity.judge.verdict import decide
from parity.judge.verdict_json import RunFacts
from parity.render import run_directory
from parity.render.run_directory import write_run, write_whole
from parity.render.tables import SCHEMA, figures_table
from tests.parity.a_report import POLICY, a_diverged_report, a_report, figures

FILES = {"verdict.json", "report.html", "summary.txt", "features.parquet", "checkpoints.parquet"}


def written(folder: Path) -> Path:
    report = a_diverged_report()
    write_run(folder / "a" / "run", report, decide(report, POLICY), RunFacts(run_id="run"))
    return folder / "a" / "run"


def test_a_run_is_five_files_and_leaves_nothing_else(tmp_path: Path) -> None:
    run = written(tmp_path)

    assert {path.name for path in run.iterdir()} == FILES
    assert json.loads((run / "verdict.json").read_text())["verdict"] == "DIVERGED"
    assert (run / "summary.txt").read_text().startswith("DIVERGED  features.age_days")


def test_the_verdict_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def remember(path: Path, data: bytes) -> None:
        names.append(path.name)
        write_whole(path, data)

    monkeypatch.setattr(run_directory, "write_whole", remember)
    written(tmp_path)

    assert set(names) == FILES
    assert names[-1] == "verdict.json"


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = written(tmp_path / "1"), written(tmp_path / "2")

    for name in FILES:
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_file_that_can_not_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    write_whole(path, b"before")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"after")

    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_written_files_can_be_read_by_others(tmp_path: Path) -> None:
    beside = tmp_path / "plain"
    beside.touch()
    write_whole(tmp_path / "x", b"")

    assert (tmp_path / "x").stat().st_mode == beside.stat().st_mode


def test_features_have_a_row_each_and_checkpoints_too(tmp_path: Path) -> None:
    run = written(tmp_path)

    features = pq.read_table(run / "features.parquet").to_pylist()
    checkpoints = pq.read_table(run / "checkpoints.parquet").to_pylist()

    assert [row["checkpoint"] for row in features] == ["features.age_days"]
    assert [row["checkpoint"] for row in checkpoints] == [
        "features.age_days", "logit", "pctr", "rank",
    ]  # fmt: skip
    (row,) = features
    assert (row["rows"], row["differing"], row["is_cause"]) == (300, 300, True)
    assert row["missing_rate_reference"] == row["missing_rate_challenger"] == 0.01
    assert row["max_difference"] == 86399.0
    assert row["examples"] == [
        {"request_id": "r-1", "ad_id": "7", "reference": "1.0", "challenger": "86400.0"}
    ]


def test_examples_keep_every_digit_and_tell_missing_from_zero() -> None:
    parted = figures(
        "encoded.ad",
        "encoding",
        max_difference=math.inf,
        examples=(
            Example(request_id="r", ad_id=None, reference=2**60 + 1, challenger=None),
            Example(request_id="r", ad_id="7", reference=0, challenger=-0.0),
        ),
    )

    (row,) = figures_table([parted], []).to_pylist()

    assert row["examples"][0]["reference"] == str(2**60 + 1)
    assert row["examples"][0]["challenger"] is None
    assert (row["examples"][1]["reference"], row["examples"][1]["challenger"]) == ("0", "-0.0")
    assert row["max_difference"] == math.inf


def test_a_rate_of_no_rows_is_unknown() -> None:
    empty = replace(figures("x"), rows=0, missing_reference=0, missing_challenger=0)

    (row,) = figures_table([empty], []).to_pylist()

    assert row["missing_rate_reference"] is None


def test_a_table_without_rows_keeps_its_columns() -> None:
    assert figures_table([], []).schema == SCHEMA


def test_a_report_of_nothing_can_be_written(tmp_path: Path) -> None:
    report = a_report(checkpoints=(), candidates=0)
    write_run(tmp_path / "run", report, decide(report, POLICY), RunFacts(run_id="run"))

    assert pq.read_table(tmp_path / "run" / "features.parquet").num_rows == 0
