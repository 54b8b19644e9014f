"""One workplace for all tests of the commands: imported and trained once a session."""

from __future__ import annotations

import shutil

import pytest

from tests.end_to_end.workplace import ROOT, Workplace


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A synthetic log of four days, the legacy model trained on it, and all of its translations."""
    for module in ("tensorflow", "xgboost", "torch", "cpp_serving._core"):
        pytest.importorskip(module, reason=f"the reference stacks need {module}")
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copy(ROOT / "parity.yaml", folder)
    made = Workplace(folder=folder)
    made.succeed("parity", "logs", "import", "synthetic", "--out", "logs", "--days", 4,
                 "--requests", 1100, "--candidates", 10)  # fmt: skip
    made.succeed(
        "legacy", "train", "--logs", "logs", "--features", "synthetic", "--out", "artifacts/legacy"
    )
    made.succeed(
        "legacy", "export", "--artifact", "artifacts/legacy", "--out", "artifacts/cpp/scorer.bin"
    )
    made.succeed("modern", "train", "--logs", "logs", "--features", "artifacts/legacy/features.json",
                 "--out", "artifacts/modern")  # fmt: skip
    return made
