from __future__ import annotations

from pathlib import Path

import pytest

from parity.judge.gate import gate
from parity.judge.policy import Policy
from parity.judge.report import Canary, Fidelity, Report, RequestCounts, Side
from parity.judge.verdict import decide
from parity.judge.verdict_json import RunFacts, verdict_json
from parity.render.json import json_text
from replay.digests import digest_of_path
from replay.errors import ArtifactError, ConfigError
from tests.parity.a_report import POLICY, a_cause, a_metric, a_report, a_statistical_report


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    return folder


def a_run(artifact: Path, report: Report | None = None, **changes: object) -> Path:
    challenger = Side(name="port", digest=digest_of_path(artifact), identity={})
    judged = report if report is not None else a_report(challenger=challenger, **changes)
    run = artifact.parent / "run"
    run.mkdir()
    content = verdict_json(judged, decide(judged, POLICY), RunFacts(run_id="run"))
    (run / "verdict.json").write_text(json_text(content))
    return run


def test_it_opens_for_the_artifact_that_was_judged_equal(artifact: Path) -> None:
    answer = gate(a_run(artifact), artifact)

    assert answer.is_open
    assert answer.exit_code == 0


def test_one_changed_byte_shuts_it_and_both_digests_are_said(artifact: Path) -> None:
    run = a_run(artifact)
    judged = digest_of_path(artifact)
    (artifact / "weights").write_bytes(b"weighty")

    answer = gate(run, artifact)

    assert answer.exit_code == 1
    assert judged in answer.refusals[0].text
    assert digest_of_path(artifact) in answer.refusals[0].text


def test_one_more_file_in_the_artifact_shuts_it(artifact: Path) -> None:
    run = a_run(artifact)
    (artifact / "more").write_bytes(b"")

    assert gate(run, artifact).exit_code == 1


@pytest.mark.parametrize(
    ("changes", "code", "exit_code"),
    [
        ({"causes": (a_cause(),)}, "cause", 1),
        ({"unexplained": ("pctr",)}, "unexplained", 1),
        ({"canary": Canary(planted="scale:logit", caught=False)}, "canary_missed", 3),
        ({"fidelity": Fidelity(status="differs")}, "fidelity_differs", 3),
        ({"requests": RequestCounts(read=1, compared=2, rejected={})}, "totals", 4),
        ({"plants": ("scale:logit",)}, "planted", 1),
        ({"canary": Canary(planted=None, caught=None)}, "canary_not_run", 1),
        ({"sample": 0.999}, "sampled", 1),
        ({"requests": RequestCounts(read=9, compared=9, rejected={}, not_sampled=1)}, "sampled", 1),
    ],
)
def test_it_refuses_and_says_why(
    artifact: Path, changes: dict[str, object], code: str, exit_code: int
) -> None:
    answer = gate(a_run(artifact, **changes), artifact)

    assert not answer.is_open
    assert [refusal.code for refusal in answer.refusals] == [code]
    assert answer.exit_code == exit_code


@pytest.mark.parametrize(
    ("changes", "exit_code"),
    [
        ({"canary": Canary(planted="scale:logit", caught=False), "sample": 0.5}, 1),
        ({"requests": RequestCounts(read=1, compared=2, rejected={}), "sample": 0.5}, 4),
    ],
)
def test_of_several_refusals_the_weightiest_gives_the_exit_code(
    artifact: Path, changes: dict[str, object], exit_code: int
) -> None:
    answer = gate(a_run(artifact, **changes), artifact)

    assert len(answer.refusals) == 2
    assert answer.exit_code == exit_code


def test_a_statistical_parity_opens_it_too(artifact: Path) -> None:
    report = a_statistical_report(a_metric())
    challenger = Side(name="modern", digest=digest_of_path(artifact), identity={})
    judged = a_report(outputs="statistical", metrics=report.metrics, challenger=challenger)

    assert gate(a_run(artifact, judged), artifact).is_open


def test_a_stricter_policy_can_shut_it_and_a_looser_one_can_not_open_it(artifact: Path) -> None:
    run = a_run(artifact)
    assert gate(run, artifact, policy=Policy(min_requests=101)).exit_code == 3
    assert gate(run, artifact, policy=Policy(min_requests=1)).is_open

    (run / "verdict.json").unlink()
    run.rmdir()
    missed = a_run(artifact, canary=Canary(planted="scale:logit", caught=False))
    assert not gate(missed, artifact, policy=Policy(min_coverage=0.0)).is_open


def test_a_verdict_that_its_own_figures_do_not_bear_out_is_refused(artifact: Path) -> None:
    run = a_run(artifact, unexplained=("pctr",))
    path = run / "verdict.json"
    text = path.read_text()
    assert text.count('"DIVERGED"') == 2  # the verdict and its reason
    path.write_text(
        text.replace('"DIVERGED"', '"PARITY"').replace('"exit_code": 1', '"exit_code": 0')
    )

    answer = gate(run, artifact)

    assert [r.code for r in answer.refusals] == ["unexplained", "other_verdict"]
    assert answer.exit_code == 1


@pytest.mark.parametrize("keep", [0, 1, 100, -2])
def test_a_truncated_verdict_is_no_verdict(artifact: Path, keep: int) -> None:
    run = a_run(artifact)
    path = run / "verdict.json"
    path.write_text(path.read_text()[:keep])

    with pytest.raises(ConfigError):
        gate(run, artifact)


def test_every_single_flipped_digit_of_the_report_is_noticed(artifact: Path) -> None:
    run = a_run(artifact)
    path = run / "verdict.json"
    text = path.read_text()
    places = [i for i, c in enumerate(text) if c.isdigit() and i < text.index('"policy"')]
    for place in places[::7]:
        flipped = str((int(text[place]) + 1) % 10)
        path.write_text(text[:place] + flipped + text[place + 1 :])
        try:
            answer = gate(run, artifact)
        except ConfigError:
            continue
        # The exit code and the texts of reasons follow from the figures and are not read.
        assert answer.is_open
        assert place < text.index('"reference"')


def test_a_run_without_a_verdict_is_not_finished(artifact: Path) -> None:
    with pytest.raises(ConfigError, match="not finished"):
        gate(artifact.parent / "no-run", artifact)


def test_binary_rubbish_is_no_verdict(artifact: Path) -> None:
    run = a_run(artifact)
    (run / "verdict.json").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError):
        gate(run, artifact)


def test_an_artifact_that_is_not_there_is_an_error(artifact: Path) -> None:
    with pytest.raises(ArtifactError):
        gate(a_run(artifact), artifact / "nothing")
