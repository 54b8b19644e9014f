"""Opens any model file that the scorer reads: the exported artifact, XGBoost's, LightGBM's."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path

from cpp_serving._core import Scorer, TreeScorer
from replay.errors import ArtifactError, StackError

_MAGIC = b"PARITYSC"


def open_model(
    path: str | PathLike[str],
    *,
    iterations: tuple[int, int] | None = None,
    missing: float = math.nan,
    kernel: str = "auto",
    threads: int = 1,
) -> Scorer | TreeScorer:
    """Read a model, check it as a whole, and compile it for this processor.

    Args:
        path: A `scorer.bin` (docs/formats.md), an XGBoost model as JSON or UBJSON (1.x to 3.4),
            or LightGBM's text. Which one it is, is seen from its first bytes.
        iterations: The boosting iterations that count, first and end; all by default. Of bare
            models only.
        missing: Values equal to it are missing, beside NaN. Of bare models only.
        kernel: One of `Scorer.kernels()`; by default the fastest that this processor can run.
        threads: That share a call of many rows.

    Returns:
        A `Scorer` for an artifact, which scores logged requests; a `TreeScorer` for a bare model,
        which scores float32 matrices [row, feature].

    Raises:
        ArtifactError: The file is absent, damaged, or holds what can not be scored.
        StackError: An option that the model, or this processor, does not have.
    """
    file = Path(path)
    try:
        with file.open("rb") as opened:
            is_artifact = opened.read(len(_MAGIC)) == _MAGIC
    except OSError as error:
        raise ArtifactError(
            f"the model file can not be read: {error.strerror}.",
            where=str(file),
            fix="name a scorer.bin, or a model that xgboost or lightgbm saved",
        ) from error
    if not is_artifact:
        return TreeScorer(
            file, iterations=iterations, missing=missing, kernel=kernel, threads=threads
        )
    if iterations is not None or not math.isnan(missing):
        raise StackError(
            "an exported artifact has no iterations to choose, and its features say what is missing.",
            where=str(file),
            fix="open it without the options 'iterations' and 'missing'",
        )
    return Scorer(file, kernel=kernel, threads=threads)
