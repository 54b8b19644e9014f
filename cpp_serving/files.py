"""A bare XGBoost or LightGBM file, scored by the C++ scorer, as a stack: `open: cpp_serving.files:open_stack`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import cpp_serving
from cpp_serving.file_model import FileModel
from replay.adapters.booster_stack import (
    BoosterStack,
    booster_stack,
    logged_columns,
    model_bytes,
)


def open_stack(
    artifact: Path,
    *,
    name: str = "cpp_file",
    threads: int = 1,
    kernel: str = "auto",
    **options: Any,
) -> BoosterStack:
    """Open a model file in C++; its features, leaves, logit and pctr are checkpoints.

    They are those of `replay.adapters.booster:open_stack`, with the same options, so that a file
    can be compared with itself as its own library scores it. The logit goes on from given leaves,
    and pctr from a given logit, by the scorer's own code.

    Args:
        artifact: XGBoost's JSON or UBJSON, or LightGBM's text; its first bytes tell.
        name: What reports call the stack.
        threads: That share a call of many rows.
        kernel: One of `Scorer.kernels()`; by default the fastest that this processor can run.
        options: `inputs`, `example` and more: `replay.adapters.booster_stack.LoggedColumns`.

    Raises:
        ArtifactError: The file is missing or damaged, or its objective has no single prediction.
        ConfigError: An option does not fit, or the inputs are not the model's columns.
        StackError: The inputs function gave no usable arrays; a kernel that can not run here.
    """
    path = Path(artifact)
    logged = logged_columns(options, stack=name)
    model = FileModel(
        model_bytes(path),
        where=str(path),
        threads=threads,
        kernel=kernel,
        iterations=logged.iteration_range(),
    )
    return booster_stack(
        model,
        logged,
        path=path,
        name=name,
        code=cpp_serving,
        versions={package: version(package) for package in ("numpy", "pyarrow")},
        threads={"cpp_serving": str(threads)},
    )
