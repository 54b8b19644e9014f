"""`parity drill` on two stacks in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from parity.cli.main import cli
from parity.explain.diagnose import Diagnosis, Evidence

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
    assert done.output.splitlines()[-1] == (
        "PASSED  missed: 0, wrong names: 0, wrong explanations: 0, false alarms: 0"
    )


@pytest.mark.parametrize("format_", ["text", "json"])
def test_a_diagnosis_that_lies_fails_the_drill(
    project: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """Every place is named rightly, and every reason is made up."""

    def liar(evidence: Evidence) -> Diagnosis:
        return Diagnosis(
            text=f"{evidence.name} is dropped out", kind="dropout", support=1.0, bits=99.0
        )

    monkeypatch.setattr("parity.drill.score.diagnose", liar)
    config = ["--config", str(project / "parity.yaml"), "--pairs", "0", "--triples", "0"]

    done = run("drill", *ARGUMENTS, *config, "--reference", "ours", "--challenger", "copy",
               "--format", format_)  # fmt: skip

    assert done.return_value == 1
    if format_ == "json":
        found = json.loads(done.output)
        assert found["exit_code"] == 1
        assert found["totals"]["misdiagnosed"] == found["totals"]["with_class"] > 10
        assert found["totals"]["wrong_names"] == 0
    else:
        last = done.output.splitlines()[-1]
        assert last.startswith("FAILED  missed: 0, wrong names: 0, wrong explanations: ")
        assert "told wrongly at features.age_days: features.age_days is dropped out" in done.output
