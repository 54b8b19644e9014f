"""What the benchmarks' transformers read of a request: steps of numbers, and which of them there are.

No framework is imported here: a worker that runs an ONNX graph needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from replay.request import RequestBatch

STEPS, FIELDS = 8, 6


def inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The candidate's numbers as the last step, the newest steps of the history before it."""
    keys = batch.keys
    request = keys.request_of("candidate")
    steps = np.zeros((keys.num_candidates, STEPS, FIELDS), np.float32)
    mask = np.zeros((keys.num_candidates, STEPS), np.float32)
    price, clicks, seen = (
        np.log1p(_numbers(batch, f"candidate.{name}"))
        for name in ("price", "past_clicks", "past_impressions")
    )
    steps[:, -1, :3] = np.stack([price, clicks / 4, seen / 8], axis=1)
    mask[:, -1] = 1.0
    hours = (
        batch.column("logged_at").cast(pa.int64()).to_numpy()[keys.request_of("step")]
        - batch.column("history.at").cast(pa.int64()).fill_null(0).to_numpy()
    ) / 3.6e9
    items = batch.column("history.ad_id").fill_null(0).to_numpy()
    past = np.stack(
        [np.log1p(np.maximum(hours, 0)) / 6, items % 7 / 7, items % 11 / 11, items % 13 / 13],
        axis=1,
    )
    for place in range(1, STEPS):
        at = keys.step_offsets[1:] - place
        there = (at >= keys.step_offsets[:-1])[request]
        rows = np.maximum(at, 0)[request]
        steps[there, STEPS - 1 - place, 2:] = past[rows[there]]
        mask[there, STEPS - 1 - place] = 1.0
    return {"steps": steps, "mask": mask}


def _numbers(batch: RequestBatch, path: str) -> NDArray[np.float64]:
    values = pc.fill_null(batch.column(path).cast("float64"), 0.0)
    return np.nan_to_num(values.to_numpy(zero_copy_only=False)).clip(min=0.0)
