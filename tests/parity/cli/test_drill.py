"""`parity drill` on two stacks in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from parity.cli.main import cli

ARGUMENTS = ["--date", "2026-01-05", "--requests", "24", "--pairs", "3", "--triples", "2"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drill")
    (folder / "parity.yaml").write_text(
        "logs: logs\n"
        "stacks:\n"
        "  ours: {open: 'examples.own_stacks.stacks:open_reference'}\n"
        "  copy: {open: 'examples.own_stacks.stacks:open_reference'}\n"
        "  rewrite: {open: 'examples.own_stacks.stacks:open_challenger'}\n"
        "plans:\n"
        "  - {reference: ours, challenger: [copy, rewrite], outputs: bounded}\n"
    )
    importing = ["logs", "import", "synthetic", "--out", str(folder / "logs"), "--days", "1"]
    assert not run(*importing, "--requests", "60").exit_code
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


def test_a_copy_is_drilled_and_everything_is_named(project: Path) -> None:
    config = ["--config", str(project / "parity.yaml")]

    done = run("drill", *ARGUMENTS, *config, "--reference", "ours", "--challenger", "copy",
               "--format", "json")  # fmt: skip

    found = json.loads(done.output)
    totals = found["totals"]
    assert done.return_value == found["exit_code"] == 0
    assert (
        totals["planted"]
        >= totals["above_floor"]
        == totals["detected"]
        == totals["right_place"]
        > 25
    )
    assert totals["wrong_names"] == totals["false_alarms"] == totals["real"] == 0
    assert totals["benign"] >= 60
    assert totals["combined"] == totals["combined_all_named"] == 5
    assert len(found["cases"]) == totals["planted"] + 5
    assert "hash_seed" in found["not_here"]["real"]


def test_what_differs_already_is_said_and_left_out(project: Path) -> None:
    config = ["--config", str(project / "parity.yaml")]

    done = run("drill", *ARGUMENTS, *config, "--reference", "ours", "--challenger", "rewrite")

    assert done.return_value == 0
    assert "differs with nothing planted, and is left out: features.age_days" in done.output
    assert "not possible here as changes of code, configuration or artifact" in done.output
    assert "benign variations: 6" in done.output
