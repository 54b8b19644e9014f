"""The core stays light, and every arrow between packages points the one way it may."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = {"torch", "tensorflow", "xgboost", "onnx", "onnxruntime", "ray", "keras"}


def modules_after(statement: str) -> set[str]:
    """Top-level modules loaded in a fresh interpreter by a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import parity, replay",
        "from replay import RequestBatch, StackSpec, Trace, open_stack",
        "import parity.runner, parity.config, parity.judge.verdict, parity.render.html",
        "import replay.logs.parquet, replay.engine.local, replay.engine.on_ray",
    ],
)
def test_the_core_loads_no_framework(statement: str) -> None:
    assert not modules_after(statement) & FRAMEWORKS


def test_importing_the_packages_leaves_numpy_for_later() -> None:
    """A process can fix its native thread counts between the import and the first use."""
    assert "numpy" not in modules_after("import parity, replay, replay.threads")


def test_help_is_quick_because_it_loads_nothing_heavy() -> None:
    heavy = FRAMEWORKS | {"numpy", "pyarrow", "scipy", "pydantic"}

    loaded = modules_after(
        "import contextlib, io, sys\nfrom parity.cli.main import main\nsys.argv = ['parity', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main()"
    )

    assert not loaded & heavy


def test_the_arrows_between_packages_hold() -> None:
    """The contracts stand in pyproject.toml; a broken one is printed."""
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed")

    done = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_no_file_grew_a_second_idea() -> None:
    """Files stay short enough to read whole."""
    sources = [
        path
        for package in ("replay", "parity", "legacy", "cpp_serving", "modern")
        for end in ("*.py", "*.cc", "*.h")
        for path in (ROOT / package).rglob(end)
    ]

    too_long = {
        str(p.relative_to(ROOT)): n for p in sources if (n := len(p.read_text().splitlines())) > 400
    }

    assert sources
    assert not too_long
