"""A bare XGBoost or LightGBM model as a stack: `open: replay.adapters.booster:open_stack`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from replay.adapters.booster_stack import (
    BoosterStack,
    booster_stack,
    logged_columns,
    model_bytes,
)
from replay.adapters.booster_trees import Iterations, Library
from replay.errors import ArtifactError


def open_stack(
    artifact: Path,
    *,
    name: str = "booster",
    threads: int = 1,
    **options: Any,
) -> BoosterStack:
    """Open a model with the library that wrote it; its features, leaves and logit are checkpoints.

    `gbdt.leaves` holds ordinals within each tree: by rising node id for XGBoost, the leaf's index
    for LightGBM. The logit is the margin before the objective's link: log-odds where it has any.
    pctr is the objective's prediction.

    Args:
        artifact: XGBoost's JSON or UBJSON, or LightGBM's text; its first bytes tell.
        name: What reports call the stack.
        threads: The library's own.
        options: `inputs`, `example` and more: `replay.adapters.booster_stack.LoggedColumns`.

    Raises:
        ArtifactError: The file is missing or damaged, or its objective has no single prediction.
        ConfigError: An option does not fit, or the inputs are not the model's columns.
        StackError: The inputs function gave no usable arrays.
    """
    path = Path(artifact)
    logged = logged_columns(options, stack=name)
    library, package = open_library(path, threads, logged.iteration_range())
    return booster_stack(
        library,
        logged,
        path=path,
        name=name,
        versions={one: version(one) for one in (package, "numpy", "pyarrow")},
        threads={package: str(threads)},
    )


def open_library(path: Path, threads: int, iterations: Iterations | None) -> tuple[Library, str]:
    """The model, and the package that reads it.

    Raises:
        ArtifactError: As `open_stack`.
        ConfigError: It has fewer iterations.
    """
    data, where = model_bytes(path), str(path)
    if data[:1] == b"{":
        from replay.adapters.booster_xgboost import XgboostModel

        model = XgboostModel(data, where=where, threads=threads, iterations=iterations)
        return model, _xgboost_package()
    if data[:4] == b"tree":
        from replay.adapters.booster_lightgbm import LightgbmModel

        lightgbm = LightgbmModel(data, where=where, threads=threads, iterations=iterations)
        return lightgbm, "lightgbm"
    raise ArtifactError(
        f"the file starts with {data[:8]!r}, which is no booster's.",
        where=where,
        fix="save it with XGBoost's save_model as .json or .ubj, or with LightGBM's save_model",
    )


def _xgboost_package() -> str:
    """The distribution that brings the module: there is a smaller one for CPUs alone."""
    from importlib.metadata import packages_distributions

    return packages_distributions()["xgboost"][0]
