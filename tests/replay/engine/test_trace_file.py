"""A trace file gives back every bit, or says that it is damaged."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from replay.engine.trace_file import DamagedTraceError, parts_from_values, values_from_bytes

DTYPES = ["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "bool", "f2"]


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=3, min_side=0, max_side=5))
    )
)
def test_every_bit_comes_back(array: np.ndarray) -> None:
    data = b"".join(parts_from_values("key", {"a": array, "b": array}))

    found = values_from_bytes(data, key="key")

    assert list(found) == ["a", "b"]
    for values in found.values():
        assert values.dtype == array.dtype
        assert values.shape == array.shape
        assert values.flags.c_contiguous
        assert values.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 255), (-1, 127), (-129, 0), (0, 65535), (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)],
)
def test_integers_are_narrowed_without_loss(low: int, high: int) -> None:
    array = np.array([low, high, 0], np.int64)

    found = values_from_bytes(b"".join(parts_from_values("k", {"a": array})), key="k")

    assert found["a"].tolist() == [low, high, 0]
    assert found["a"].dtype == np.int64


def test_leaves_take_a_small_part_of_their_memory() -> None:
    rng = np.random.default_rng(0)
    leaves = rng.integers(0, 16, (2000, 120)).astype(np.int32)

    size = sum(len(part) for part in parts_from_values("key", {"leaves": leaves}))

    assert size < leaves.nbytes / 7


def test_a_file_cut_short_changed_or_of_another_key_is_damaged() -> None:
    data = b"".join(parts_from_values("key", {"a": np.arange(9)}))

    for size in range(len(data)):
        with pytest.raises(DamagedTraceError):
            values_from_bytes(data[:size], key="key")
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(DamagedTraceError):
            values_from_bytes(bytes(changed), key="key")
    with pytest.raises(DamagedTraceError):
        values_from_bytes(data, key="other")
