"""Places of the candidates in their request."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.trace import Array, BatchKeys


def ranks(values: Array, keys: BatchKeys) -> NDArray[np.int32]:
    """[candidate], 0 for the highest value of its request; ties by ascending ad id.

    Text ids ascend by their UTF-8 bytes, as Python orders text. A NaN, which only `given`
    can bring, comes last.
    """
    request = keys.request_of("candidate")
    order = np.lexsort((_order_of_ids(keys.ad_ids), -values, request))
    found = np.empty(len(order), dtype=np.int32)
    found[order] = np.arange(len(order)) - keys.candidate_offsets[request]
    return found


def _order_of_ids(ids: pa.Array) -> NDArray[np.int64]:
    if pa.types.is_string(ids.type):
        texts = np.array(ids.to_pylist(), dtype=object)
        return np.unique(texts, return_inverse=True)[1].astype(np.int64)
    return np.asarray(ids.to_numpy(zero_copy_only=False), dtype=np.int64)
