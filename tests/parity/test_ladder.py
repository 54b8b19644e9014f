"""A ladder of a team's own stacks, through the real engine: no stack of this project is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from parity.cli.main import cli
from parity.config import load_config
from parity.ladder import chosen
from replay.errors import ConfigError
from replay.logs.synthetic import SyntheticLog, import_synthetic

CONFIG = """
stacks:
  ours: {open: "tests.parity.ladder_stacks:open_reference"}
  copy: {open: "tests.parity.ladder_stacks:open_reference"}
  rewrite: {open: "examples.own_stacks.stacks:open_challenger"}
  coarse: {open: "tests.parity.ladder_stacks:open_coarse", options: {bits: 12}}
  coarser: {open: "tests.parity.ladder_stacks:open_coarse", options: {bits: 4}}
  failing: {open: "tests.parity.ladder_stacks:open_failing"}
  unopened: {open: "tests.parity.ladder_stacks:open_unopened"}
  absent: {open: "tests.parity.ladder_stacks:open_reference", artifact: models/absent.bin}
plans:
  - reference: ours
    challenger: copy
    tolerances: {"*": {kind: exact, why: "the same program"}}
  - reference: ours
    challenger: [coarse, coarser]
    outputs: envelope
    policy:
      dp_max_worse_by: {margin: 1.0e-3, why: "twelve bits keep p to 1.2e-4"}
      sum_p_error_worse_by: {margin: 1.0e-4, why: "rounding to nearest has no bias"}
  - reference: ours
    challenger: "*"
ladder:
  - {rung: 0, title: "does it reproduce", reference: served, challenger: ours}
  - {rung: 1, title: "the same", reference: ours, challenger: copy, kind: exact}
  - {rung: 2, reference: ours, challenger: rewrite, kind: bounded}
  - {rung: 3, reference: ours, challenger: absent}
  - rung: 4
    reference: ours
    challenger: copy
    needs: [{command: [python, -c, "raise SystemExit(1)"], why: "no such accelerator here"}]
  - {rung: 5, reference: ours, challenger: failing}
  - {rung: 5, reference: ours, challenger: unopened}
  - {rung: 7, reference: ours, challenger: coarse, kind: envelope}
  - {rung: 7, reference: ours, challenger: coarser, kind: envelope}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ladder")
    (folder / "parity.yaml").write_text(CONFIG)
    list(import_synthetic(folder / "logs", SyntheticLog(days=1, requests=200, candidates=6)))
    return folder


def climbed(place: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli,
        ["ladder", "--date", "2026-01-05", "--config", str(place / "parity.yaml"), *arguments],
        standalone_mode=False,
    )


def by_rung(result: Result) -> dict[str, dict]:
    value = json.loads(result.stdout)
    assert value["schema"] == "parity.ladder/1"
    return {f"{one['rung']} {one['challenger']}": one for one in value["rungs"]}


def test_each_rung_is_judged_by_its_own_plan(place: Path) -> None:
    result = climbed(place, "--rungs", "0-4,7", "--format", "json")

    rungs = by_rung(result)
    assert {name: one["verdict"] for name, one in rungs.items()} == {
        "0 ours": None,
        "1 copy": "PARITY",
        "2 rewrite": "DIVERGED",
        "3 absent": None,
        "4 copy": None,
        "7 coarse": "PARITY",
        "7 coarser": "DIVERGED",
    }
    assert rungs["0 ours"]["not_run"] == "the log does not hold what was served"
    assert "models/absent.bin" in rungs["3 absent"]["not_run"]
    assert rungs["4 copy"]["not_run"] == "no such accelerator here"
    assert rungs["2 rewrite"]["figures"]["causes"] == ["features.age_days"]
    assert rungs["7 coarse"]["figures"]["metrics"]["dp_max"]["difference"] < 1e-3
    assert all((Path(one["run"]) / "verdict.json").exists() for one in rungs.values() if one["run"])
    assert result.return_value == 1


def test_parity_on_every_rung_that_can_be_run_is_parity(place: Path) -> None:
    result = climbed(place, "--rungs", "1,3-4")

    assert result.return_value == 0
    assert "PARITY" in result.stdout
    assert result.stdout.count("not run") == 2


def test_a_ladder_none_of_whose_rungs_can_be_run_is_no_evidence(place: Path) -> None:
    assert climbed(place, "--rungs", "3").return_value == 3


@pytest.mark.parametrize("rung", ["5 failing", "5 unopened"])
def test_a_rung_whose_stack_fails_is_broken_and_the_others_go_on(place: Path, rung: str) -> None:
    result = climbed(place, "--rungs", "1,5", "--format", "json")

    rungs = by_rung(result)
    assert rungs[rung]["verdict"] == "BROKEN"
    assert ("on fire" in rungs[rung]["error"]) or ("another version" in rungs[rung]["error"])
    assert rungs["1 copy"]["verdict"] == "PARITY"
    assert result.return_value == 4


@pytest.mark.parametrize(
    ("was", "becomes", "what"),
    [
        ("kind: exact}", "kind: statistical}", "says statistical, its plan compares bounded"),
        ('tolerances: {"*": {kind: exact', 'tolerances: {"x": {kind: exact', "says exact"),
        ("reference: served, challenger: ours}", "reference: served, challenger: ours, kind: exact}", "by exact"),
        ("challenger: absent}", "challenger: abscent}", "abscent"),
    ],
)  # fmt: skip
def test_a_rung_that_can_not_be_judged_as_it_says_is_refused(
    tmp_path: Path, was: str, becomes: str, what: str
) -> None:
    (tmp_path / "parity.yaml").write_text(CONFIG.replace(was, becomes))

    with pytest.raises(ConfigError, match=what):
        load_config(tmp_path / "parity.yaml")


@pytest.mark.parametrize(("wanted", "numbers"), [(None, 9), ("0-7", 9), ("5", 2), ("1,3-4", 3)])
def test_rungs_are_chosen_by_number(place: Path, wanted: str | None, numbers: int) -> None:
    assert len(chosen(load_config(place / "parity.yaml"), wanted)) == numbers


@pytest.mark.parametrize("wanted", ["8", "x", "1-", "", "-1"])
def test_a_range_that_names_no_rung_is_refused(place: Path, wanted: str) -> None:
    with pytest.raises(ConfigError):
        chosen(load_config(place / "parity.yaml"), wanted)
