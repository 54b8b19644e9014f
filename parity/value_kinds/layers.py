"""Channels of a layer: exchanged, scaled, dropped."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from parity.value_kinds.kind import ValueKind, by_number, is_real, plain
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.trace import Array

# PyTorch's usual dropout.
DROPOUT = 0.1
ROW_SCALE = 1.01


def _has_channels(one: Checkpoint, graph: CheckpointGraph) -> bool:
    return is_real(one, graph) and prod(one.shape) > 1 and one.shape[-1] > 1


def _is_square(one: Checkpoint, graph: CheckpointGraph) -> bool:
    square = len(one.shape) == 2 and one.shape[0] == one.shape[1] > 1
    return is_real(one, graph) and square


def _one_channel(values: Array, factor: float) -> Array:
    """The second channel, which every layer with channels has."""
    changed = values.astype(np.float64)
    changed[..., 1] *= factor
    return changed


def _dropped(values: Array, share: float) -> Array:
    """Zeros drawn by row and channel, the others enlarged: the same at every run, for any batch.

    What is drawn comes from the values themselves: a row drops the same in every batch.
    """
    bits = values.astype(np.float32).view(np.uint32)
    drawn = (bits * np.uint32(2654435761) >> np.uint32(8)) / float(1 << 24)
    return np.where(drawn < share, 0.0, values / (1.0 - share))


LAYER_KINDS: Mapping[str, ValueKind] = {
    "row_scale": by_number(
        "row_scale", "one channel times a factor (1.01)", _has_channels, ROW_SCALE, _one_channel
    ),
    "channels_rotated": plain(
        "channels_rotated",
        "the halves of the channels are exchanged: heads in another order",
        _has_channels,
        lambda v: np.roll(v, v.shape[-1] // 2, axis=-1),
    ),
    "channels_reversed": plain(
        "channels_reversed", "the channels stand in reverse order", _has_channels, lambda v: v[..., ::-1]
    ),
    "transposed": plain(
        "transposed", "a square block is transposed", _is_square, lambda v: np.swapaxes(v, -1, -2)
    ),
    "dropout": by_number(
        "dropout", "dropout (0.1) is left on", _has_channels, DROPOUT, _dropped
    ),
}  # fmt: skip
