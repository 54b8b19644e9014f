"""The example of docs/adapters.md does what its page says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("own_models"), "own_models")


def prepared(root: Path, example: str) -> Path:
    """An example alone in a folder, as a reader has it after the first two commands."""
    shutil.copytree(
        ROOT / "examples" / example,
        root / "examples" / example,
        ignore=shutil.ignore_patterns(
            *("logs", "runs", "*.onnx", "*.safetensors", "*.json", "__pycache__"),
            *("legacy", "rewrite"),
        ),
    )
    run(root, "-m", "parity", "logs", "import", "synthetic", "--out", f"examples/{example}/logs",
        "--days", "1", "--requests", "120", "--candidates", "8")  # fmt: skip
    run(root, "-m", f"examples.{example}.ranker")
    return root


def run(root: Path, *arguments: str) -> int:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, check=False, timeout=240
    ).returncode


def replayed(root: Path, challenger: str) -> tuple[int, list[str]]:
    code = run(root, "-m", "parity", "replay", "--config", "examples/own_models/parity.yaml",
               "--date", "2026-01-05", "--reference", "ours", "--challenger", challenger)  # fmt: skip
    runs = root / "examples" / "own_models" / "runs"
    (verdict,) = runs.glob(f"2026-01-05-{challenger}-*/verdict.json")
    causes = json.loads(verdict.read_text())["causes"]
    return code, [cause["checkpoint"] for cause in causes]


def test_the_export_is_the_same_model(workplace: Path) -> None:
    assert replayed(workplace, "export") == (0, [])


def test_both_mistakes_of_the_serving_side_are_named(workplace: Path) -> None:
    assert replayed(workplace, "serving") == (1, ["features.past_clicks", "mlp.0"])


def test_a_booster_s_file_in_cpp_is_the_same_and_the_proof_goes_beyond_the_day(
    tmp_path: Path,
) -> None:
    root = prepared(tmp_path, "own_booster")
    sides = ["--config", "examples/own_booster/parity.yaml", "--reference", "booster"]

    codes = [
        run(root, "-m", "parity", *command, *sides, "--challenger", challenger)
        for command, challenger in (
            (["replay", "--date", "2026-01-05"], "cpp_file"),
            (["replay", "--date", "2026-01-05"], "converted"),
            (["prove"], "cpp_file"),
            (["prove"], "converted"),
        )
    ]

    assert codes == [0, 0, 0, 1]


def test_a_rewritten_hybrid_s_two_mistakes_are_named_and_its_trees_are_proven(
    tmp_path: Path,
) -> None:
    root = prepared(tmp_path, "own_hybrid")
    sides = ["--config", "examples/own_hybrid/parity.yaml", "--reference", "legacy"]

    replay = ["replay", "--date", "2026-01-05", *sides, "--challenger", "rewrite"]
    assert run(root, "-m", "parity", *replay) == 1
    assert run(root, "-m", "parity", "prove", *sides, "--challenger", "trees_in_cpp") == 0

    (verdict,) = (root / "examples" / "own_hybrid" / "runs").glob("*/verdict.json")
    causes = json.loads(verdict.read_text())["causes"]
    assert [cause["checkpoint"] for cause in causes] == ["features.price", "leaf_sum/Gather"]
    assert "above 60 become 60" in causes[0]["diagnosis"]
