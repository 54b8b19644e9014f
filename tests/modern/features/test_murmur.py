"""The hash of many texts at once against a plain one that reads byte by byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modern.features.murmur import murmur3

MASK = 0xFFFFFFFF


def plain_murmur3(data: bytes, seed: int) -> int:
    """MurmurHash3_x86_32 as its reference code states it."""

    def rotate(x: int, bits: int) -> int:
        return (x << bits | x >> (32 - bits)) & MASK

    def scramble(k: int) -> int:
        return rotate(k * 0xCC9E2D51 & MASK, 15) * 0x1B873593 & MASK

    h, whole = seed, len(data) // 4 * 4
    for start in range(0, whole, 4):
        h = rotate(h ^ scramble(int.from_bytes(data[start : start + 4], "little")), 13)
        h = (h * 5 + 0xE6546B64) & MASK
    h ^= scramble(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & MASK
    h = (h ^ h >> 13) * 0xC2B2AE35 & MASK
    return h ^ h >> 16


def hashed(texts: list[bytes], seed: int) -> list[int]:
    offsets = np.cumsum([0, *map(len, texts)])
    return murmur3(np.frombuffer(b"".join(texts), np.uint8), offsets, seed).tolist()


# Published answers (smhasher's users; Wikipedia's table).
@pytest.mark.parametrize(
    ("text", "seed", "answer"),
    [
        (b"", 0, 0),
        (b"", 1, 0x514E28B7),
        (b"test", 0, 0xBA6BD213),
        (b"test", 0x9747B28C, 0x704B81DC),
        (b"Hello, world!", 0, 0xC0363E43),
        (b"Hello, world!", 0x9747B28C, 0x24884CBA),
        (b"The quick brown fox jumps over the lazy dog", 0x9747B28C, 0x2FA826CD),
    ],
)
def test_published_answers_are_met(text: bytes, seed: int, answer: int) -> None:
    assert hashed([text], seed) == [answer] == [plain_murmur3(text, seed)]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.binary(max_size=40), max_size=12), seed=st.integers(0, MASK))
def test_each_text_is_hashed_as_if_it_stood_alone(texts: list[bytes], seed: int) -> None:
    assert hashed(texts, seed) == [plain_murmur3(text, seed) for text in texts]
