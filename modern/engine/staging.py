"""All inputs of a pass in one piece of pinned memory, so that they travel in a single copy."""

# B = requests, K = candidate slots, T = step slots, R = real features, N = discrete features

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import Tensor

from modern.engine.buckets import Bucket, Pass
from modern.transformer.inputs import Ints, ModelInputs
from replay.trace import Array

# What vector loads of a GPU ask for at most is 16; a cache line costs nothing more.
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Features of each kind of row: the inner sizes of a model's inputs."""

    request_real: int
    request_code: int
    step_real: int
    step_code: int
    candidate_real: int
    candidate_code: int


def widths_of(inputs: ModelInputs) -> Widths:
    """Those of some inputs."""
    return Widths(
        request_real=inputs.request_real.shape[1],
        request_code=inputs.request_codes.shape[1],
        step_real=inputs.step_real.shape[1],
        step_code=inputs.step_codes.shape[1],
        candidate_real=inputs.candidate_real.shape[1],
        candidate_code=inputs.candidate_codes.shape[1],
    )


class Staging:
    """The padded inputs of one bucket, on the host and on the device.

    On a CPU both are the same memory. Codes travel as int32: a vocabulary has fewer than 2^31.

    Args:
        bucket: The shape.
        widths: The features.
        device: Where the model is.
    """

    def __init__(self, bucket: Bucket, widths: Widths, device: torch.device) -> None:
        self.bucket = bucket
        shapes = _shapes(bucket, widths)
        places: dict[str, int] = {}
        size = 0
        for name, (shape, dtype) in shapes.items():
            places[name] = size
            size += -(-prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
        on_gpu = device.type == "cuda"
        self._host = torch.zeros(max(size, 1), dtype=torch.uint8, pin_memory=on_gpu)
        self._device = torch.zeros_like(self._host, device=device) if on_gpu else self._host
        self._views = {
            name: _view(self._host, places[name], shape, dtype).numpy()
            for name, (shape, dtype) in shapes.items()
        }
        self.tensors: tuple[Tensor, ...] = tuple(
            _view(self._device, places[name], shape, dtype)
            for name, (shape, dtype) in shapes.items()
        )

    @property
    def num_bytes(self) -> int:
        """What one copy moves."""
        return self._host.numel()

    def fill(self, inputs: ModelInputs, one: Pass, old_place: Ints | None = None) -> None:
        """Write the pass's requests; padding is zero, its steps weigh nothing.

        Args:
            inputs: Of all requests.
            one: Which of them.
            old_place: [request of the pass] where their old segments are kept, for a bucket that
                has slots for them.
        """
        self._host.zero_()
        requests, views = one.requests, self._views
        views["request_real"][: len(requests)] = inputs.request_real[requests]
        views["request_code"][: len(requests)] = inputs.request_codes[requests]
        # A request's rows lie side by side: one copy each, ten times cheaper than rows by index.
        for slot, request in enumerate(requests.tolist()):
            steps = _steps_in_order(inputs, request)
            if steps is not None:
                for name, values in _step_values(inputs).items():
                    rows = values[steps]
                    views[name][slot, : len(rows)] = rows
            scored, size = _candidates(inputs, request, one)
            views["candidate_real"][slot, :size] = inputs.candidate_real[scored]
            views["candidate_code"][slot, :size] = inputs.candidate_codes[scored]
        if old_place is not None:
            views["old_place"][: len(requests)] = old_place

    def collect(self, logits_BKH: Tensor, found: Array, inputs: ModelInputs, one: Pass) -> int:
        """Put a pass's logits where their candidates stand in `found`; how many they are."""
        grid = logits_BKH.numpy()
        total = 0
        for slot, request in enumerate(one.requests.tolist()):
            rows, size = _candidates(inputs, request, one)
            found[rows] = grid[slot, :size]
            total += size
        return total

    def send(self) -> None:
        """Copy to the device, in the current stream; the host's part may be written after it."""
        if self._device is not self._host:
            self._device.copy_(self._host, non_blocking=True)


def _shapes(b: Bucket, w: Widths) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]:
    """In the order of the model's arguments."""
    real, code = torch.float32, torch.int32
    return {
        "request_real": ((b.requests, w.request_real), real),
        "request_code": ((b.requests, w.request_code), code),
        "step_real": ((b.requests, b.steps, w.step_real), real),
        "step_code": ((b.requests, b.steps, w.step_code), code),
        "step_age": ((b.requests, b.steps), real),
        "step_old": ((b.requests, b.steps), torch.bool),
        "step_weight": ((b.requests, b.steps), real),
        "candidate_real": ((b.requests, b.candidates, w.candidate_real), real),
        "candidate_code": ((b.requests, b.candidates, w.candidate_code), code),
        **({"old_place": ((b.requests,), torch.int32)} if b.old else {}),
    }


def _candidates(inputs: ModelInputs, request: int, one: Pass) -> tuple[slice, int]:
    """The rows of a request's candidates that the pass scores, and how many they are."""
    start, stop = inputs.candidate_offsets[request : request + 2].tolist()
    first = min(start + one.first, stop)
    last = min(first + one.bucket.candidates, stop)
    return slice(first, last), last - first


def _steps_in_order(inputs: ModelInputs, request: int) -> slice | Ints | None:
    """The rows of the steps that are read, by their place; None where there are none."""
    start, stop = inputs.step_offsets[request : request + 2].tolist()
    place = inputs.step_place[start:stop]
    read = np.flatnonzero(place >= 0)
    if not len(read):
        return None
    first, last = int(read[0]), int(read[-1]) + 1
    if last - first == len(read) and (np.diff(place[first:last]) > 0).all():
        return slice(start + first, start + last)
    ordered: Ints = start + read[np.argsort(place[read], kind="stable")]
    return ordered


def _step_values(inputs: ModelInputs) -> Mapping[str, Array]:
    return {
        "step_real": inputs.step_real,
        "step_code": inputs.step_codes,
        "step_age": inputs.step_age_hours,
        "step_old": inputs.step_old,
        "step_weight": inputs.step_weight,
    }


def _view(memory: Tensor, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    size = prod(shape) * dtype.itemsize
    if size == 0:
        return torch.zeros(shape, dtype=dtype, device=memory.device)
    return memory[start : start + size].view(dtype).view(shape)


def steps_read(inputs: ModelInputs) -> Array:
    """[request] steps that the model reads."""
    read = np.concatenate([[0], np.cumsum(inputs.step_place >= 0)])
    counts: Array = np.diff(read[inputs.step_offsets])
    return counts
