"""A request's place in a fixed random order, the same wherever and whenever it is read."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def request_hashes(request_ids: pa.Array) -> NDArray[np.uint64]:
    """[request]: 64 bits of BLAKE2b over the id's UTF-8 bytes, most significant byte first.

    Samples, examples and `--sample` go by it, so they do not depend on the order of the log.
    """
    digests = b"".join(
        blake2b(request_id.encode(), digest_size=8).digest()
        for request_id in request_ids.to_pylist()
    )
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def is_sampled(hashes: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """[request]: whether a sample of `share` of all requests has it; 1.0 has every one."""
    if share >= 1.0:
        return np.ones(len(hashes), dtype=np.bool_)
    return hashes < np.uint64(share * 2.0**64)
