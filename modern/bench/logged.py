"""A trained model and requests out of a log, for figures of what is really served."""

from __future__ import annotations

from pathlib import Path

from modern.bench.measure import NUM_INPUTS
from modern.transformer.artifact import TransformerArtifact
from modern.transformer.inputs import ModelInputs, inputs_from_batch
from replay.adapters.example import example_batch
from replay.errors import ConfigError


def logged_inputs(
    artifact: TransformerArtifact, log: Path | None, *, requests: int
) -> list[ModelInputs]:
    """Several inputs of so many requests each, from the first day of a log, or the day it names.

    Raises:
        ConfigError: No log is named, or it has too few requests in its first row group.
    """
    if log is None:
        raise ConfigError(
            "a trained model needs requests of its own log.",
            where="--artifact without --like",
            fix="add --like logs/date=YYYY-MM-DD",
        )
    batch = example_batch(str(log), requests=NUM_INPUTS * requests)
    if batch.num_requests < 2 * requests:
        raise ConfigError(
            f"the first row group of the log holds {batch.num_requests} requests, and two lots of "
            f"{requests} are wanted at least.",
            where=str(log),
            fix="name another day, or fewer --requests",
        )
    starts = range(0, batch.num_requests - requests + 1, requests)
    return [
        inputs_from_batch(
            batch.slice(start, start + requests), artifact.feature_set, artifact.config.history
        )
        for start in starts
    ]
