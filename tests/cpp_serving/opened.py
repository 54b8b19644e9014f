"""Opens the C++ scorer on small real artifacts, for the tests beside this file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cpp_serving.stack import CppStack, open_stack
from legacy.export import export
from tests.artifacts import write_artifact


def exported(folder: Path, **artifact: Any) -> Path:
    """A scorer's file; `artifact` as in `tests.artifacts.write_artifact`."""
    legacy = write_artifact(folder / "legacy", **artifact)
    export(legacy, folder / "scorer.bin")
    return folder / "scorer.bin"


def opened(folder: Path, **artifact: Any) -> CppStack:
    """The scorer of such a file."""
    return open_stack(exported(folder, **artifact))


def with_feature(folder: Path, feature: Mapping[str, Any], **artifact: Any) -> CppStack:
    """A scorer whose first feature is this one, called `f`; a plain number feeds its trees."""
    features: Sequence[Mapping[str, Any]] = (
        {"name": "f", **feature},
        {"name": "plain", "kind": "number", "source": "candidate.price"},
    )
    return opened(folder, features=features, num_trees=2, depth=2, **artifact)
