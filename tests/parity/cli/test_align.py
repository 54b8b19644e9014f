"""`parity align`: exit codes, what is printed, what is written, on two toys in their processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from parity.cli.main import main
from parity.compare.alignment import align
from parity.config import load_config
from tests.toy_logs import write_toy_log
from tests.toys import ToyStack

CONFIG = """\
logs: logs
stacks:
  ours: {open: "tests.toys:open_stack"}  # the one we trust
  theirs: {open: "tests.toys:open_stack", options: {inner: "block.0", scale: {block.0: 1.01}}}
  same: {open: "tests.toys:open_stack"}
  broken: {open: "tests.toys:open_stack", options: {money: false}}
plans:
  # A translation.
  - reference: ours
    challenger: theirs
    outputs: bounded
  - {reference: ours, challenger: [same, broken]}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "parity.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("parity.cli.main.fix_threads", lambda: None)

    def run(challenger: str, *more: str, reference: str = "ours") -> Done:
        sides = ["--reference", reference, "--challenger", challenger]
        code = main(["align", *sides, "--config", str(folder / "parity.yaml"), *more])
        return Done(code, *capsys.readouterr())

    return run


@pytest.fixture
def logged(folder: Path) -> Path:
    """The toys' requests, their history with the action that a log has to hold."""
    write_toy_log(folder / "logs")
    return folder


def test_a_renamed_layer_is_found_by_its_values_though_it_has_a_fault(
    logged: Path, run: Run
) -> None:
    done = run("theirs")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(
        "ALIGNED  14 matched already, 1 proposed, 0 unsure, 0 unmatched, 0 explained"
    )
    assert "block.0 is inner.mix" in done.out
    assert "    renames:\n      block.0: inner.mix\n" in done.out
    assert (logged / "parity.yaml").read_text() == CONFIG


def test_what_is_written_aligns_the_stacks_and_keeps_the_comments(logged: Path, run: Run) -> None:
    done = run("theirs", "--write", "--date", "2019-11-30")

    path = logged / "parity.yaml"
    plan = load_config(path).plan("ours", "theirs")
    reference = ToyStack().checkpoints
    alignment = align(reference, ToyStack(inner="block.0").checkpoints, plan)
    assert done.code == 0
    assert "written    1 renames into the plan" in done.out
    assert alignment.unmatched_reference == alignment.unmatched_challenger == ()
    assert len(alignment.pairs) == len(reference)
    assert all(line in path.read_text().splitlines() for line in CONFIG.splitlines())
    assert run("theirs").out.startswith("ALIGNED  15 matched already, 0 proposed")


def test_json_holds_the_evidence(logged: Path, run: Run) -> None:
    done = run("theirs", "--format", "json")

    content = json.loads(done.out)
    (match,) = content["matches"]
    assert (content["schema"], content["exit_code"]) == ("parity.alignment/1", 0)
    assert (content["requests"], content["written"]) == (32, False)
    assert (match["reference"], match["challenger"]) == ("inner.mix", "block.0")
    assert match["sure"] is True
    assert "computed from features.hour" in match["structure"]
    assert content["renames"] == {"block.0": "inner.mix"}


def test_without_values_no_log_is_read(run: Run) -> None:
    done = run("theirs", "--no-values")

    assert done.code == 0
    assert "no values were recorded" in done.out
    assert "the only one of its form at this place" in done.out


def test_what_only_one_side_has_is_explained(logged: Path, run: Run) -> None:
    done = run("broken")

    assert done.code == 0
    assert (
        "explained  reference ecpm_micros: the challenger has no checkpoint after pctr" in done.out
    )


def test_nothing_to_write_leaves_the_file(logged: Path, run: Run) -> None:
    done = run("same", "--write")

    assert done.code == 0
    assert (logged / "parity.yaml").read_text() == CONFIG


@pytest.mark.parametrize(
    ("challenger", "more", "said"),
    [
        ("nobody", (), "no plan speaks of ours -> nobody"),
        ("theirs", (), "there is no folder"),
        ("theirs", ("--logs", "."), "there is no logged day"),
        ("theirs", ("--date", "30.11.2019"), "is no date"),
    ],
)
def test_wrong_use_exits_with_2_and_says_what_to_do(
    challenger: str, more: tuple[str, ...], said: str, run: Run
) -> None:
    done = run(challenger, *more)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "fix:" in done.err
