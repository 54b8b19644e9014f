"""Reads a copy of a scorer's file, and edits it with its checksums renewed: how faults are planted."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from replay.capabilities import TreeStructure

_TABLE = 64
_ENTRY = struct.Struct("<16sQQII")
_CHECKSUM_AT = 24
_PROGRAM_HEADER = 8
_RECORD_SIZE = 64
_NODE_LEAF = 0xFFFFFFFF
_MISSING_GOES_LEFT = 0x80000000

# Where a feature's record holds a parameter (docs/formats.md).
PARAMETERS: dict[str, tuple[int, str]] = {
    "utc_offset_minutes": (24, "<i"),
    "seed": (28, "<I"),
    "prior": (48, "<d"),
}


class ScorerFile:
    """A copy of a sound scorer's file."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        (count,) = struct.unpack_from("<I", data, 12)
        self._entries = {
            name.rstrip(b"\0").decode(): (_TABLE + place * _ENTRY.size, offset, length)
            for place in range(count)
            for name, offset, length, _, _ in [_ENTRY.unpack_from(data, _TABLE + place * 40)]
        }

    def change_parameter(self, feature: int, parameter: str, change: Callable[[Any], Any]) -> None:
        """Change a parameter of the feature at a place in the program."""
        _, section, _ = self._entries["program"]
        at, form = PARAMETERS[parameter]
        at += section + _PROGRAM_HEADER + feature * _RECORD_SIZE
        (value,) = struct.unpack_from(form, self._data, at)
        struct.pack_into(form, self._data, at, change(value))

    def vocabulary_of(self, feature: int) -> NDArray[np.int64]:
        """The vocabulary of an `id` feature, writable in place."""
        _, section, _ = self._entries["program"]
        at = section + _PROGRAM_HEADER + feature * _RECORD_SIZE + 36
        first, count = struct.unpack_from("<II", self._data, at)
        return self.values("vocabularies", "<i8")[first : first + count]

    def values(self, section: str, dtype: str) -> NDArray[Any]:
        """A section of plain values, writable in place."""
        _, offset, length = self._entries[section]
        size = np.dtype(dtype).itemsize
        return np.frombuffer(self._data, dtype=dtype, count=length // size, offset=offset)

    def node_features(self) -> NDArray[np.uint32]:
        """Of every node, its feature with the bit that says where missing values go; writable."""
        return self._nodes()[:, 1]

    def trees(self) -> tuple[TreeStructure, ...]:
        """Every tree, its nodes as the file holds them (docs/formats.md)."""
        words, nodes = self.values("trees", "<u4"), self._nodes()
        first_nodes = words[4 : 5 + int(words[0])].tolist()
        return tuple(_structure(nodes[start:end]) for start, end in pairwise(first_nodes))

    def _nodes(self) -> NDArray[np.uint32]:
        """[node, 3]: the bits of the threshold, the feature's word, left child or leaf."""
        words = self.values("trees", "<u4")
        trees, nodes = int(words[0]), int(words[2])
        first = 4 + 2 * (trees + 1)
        return words[first : first + 3 * nodes].reshape(nodes, 3)

    def sealed(self) -> bytes:
        """The file with its checksums renewed."""
        data = bytearray(self._data)
        for entry, offset, length in self._entries.values():
            struct.pack_into("<I", data, entry + 32, zlib.crc32(data[offset : offset + length]))
        struct.pack_into("<I", data, _CHECKSUM_AT, 0)
        struct.pack_into("<I", data, _CHECKSUM_AT, zlib.crc32(data))
        return bytes(data)


def _structure(nodes: NDArray[np.uint32]) -> TreeStructure:
    threshold, feature, left = (nodes[:, column].copy() for column in range(3))
    is_leaf = feature == _NODE_LEAF
    place = feature & np.uint32(_MISSING_GOES_LEFT - 1)
    return TreeStructure(
        feature=np.where(is_leaf, -1, place.astype(np.int64)).astype(np.int32),
        threshold=threshold.view("<f4").astype(np.float32),
        left=np.where(is_leaf, -1, left.astype(np.int64)).astype(np.int32),
        right=np.where(is_leaf, -1, left.astype(np.int64) + 1).astype(np.int32),
        default_left=~is_leaf & (feature >= _MISSING_GOES_LEFT),
        leaf=np.where(is_leaf, left.astype(np.int64), -1).astype(np.int32),
    )
