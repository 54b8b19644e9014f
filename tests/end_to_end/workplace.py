"""A folder as a user has it: a real log, really trained models, a parity.yaml; commands run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DAY = "2026-01-08"  # the last of the four; the models were trained on the first two


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def verdict(self) -> dict[str, Any]:
        """verdict.json, as `--format json` printed it: alone on standard output."""
        value: dict[str, Any] = json.loads(self.out)
        return value

    @property
    def causes(self) -> list[str]:
        return [cause["checkpoint"] for cause in self.verdict["causes"]]


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """The folder, and how commands are run in it."""

    folder: Path

    def run(self, module: str, *arguments: object, code_from: Path = ROOT, **variables: str) -> Ran:
        """Run `python -m module` in the folder, with the packages of a checkout."""
        environment = (
            os.environ
            | {"PYTHONPATH": f"{code_from}{os.pathsep}{ROOT}", "NO_COLOR": "1"}
            | variables
        )
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,  # below pytest's own limit, so that the output is seen
            check=False,
        )
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr)

    def replay(
        self,
        challenger: str,
        *more: object,
        code_from: Path = ROOT,
        date: str = DAY,
        **variables: str,
    ) -> Ran:
        """Replay a day, legacy against a challenger."""
        return self.run(
            "parity", "replay", "--date", date, "--reference", "legacy", "--challenger", challenger,
            "--format", "json", *more, code_from=code_from, **variables,
        )  # fmt: skip

    def runs(self) -> set[str]:
        """Names of the run directories there are."""
        folder = self.folder / "runs"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def succeed(self, module: str, *arguments: object) -> None:
        """Run a command that has to succeed."""
        ran = self.run(module, *arguments)
        assert ran.code == 0, f"{module} {arguments}: {ran.out}{ran.err}"
