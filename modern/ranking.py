"""Values to places: the ranks of each request's candidates, whatever model gave the values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modern.features.columns import integers
from replay.trace import BatchKeys


def ranks(values: NDArray[np.floating], keys: BatchKeys) -> NDArray[np.int32]:
    """[candidate], place in its request by falling value, ties by rising ad id; NaN comes last."""
    return ranks_by(values, id_order(keys.ad_ids), keys)


def ranks_by(
    values: NDArray[np.floating], ties: NDArray[np.int64], keys: BatchKeys
) -> NDArray[np.int32]:
    """[candidate], place in its request by falling value, ties by rising `ties`."""
    requests = keys.request_of("candidate")
    order = np.lexsort((ties, -values, requests))
    places = np.empty(len(values), np.int32)
    places[order] = np.arange(len(values)) - keys.candidate_offsets[requests[order]]
    return places


def id_order(ad_ids: pa.Array) -> NDArray[np.int64]:
    """[candidate], numbers that sort as the ids do; text by its UTF-8 bytes."""
    if pa.types.is_int64(ad_ids.type):
        return integers(ad_ids)
    dense = pc.rank(ad_ids.cast(pa.binary()), sort_keys="ascending", tiebreaker="dense")
    return integers(dense)
