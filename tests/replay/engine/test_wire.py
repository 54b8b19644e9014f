"""Messages and bulk data cross a socket whole, read-only, and leave nothing behind."""

from __future__ import annotations

import gc
import os
import socket
import threading

import numpy as np
import pytest

from replay.engine import wire
from replay.engine.wire import ChannelClosedError, Message
from tests.replay.engine.descriptors import num_descriptors
from tests.replay.engine.requests import some_requests


def test_a_header_larger_than_the_socket_buffer_crosses_whole() -> None:
    here, there = socket.socketpair()
    header = {"text": "ä" * 3_000_000}

    with here, there:
        sender = threading.Thread(target=wire.send, args=(here, Message(header=header)))
        sender.start()
        received = wire.receive(there)
        sender.join()

    assert received.header == header


def test_arrays_cross_with_their_bits_aligned_and_read_only() -> None:
    arrays = {
        "nan": np.array([np.nan, -0.0, np.inf], np.float32),
        "empty": np.empty((0, 3), np.int64),
        "leaves": np.arange(12, dtype=np.int32).reshape(3, 4),
        "flags": np.array([True, False]),
        "turned": np.arange(6, dtype=np.int16).reshape(2, 3).T,
    }
    here, there = socket.socketpair()

    with here, there:
        memory, layout = wire.memory_from_arrays(arrays)
        wire.send(here, Message(header={"layout": layout}, descriptors=(memory,)))
        message = wire.receive(there)
        found = wire.arrays_from_memory(message.descriptors[0], message.header["layout"])
        wire.close_all(message.descriptors)

    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert not found[name].flags.writeable
        assert array.size == 0 or found[name].ctypes.data % wire.ALIGNMENT == 0


def test_arrays_that_are_all_empty_need_no_memory() -> None:
    memory, layout = wire.memory_from_arrays({"a": np.empty(0, np.float32)})

    found = wire.arrays_from_memory(memory, layout)
    os.close(memory)

    assert found["a"].shape == (0,)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_a_batch_crosses_with_its_rows_and_nulls(count: int) -> None:
    batch = some_requests(7).slice(0, count)

    memory = wire.memory_from_batch(batch)
    found = wire.batch_from_memory(memory)
    os.close(memory)

    assert found.records.equals(batch.records, check_metadata=True)
    assert found.keys.same_rows(batch.keys)


def test_mapped_values_hold_no_descriptor() -> None:
    gc.collect()
    before = num_descriptors()

    held = []
    for _ in range(5):
        memory, layout = wire.memory_from_arrays({"a": np.arange(100)})
        held.append(wire.arrays_from_memory(memory, layout))
        os.close(memory)

    assert num_descriptors() == before
    assert all(arrays["a"].sum() == 4950 for arrays in held)


def test_a_closed_end_is_told_from_silence() -> None:
    here, there = socket.socketpair()

    with there:
        here.close()
        with pytest.raises(ChannelClosedError):
            wire.receive(there)
        with pytest.raises(ChannelClosedError):
            wire.send(there, Message(header={}))


def test_silence_is_a_timeout() -> None:
    here, there = socket.socketpair()

    with here, there:
        there.settimeout(0.01)
        with pytest.raises(TimeoutError):
            wire.receive(there)


def test_a_message_that_can_not_be_sent_keeps_no_descriptor() -> None:
    here, there = socket.socketpair()
    before = num_descriptors()

    with here, there:
        memory, _ = wire.memory_from_arrays({"a": np.arange(3)})
        with pytest.raises(TypeError):
            wire.send(here, Message(header={"no": object()}, descriptors=(memory,)))
        assert num_descriptors() == before
