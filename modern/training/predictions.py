"""What an artifact predicts for the labelled candidates of logged days, as a table to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from modern.features.feature_set import FeatureSet
from modern.features.numeric import Recency
from modern.features.spec import RealSpec
from modern.training.data import labelled_batches
from modern.transformer.artifact import load_artifact
from modern.transformer.calibration import Calibration, pctr_from_logits
from modern.transformer.forward import logits_of
from modern.transformer.inputs import ModelInputs, rows_of_requests
from replay.errors import ConfigError
from replay.logs.parquet import list_days, open_day

# Which history a request is judged with: its own, the steps of another request in its place, or
# its own with what was done dealt out anew over the times at which something was done.
Histories = Literal["own", "others", "shuffled"]
AS_IT_IS = Calibration(slope=1.0, intercept=0.0)


def write_predictions(
    artifact: Path,
    logs: Path,
    out: Path,
    *,
    days: tuple[date, date],
    histories: Histories = "own",
    seed: int = 0,
) -> int:
    """Write `request_id`, `ad_id` and, a task each, `label_*`, `p_*` and `raw_*`; say how many rows.

    Labels are null where the outcome is not known; `raw_*` is the probability before calibration.

    Args:
        artifact: The transformer's folder.
        logs: Folder of the logged days.
        out: The Parquet file.
        days: First and last; those that are logged count.
        histories: Which history each request is judged with.
        seed: Of what is dealt out.

    Raises:
        ArtifactError: The artifact is damaged.
        ConfigError: No such day is logged, or no such kind of history is known.
        LogError: A day can not be read.
    """
    if histories not in get_args(Histories):
        raise ConfigError(
            f"{histories!r} is no kind of history.",
            where="--histories",
            fix=f"use one of {', '.join(get_args(Histories))}",
        )
    found = load_artifact(artifact)
    chosen = [open_day(logs, day) for day in list_days(logs) if days[0] <= day <= days[1]]
    if not chosen:
        raise ConfigError(
            f"the log has no day from {days[0]} to {days[1]}.",
            where=str(logs),
            fix="name logged days: parity logs days DIR",
        )
    rng = np.random.default_rng(seed)
    tables = []
    for batch, rows in labelled_batches(chosen, found.feature_set, found.config):
        inputs = rows.inputs
        if histories != "own" and len(inputs):
            deal = _of_others if histories == "others" else _dealt_out
            inputs = deal(inputs, found.feature_set, rng)
        logits = logits_of(found.model, inputs)
        ids = batch.keys.request_ids.take(pa.array(batch.keys.request_of("candidate")))
        columns = {"request_id": ids, "ad_id": batch.keys.ad_ids}
        for place, task in enumerate(found.config.transformer.tasks):
            label = rows.labels[:, place]
            columns[f"label_{task}"] = pa.array(label, mask=np.isnan(label))
            columns[f"p_{task}"] = pa.array(
                pctr_from_logits(logits[:, place], found.calibrations[task])
            )
            columns[f"raw_{task}"] = pa.array(pctr_from_logits(logits[:, place], AS_IT_IS))
        tables.append(pa.table(columns))
    table = pa.concat_tables(tables)
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, out)
    return int(table.num_rows)


def _of_others(
    inputs: ModelInputs, feature_set: FeatureSet, rng: np.random.Generator
) -> ModelInputs:
    """Each request with the steps, times included, of another one of the shard."""
    del feature_set
    donor = inputs.take(rng.permutation(len(inputs)))
    fields = ("real", "codes", "age_hours", "old", "place", "weight", "offsets")
    return replace(inputs, **{f"step_{name}": getattr(donor, f"step_{name}") for name in fields})


def _dealt_out(
    inputs: ModelInputs, feature_set: FeatureSet, rng: np.random.Generator
) -> ModelInputs:
    """The times stay; what was done then is what the same user did at another time."""
    lengths = np.diff(inputs.step_offsets)
    owner = np.repeat(np.arange(len(inputs)), lengths)
    order = np.lexsort((rng.random(len(owner)), owner))
    order = rows_of_requests(inputs.step_offsets, np.arange(len(inputs)))[order]
    real = inputs.step_real[order]
    specs = [spec for spec in feature_set.steps if isinstance(spec, RealSpec)]
    of_time: Sequence[int] = [i for i, spec in enumerate(specs) if isinstance(spec, Recency)]
    real[:, of_time] = inputs.step_real[:, of_time]
    codes: NDArray[np.int64] = inputs.step_codes[order]
    return replace(inputs, step_real=real, step_codes=codes)
