"""A bundle fails while its cause is there, passes when it is mended, and else can not tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from parity.explain.reproduce import check_bundle
from parity.explain.reproduce_bundle import read_bundle
from replay.registry import StackSpec
from replay.stack import StackIdentity
from tests.parity.explain.bundles import (
    ROOT,
    TOY,
    the_bundle,
    toy,
    written,
)
from tests.toys import ToyStack


def test_a_bundle_fails_today_and_passes_when_mended(tmp_path: Path) -> None:
    path = the_bundle(written(tmp_path, toy(features__price=1.5)))

    today = check_bundle(path)
    mended = check_bundle(path, challenger=toy())

    assert (today.status, today.exit_code) == ("failing", 1)
    values = read_bundle(path)[0].values
    assert f"reference {values.reference!r}, challenger {values.challenger!r}" in today.text
    assert (mended.status, mended.exit_code, mended.is_mended) == ("mended", 0, True)
    assert "when found" in mended.text


def test_another_cause_s_mending_is_no_mending(tmp_path: Path) -> None:
    found = written(tmp_path, toy(features__age_days=1.5, left=1.25))
    challenger = toy(left=1.25)

    status = {
        one.checkpoint: check_bundle(one.path, challenger=challenger).status
        for one in found
        if one.path is not None
    }

    assert status == {"features.age_days": "mended", "left": "failing"}


def test_another_reference_can_not_tell(tmp_path: Path) -> None:
    path = the_bundle(written(tmp_path, toy(features__price=1.5)))

    outcome = check_bundle(path, challenger=toy(), reference=toy(logit=1.5))

    assert (outcome.status, outcome.exit_code) == ("unknown", 3)
    assert "another artifact" in outcome.reason
    assert not outcome.is_mended


def test_a_reference_that_gives_another_value_can_not_tell(tmp_path: Path) -> None:
    """Its digest is what it was: code beside the artifact has changed."""
    path = the_bundle(written(tmp_path, toy(logit=1.5), reference=toy(name="ours", logit=1.25)))

    outcome = check_bundle(path, reference=toy(name="ours", logit=1.125), challenger=toy())

    assert outcome.status == "unknown"
    assert "no longer gives the value" in outcome.reason


def test_what_another_difference_hides_can_not_be_told(tmp_path: Path) -> None:
    """The layer before it is wrong now, and no side can be given it: whose this is, is open."""
    sealed = replace(TOY, options={"unsettable": ["inner.mix"]})
    path = the_bundle(written(tmp_path, toy(left=1.5), reference=sealed))
    options = {"scale": {"inner.mix": 1.5}, "unsettable": ["inner.mix"]}

    outcome = check_bundle(path, challenger=replace(TOY, options=options))

    assert outcome.status == "unknown"
    assert "inner.mix" in outcome.reason


def test_what_can_only_be_recorded_is_judged_on_its_own_inputs(tmp_path: Path) -> None:
    """The layer before it is wrong now; the reference's step on that says that this one is right."""
    path = the_bundle(written(tmp_path, toy(left=1.5)))
    options = {"scale": {"inner.mix": 1.5}, "unsettable": ["inner.mix"]}

    outcome = check_bundle(path, challenger=replace(TOY, options=options))

    assert (outcome.status, outcome.also) == ("mended", ("inner.mix",))


def test_a_challenger_of_another_training_can_not_tell(tmp_path: Path) -> None:
    path = the_bundle(written(tmp_path, toy(left=1.5)))
    opener = "tests.parity.explain.test_reproduce:open_of_another_training"

    outcome = check_bundle(path, challenger=StackSpec(name="theirs", opener=opener))

    assert outcome.status == "unknown"
    assert "another training" in outcome.reason


class OfAnotherTraining(ToyStack):
    def identity(self) -> StackIdentity:
        return replace(super().identity(), training_id="1" * 32)


def open_of_another_training(artifact: Path | None = None) -> ToyStack:
    return OfAnotherTraining("other")


def test_a_checkpoint_that_is_gone_can_not_tell(tmp_path: Path) -> None:
    path = the_bundle(written(tmp_path, toy(inner__mix=1.5)))
    renamed = replace(TOY, options={"inner": "inner.mix2"})

    outcome = check_bundle(path, challenger=renamed)

    assert outcome.status == "unknown"
    assert "no longer both have this checkpoint" in outcome.reason


def test_the_pytest_file_fails_and_passes(tmp_path: Path) -> None:
    path = the_bundle(written(tmp_path, toy(features__price=1.5)))

    failing = _pytest(path / "test_reproduce.py")
    description = json.loads((path / "bundle.json").read_text())
    description["challenger"]["options"] = {}
    (path / "bundle.json").write_text(json.dumps(description))
    passing = _pytest(path / "test_reproduce.py")

    assert failing.returncode == 1
    assert "STILL FAILING  features.price" in failing.stdout
    assert passing.returncode == 0, passing.stdout


def test_the_tests_of_a_run_are_run_at_once(tmp_path: Path) -> None:
    found = written(tmp_path, toy(features__price=1.5, features__age_days=1.5))
    assert len(found) == 2

    ran = _pytest(tmp_path / "causes")

    assert "2 failed" in ran.stdout, ran.stdout + ran.stderr


def _pytest(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    return subprocess.run(
        [*command, str(path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
