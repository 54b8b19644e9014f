from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from parity.cli.main import cli
from parity.judge.report import Side
from parity.judge.verdict import decide
from parity.judge.verdict_json import RunFacts
from parity.render.run_directory import write_run
from replay.digests import digest_of_path
from replay.errors import ConfigError
from tests.parity.a_report import POLICY, a_report


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "scorer.bin"
    path.write_bytes(b"scorer")
    side = Side(name="cpp", digest=digest_of_path(path), identity={})
    report = a_report(challenger=side)
    write_run(tmp_path / "run", report, decide(report, POLICY), RunFacts(run_id="run"))
    return path


def gate(artifact: Path, *arguments: str) -> Result:
    run = str(artifact.parent / "run")
    command = ["gate", run, "--artifact", str(artifact), *arguments]
    return CliRunner().invoke(cli, command, standalone_mode=False)


def test_the_judged_artifact_passes(artifact: Path) -> None:
    result = gate(artifact)

    assert result.return_value == 0
    assert result.stdout.startswith("OPEN")


def test_another_artifact_is_refused_with_both_digests(artifact: Path) -> None:
    judged = digest_of_path(artifact)
    artifact.write_bytes(b"scorer!")

    result = gate(artifact)

    assert result.return_value == 1
    assert result.stdout.startswith("REFUSED")
    assert judged in result.stdout and digest_of_path(artifact) in result.stdout


def test_json_is_for_programs(artifact: Path) -> None:
    assert json.loads(gate(artifact, "--format", "json").stdout)["open"] is True
    artifact.write_bytes(b"scorer!")

    refused = json.loads(gate(artifact, "--format", "json").stdout)

    assert (refused["open"], refused["exit_code"]) == (False, 1)
    assert refused["refusals"][0]["code"] == "other_artifact"


def test_a_policy_of_a_configuration_is_asked_too(artifact: Path, tmp_path: Path) -> None:
    config = tmp_path / "strict.yaml"
    config.write_text("plans: [{reference: '*', challenger: '*', policy: {min_requests: 1000}}]")

    result = gate(artifact, "--config", str(config))

    assert result.return_value == 3
    assert "the policy asks for 1000" in result.stdout


def test_a_damaged_verdict_is_an_error_and_no_pass(artifact: Path) -> None:
    path = artifact.parent / "run" / "verdict.json"
    path.write_text(path.read_text()[:-40])

    result = gate(artifact)

    assert isinstance(result.exception, ConfigError)  # exit 2, by `main`
