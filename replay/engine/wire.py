"""Messages between a stack's process and its owner: JSON beside shared memory that has no name.

Bulk data lies in anonymous memory whose file descriptor travels with the message. The
kernel frees it with its last user, so nothing is left behind by a process that was killed.
"""

from __future__ import annotations

import errno
import json
import math
import os
import socket
import struct
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from replay.request import RequestBatch
from replay.trace import Array

# A cache line, and what the widest vector instructions load at once.
ALIGNMENT = 64
MAX_DESCRIPTORS = 4
_PREFIX = struct.Struct("<Q")
# The other end was closed, or this one was, by another thread.
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF}
_CLOSE_ON_EXEC: int = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ChannelClosedError(Exception):
    """The other end is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A JSON header, and the descriptors of its bulk data, which the holder has to close."""

    header: Mapping[str, Any]
    descriptors: tuple[int, ...] = field(default=())


def send(channel: socket.socket, message: Message) -> None:
    """Send a message and close the descriptors it carries: the receiver has its own by then.

    Raises:
        ChannelClosedError: The other end is gone.
        TimeoutError: The channel's timeout has passed.
        TypeError, ValueError: The header is not plain JSON.
    """
    try:
        text = json.dumps(message.header).encode()
        socket.send_fds(channel, [_PREFIX.pack(len(text))], list(message.descriptors))
        channel.sendall(text)
    except OSError as error:
        if error.errno in _GONE:
            raise ChannelClosedError from error
        raise
    finally:
        close_all(message.descriptors)


def receive(channel: socket.socket) -> Message:
    """Wait for the next message.

    Raises:
        ChannelClosedError: The other end is gone.
        TimeoutError: The channel's timeout has passed.
        OSError: This process has too many files open.
    """
    descriptors: list[int] = []
    try:
        start, descriptors, flags, _ = socket.recv_fds(
            channel, _PREFIX.size, MAX_DESCRIPTORS, _CLOSE_ON_EXEC
        )
        _refuse_cut_off(start, flags)
        start += _exactly(channel, _PREFIX.size - len(start))
        header = json.loads(_exactly(channel, _PREFIX.unpack(start)[0]))
    except BaseException as error:
        close_all(descriptors)
        if isinstance(error, OSError) and error.errno in _GONE:
            raise ChannelClosedError from error
        raise
    return Message(header=header, descriptors=tuple(descriptors))


def close_all(descriptors: Iterable[int]) -> None:
    """Close descriptors, whichever of them are still open."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def memory_from_batch(batch: RequestBatch) -> int:
    """The batch as an Arrow IPC stream in anonymous memory; returns its descriptor."""
    descriptor = _new_memory()
    try:
        with (
            pa.OSFile(_path_of(descriptor), "wb") as sink,
            pa.ipc.new_stream(sink, batch.records.schema) as stream,
        ):
            stream.write_batch(batch.records)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def batch_from_memory(descriptor: int) -> RequestBatch:
    """The batch in this memory, mapped and not copied; the descriptor stays the caller's."""
    with pa.memory_map(_path_of(descriptor)) as source, pa.ipc.open_stream(source) as stream:
        return RequestBatch(stream.read_next_batch())


def memory_from_arrays(arrays: Mapping[str, Array]) -> tuple[int, list[dict[str, Any]]]:
    """The arrays one after another in anonymous memory.

    Returns:
        The descriptor, and the layout as plain JSON values: `name`, `dtype`, `shape`, `offset`.
    """
    descriptor = _new_memory()
    layout: list[dict[str, Any]] = []
    try:
        with pa.OSFile(_path_of(descriptor), "wb") as sink:
            end = 0
            for name, array in arrays.items():
                flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                padding = -end % ALIGNMENT
                sink.write(bytes(padding))
                sink.write(flat)
                layout.append(
                    {
                        "name": name,
                        "dtype": array.dtype.str,
                        "shape": list(array.shape),
                        "offset": end + padding,
                    }
                )
                end += padding + flat.nbytes
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, layout


def arrays_from_memory(descriptor: int, layout: Sequence[Mapping[str, Any]]) -> dict[str, Array]:
    """Read-only views of the arrays in this memory; the descriptor stays the caller's.

    The memory is given back when the last view is.
    """
    mapped: Any = b""
    if os.fstat(descriptor).st_size:
        # A closed map keeps its pages for the buffers it gave out, and holds no descriptor.
        with pa.memory_map(_path_of(descriptor)) as source:
            mapped = source.read_buffer()
    arrays: dict[str, Array] = {}
    for entry in layout:
        shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
        if math.prod(shape) == 0:
            arrays[entry["name"]] = np.empty(shape, dtype)
            arrays[entry["name"]].flags.writeable = False
            continue
        flat = np.frombuffer(mapped, dtype, count=math.prod(shape), offset=entry["offset"])
        arrays[entry["name"]] = flat.reshape(shape)
    return arrays


def _refuse_cut_off(start: bytes, flags: int) -> None:
    if not start:
        raise ChannelClosedError
    if flags & socket.MSG_CTRUNC:
        raise OSError(errno.EMFILE, "no room for the descriptors of a message")


def _exactly(channel: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = channel.recv(min(count, 1 << 20))
        if not part:
            raise ChannelClosedError
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _new_memory() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("replay", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _path_of(descriptor: int) -> str:
    return f"/dev/fd/{descriptor}"
