"""`parity prove`: exit codes, what is printed, and plants that it has to catch."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from legacy.export import export
from parity.cli.main import main
from tests.artifacts import write_artifact

CONFIG = """
stacks:
  cpp: {open: "cpp_serving.stack:open_stack", artifact: scorer.bin}
  again: {open: "cpp_serving.stack:open_stack", artifact: scorer.bin}
  port: {open: "modern.port.stack:open_stack", artifact: legacy}
  plain: {open: "tests.replay.engine.toy_stack:open_stack"}
  toy: {open: "tests.replay.engine.tree_toys:open_stack"}
  toy_le: {open: "tests.replay.engine.tree_toys:open_stack", options: {gives: less_or_equal}}
  toy_fails: {open: "tests.replay.engine.tree_toys:open_stack", options: {gives: nothing}}
plans:
  - {reference: [cpp, port], challenger: [cpp, port], outputs: bounded}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prove_cli")
    write_artifact(folder / "legacy", num_trees=10, depth=3)
    export(folder / "legacy", folder / "scorer.bin")
    (folder / "parity.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("parity.cli.main.fix_threads", lambda: None)

    def run(reference: str, challenger: str, *more: str) -> Done:
        sides = ["--reference", reference, "--challenger", challenger]
        code = main(["prove", *sides, "--config", str(folder / "parity.yaml"), *more])
        return Done(code, *capsys.readouterr())

    return run


def test_equal_trees_exit_with_0_and_say_so_first(run: Run) -> None:
    done = run("cpp", "port")

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("EQUAL ON EVERY INPUT  challenger port gives the leaves of")


@pytest.mark.parametrize(
    ("challenger", "kind", "says"),
    [
        ("again", "threshold_le", "(exactly the threshold)"),
        ("again", "nan_direction", "missing: reference leaf"),
        ("port", "float64_thresholds", "(exactly the threshold)"),
    ],
)
def test_a_plant_exits_with_1_and_the_counterexample(
    challenger: str, kind: str, says: str, run: Run
) -> None:
    done = run("cpp", challenger, "--plant", f"{kind}:gbdt.leaves")

    assert done.code == 1
    assert done.out.startswith(f"COUNTEREXAMPLE  challenger {challenger} leaves reference cpp")
    assert says in done.out.splitlines()[1]
    assert f"planted    {kind}:gbdt.leaves" in done.out


def test_json_holds_the_whole_row_and_stands_alone(run: Run) -> None:
    done = run("cpp", "again", "--plant", "nan_direction:gbdt.leaves", "--format", "json")

    found = json.loads(done.out)
    assert found["schema"] == "parity.proof/1"
    assert (done.code, found["exit_code"], found["outcome"]) == (1, 1, "counterexample")
    assert found["identities"]["challenger"]["digest"] != found["identities"]["reference"]["digest"]
    example = found["counterexamples"][0]
    assert (example["relation"], example["value"], example["value_text"]) == (
        "missing", None, "nan",
    )  # fmt: skip
    assert example["row"][f"{example['feature']}_text"] == "nan"
    assert sum(count["visited"] for count in found["kinds"]) == found["points"]


def test_json_of_equal_sides_repeats_byte_by_byte(run: Run) -> None:
    first, second = (run("cpp", "port", "--format", "json") for _ in range(2))

    assert first.code == 0
    assert first.out == second.out


def test_the_plants_of_trees_are_listed_and_no_others(run: Run) -> None:
    done = run("cpp", "port", "--plant", "list")

    kinds = {line.split()[0] for line in done.out.splitlines()[::2]}
    of_trees = {
        *("threshold_le", "float64_thresholds", "threshold_digits"),
        *("nan_direction", "nan_left", "nan_right"),
        *("children_exchanged", "tree_columns_exchanged", "trees_reversed", "leaf_numbering"),
    }
    assert (done.code, kinds) == (0, of_trees)


@pytest.mark.parametrize(
    ("sides", "plant", "said"),
    [
        (("cpp", "plain"), None, "stack 'plain' shows no trees"),
        (("plain", "cpp"), None, "stack 'plain' shows no trees"),
        (("cpp", "nowhere"), None, "no stack is called 'nowhere'"),
        (("cpp", "toy"), None, "which 'toy' does not have"),
        (("cpp", "port"), "tree_limit:regression.leaf_sum", "lies outside the trees"),
        (("cpp", "port"), "scale=2:features.price", "lies outside the trees"),
        (("cpp", "port"), "off_by_one:gbdt.leaves", "no bug is called|recorded values only"),
        (("cpp", "port"), "threshold_le", "names no kind and checkpoint"),
    ],
)
def test_wrong_use_exits_with_2_and_names_it(
    sides: tuple[str, str], plant: str | None, said: str, run: Run
) -> None:
    done = run(*sides, *([] if plant is None else ["--plant", plant]))

    assert (done.code, done.out) == (2, "")
    assert any(part in done.err for part in said.split("|")), done.err


def test_undecided_exits_with_3(run: Run) -> None:
    done = run("cpp", "port", "--limit", "1")

    assert done.code == 3
    assert done.out.startswith("UNDECIDED")
    assert "--limit allows more" in done.out


def test_a_stack_that_fails_exits_with_4(run: Run) -> None:
    done = run("toy", "toy_fails")

    assert done.code == 4
    assert "ZeroDivisionError" in done.err


def test_a_stack_of_ones_own_is_proven_like_any_other(run: Run) -> None:
    assert run("toy", "toy").code == 0
    assert run("toy", "toy_le").code == 1
    assert run("toy_le", "toy_le").code == 3
