"""A file in C++ beside its library, each in its process: what `parity replay` says, with and without a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from parity.cli.main import main
from replay.logs.writing import write_day
from tests.builders import random_batch
from tests.replay.adapters.boosters import OPTIONS, saved

CONFIG = """
stacks:
  booster: {{open: "replay.adapters.booster:open_stack", artifact: {file}, options: &how {how}}}
  cpp_file: {{open: "cpp_serving.files:open_stack", artifact: {file}, options: *how}}
plans:
  - {{reference: "*", challenger: "*", outputs: bounded}}
"""
DAY = date(2019, 11, 30)


@dataclass(frozen=True)
class Done:
    code: int
    out: str


Run = Callable[..., Done]


def a_day(folder: Path) -> None:
    records = random_batch(400, 6, seed=11).records
    place = records.schema.get_field_index("logged_at")
    noon = pa.array(
        [datetime(2019, 11, 30, 12, tzinfo=UTC)] * len(records), records.schema[place].type
    )
    table = pa.Table.from_batches([records]).set_column(place, records.schema[place], noon)
    write_day(folder, DAY, [table], schema=table.schema)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("parity.cli.main.fix_threads", lambda: None)
    a_day(tmp_path / "logs")

    def run(kind: str, reference: str, challenger: str, *more: str) -> Done:
        file = saved(kind, tmp_path).name
        (tmp_path / "parity.yaml").write_text(CONFIG.format(file=file, how=json.dumps(OPTIONS)))
        sides = ["--reference", reference, "--challenger", challenger, "--date", str(DAY)]
        code = main(["replay", "--config", str(tmp_path / "parity.yaml"), *sides, *more])
        return Done(code, capsys.readouterr().out)

    return run


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_a_file_has_parity_with_itself_and_nothing_to_note(kind: str, run: Run) -> None:
    done = run(kind, "booster", "cpp_file")

    assert (done.code, done.out.split()[0]) == (0, "PARITY")
    assert "note" not in done.out


@pytest.mark.parametrize(
    ("kind", "sides"), [("xgboost", ("booster", "cpp_file")), ("lightgbm", ("cpp_file", "booster"))]
)
def test_values_on_thresholds_explain_what_went_the_other_way(
    kind: str, sides: tuple[str, str], run: Run
) -> None:
    done = run(kind, *sides, "--plant", "threshold_le:gbdt.leaves")

    assert (done.code, done.out.split()[:2]) == (1, ["DIVERGED", "gbdt.leaves"])
    assert "leaves differ only where a feature equals a split's threshold" in done.out


def test_trees_that_hold_categories_are_replayed_though_they_can_not_be_shown(run: Run) -> None:
    done = run("categorical", "booster", "cpp_file", "--plant", "threshold_le:gbdt.leaves")

    assert (done.code, done.out.split()[:2]) == (1, ["DIVERGED", "gbdt.leaves"])
