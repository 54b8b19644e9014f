"""MurmurHash3 (x86, 32 bits) in plain Python, remembered by text: logs repeat themselves."""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_C1, _C2 = 0xCC9E2D51, 0x1B873593
# About 100 bytes a text: at most some 15 MB a feature, far more texts than a shard holds.
_REMEMBERED = 1 << 17


def murmur3(data: bytes, seed: int) -> int:
    """The hash as an unsigned 32-bit number.

    Source: Austin Appleby, MurmurHash3_x86_32, public domain.
    """
    state = seed
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        state ^= _mixed(int.from_bytes(data[start : start + 4], "little"))
        state = ((state << 13) | (state >> 19)) & _MASK
        state = (state * 5 + 0xE6546B64) & _MASK
    if len(data) != whole:
        state ^= _mixed(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    state ^= state >> 16
    state = (state * 0x85EBCA6B) & _MASK
    state ^= state >> 13
    state = (state * 0xC2B2AE35) & _MASK
    return state ^ (state >> 16)


class HashBuckets:
    """From texts to hash buckets 1 to buckets - 1, one table per feature."""

    def __init__(self, *, seed: int, buckets: int, lower: bool) -> None:
        self._seed = seed
        self._spread = buckets - 1
        self._lower = lower
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        bucket = self._known.get(text)
        if bucket is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            data = text.encode()
            # bytes.lower maps ASCII alone; str.lower would also map other alphabets.
            hashed = murmur3(data.lower() if self._lower else data, self._seed)
            bucket = self._known[text] = 1 + hashed % self._spread
        return bucket


def _mixed(block: int) -> int:
    block = (block * _C1) & _MASK
    block = ((block << 15) | (block >> 17)) & _MASK
    return (block * _C2) & _MASK
