"""A trace as a small file: integers narrowed, columns together, compressed, under a digest."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from replay.trace import Array

MAGIC = b"PARITYT1"
# Narrowed leaves and low-cardinality features shrink severalfold at any level; higher ones
# cost more time than the disk they save.
ZSTD_LEVEL = 1
_DIGEST_BYTES = 32
_LENGTH = struct.Struct("<Q")
_NARROW: Mapping[str, tuple[str, ...]] = {"i": ("i1", "u1", "i2", "u2", "i4"), "u": ("u1", "u2")}


class DamagedTraceError(Exception):
    """A trace file does not hold what was written."""


def parts_from_values(key: str, values: Mapping[str, Array]) -> list[bytes]:
    """The bytes of a trace file, in parts to be written one after another.

    Args:
        key: What the trace is of; `values_from_bytes` asks for it again.
        values: Checkpoint name to array.
    """
    codec = pa.Codec("zstd", compression_level=ZSTD_LEVEL)
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, array in values.items():
        stored = _narrowed(array)
        # Values of one column resemble each other; those of one row do not.
        blob = codec.compress(np.ascontiguousarray(stored.T).tobytes(), asbytes=True)
        entries.append(
            {
                "name": name,
                "dtype": array.dtype.str,
                "stored": stored.dtype.str,
                "shape": list(array.shape),
                "size": len(blob),
            }
        )
        blobs.append(blob)
    header = json.dumps({"key": key, "arrays": entries}).encode()
    body = [_LENGTH.pack(len(header)), header, *blobs]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    return [MAGIC, digest.digest(), *body]


def values_from_bytes(data: bytes, *, key: str) -> dict[str, Array]:
    """The values that `parts_from_values` wrote, bit for bit.

    Raises:
        DamagedTraceError: The bytes are not those that were written for this key.
    """
    start = len(MAGIC) + _DIGEST_BYTES
    view = memoryview(data)
    digest = data[len(MAGIC) : start]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(view[start:]).digest() != digest:
        raise DamagedTraceError
    (length,) = _LENGTH.unpack_from(data, start)
    blobs = start + _LENGTH.size + length
    header = json.loads(bytes(view[start + _LENGTH.size : blobs]))
    if header["key"] != key:
        raise DamagedTraceError
    return dict(_arrays(view[blobs:], header["arrays"]))


def _arrays(blobs: memoryview, entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Array]]:
    codec = pa.Codec("zstd")
    start = 0
    for entry in entries:
        shape, stored = tuple(entry["shape"]), np.dtype(entry["stored"])
        size = math.prod(shape) * stored.itemsize
        blob = blobs[start : start + entry["size"]]
        start += entry["size"]
        raw = codec.decompress(blob, decompressed_size=size, asbytes=True) if size else b""
        array = np.frombuffer(raw, stored).reshape(shape[::-1]).T
        yield entry["name"], np.array(array, dtype=np.dtype(entry["dtype"]), order="C")


def _narrowed(array: Array) -> Array:
    if array.size == 0 or array.dtype.kind not in _NARROW:
        return array
    low, high = int(array.min()), int(array.max())
    for name in _NARROW[array.dtype.kind]:
        kind = np.dtype(name)
        if kind.itemsize >= array.dtype.itemsize:
            continue
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return array.astype(kind)
    return array
