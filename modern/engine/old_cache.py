"""Encoded old segments kept on the device: whose history has not changed is not encoded again.

An entry is found by what it was computed from: the digest of the old steps' own values, and of the
weights. So a step that appears, changes or grows older than its bucket is another entry, and a
stale one can not be used. All entries lie in one tensor, and a pass gathers those it needs.
"""

# B = requests, S = places of the arena, O = slots of old steps, D = model width, C = channels kept
# of a step, M = attention heads, E = width of a head

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from modern.engine.buckets import rounded_up
from modern.engine.config import EngineConfig
from modern.engine.precision import running
from modern.transformer.attention import KeysValues, split_heads
from modern.transformer.history_encoder import OldState
from modern.transformer.inputs import Ints, ModelInputs
from modern.transformer.model import RankingTransformer
from replay.errors import ConfigError
from replay.trace import Array

_EMPTY = 0  # the place whose steps weigh nothing: of requests without old steps
_STEP_VALUES = ("step_real", "step_codes", "step_age_hours", "step_weight")
_ENCODED_TOGETHER = 32


@dataclass(slots=True)
class CacheCounts:
    """Requests with old steps: found, encoded; entries that had to make room."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0


class OldCache:
    """Old segments by content, within a bound of bytes; the longest unused make room.

    Args:
        model: Prepared for the precision, on its device.
        config: The engine's; its `cache_bytes` bound the arena.
        max_old: Steps of an old segment at most.
        digest: Of the weights.

    Raises:
        ConfigError: The bound does not hold one pass of requests.
    """

    def __init__(
        self, model: RankingTransformer, config: EngineConfig, *, max_old: int, digest: str
    ) -> None:
        self.counts = CacheCounts()
        self._model = model
        self._config = config
        self._salt = digest.encode()
        self.slots = rounded_up(max_old)
        # Of each layer keys and values, the encoded step, and its weight.
        self.channels = (2 * model.config.history_layers + 1) * model.config.width + 1
        entry_bytes = 4 * self.slots * self.channels
        places = config.cache_bytes // entry_bytes
        if places < config.max_requests + 1:
            raise ConfigError(
                f"cache_bytes is {config.cache_bytes:,}; an old segment takes {entry_bytes:,} and "
                f"a pass may need {config.max_requests} of them.",
                where="the engine's configuration",
                fix=f"give at least {entry_bytes * (config.max_requests + 1):,}, or 0 for no cache",
            )
        self.arena_SOC = torch.zeros(
            places, self.slots, self.channels, dtype=torch.float32, device=config.device
        )
        self._places: OrderedDict[bytes, int] = OrderedDict()
        self._free = list(range(places - 1, _EMPTY, -1))

    def places_of(self, inputs: ModelInputs, requests: Ints) -> Ints:
        """[request] where the old segment of each lies; what is not there is encoded first.

        The places hold until the next call.
        """
        keys = [self._key(inputs, int(request)) for request in requests]
        for key in keys:  # what this pass needs is the last to make room
            if key is not None and key in self._places:
                self._places.move_to_end(key)
        missing: dict[bytes, int] = {}
        for key, request in zip(keys, requests, strict=True):
            if key is None:
                continue
            if key in self._places or key in missing:
                self.counts.hits += 1
            else:
                self.counts.misses += 1
                missing[key] = int(request)
        wanted = list(missing.items())
        for start in range(0, len(wanted), _ENCODED_TOGETHER):
            self._encode(inputs, wanted[start : start + _ENCODED_TOGETHER])
        found = [_EMPTY if key is None else self._places[key] for key in keys]
        return np.array(found, dtype=np.int64)

    def _key(self, inputs: ModelInputs, request: int) -> bytes | None:
        rows = _old_rows(inputs, request)
        if not len(rows):
            return None
        # Keyed by the weights: a digest of another model's can not be the same.
        digest = hashlib.blake2b(self._salt, digest_size=16)
        order = np.argsort(inputs.step_place[rows], kind="stable")
        for name in _STEP_VALUES:
            digest.update(np.ascontiguousarray(getattr(inputs, name)[rows[order]]).tobytes())
        return digest.digest()

    def _encode(self, inputs: ModelInputs, wanted: list[tuple[bytes, int]]) -> None:
        rows = [_old_rows(inputs, request) for _, request in wanted]
        shape = (rounded_up(len(rows)), rounded_up(max(len(one) for one in rows)))
        values: list[Tensor] = []
        for name in _STEP_VALUES:
            source = getattr(inputs, name)
            padded = np.zeros((*shape, *source.shape[1:]), source.dtype)
            for place, one in enumerate(rows):
                order = np.argsort(inputs.step_place[one], kind="stable")
                padded[place, : len(one)] = source[one[order]]
            values.append(torch.from_numpy(padded).to(self._config.device))
        with running(self._config):
            kept_BOC = _flat(self._model.encode_old(*values))
        for place, (key, _) in enumerate(wanted):
            at = self._take()
            self._places[key] = at
            self.arena_SOC[at].zero_()
            self.arena_SOC[at, : shape[1]] = kept_BOC[place]

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self.counts.evictions += 1
        return self._places.popitem(last=False)[1]


class WithOld(nn.Module):
    """The model over recent steps, their old segments looked up in the arena.

    Args:
        model: What encodes and scores.
        arena_SOC: Of the cache.
        slots: Of old steps that are looked at.
    """

    def __init__(self, model: RankingTransformer, arena_SOC: Tensor, slots: int) -> None:
        super().__init__()
        self.model = model
        self.arena_SOC = arena_SOC
        self.slots = slots

    def forward(self, *tensors: Tensor) -> Tensor:
        """The model's arguments, then [request] places in the arena."""
        *of_request, real_BKR, code_BKN, place_B = tensors
        kept_BOC = self.arena_SOC[:, : self.slots].index_select(0, place_B)
        old = _state(kept_BOC, self.model.config.history_layers, self.model.config.num_heads)
        state = self.model.encode_request(*of_request, old_state=old)
        return self.model.score_candidates(state, real_BKR, code_BKN)


def without_old(inputs: ModelInputs) -> ModelInputs:
    """The same requests, their old steps not read: those come from the cache."""
    place = np.where(inputs.step_old != 0, np.int32(-1), inputs.step_place)
    return replace(inputs, step_place=place)


def old_steps(inputs: ModelInputs) -> Array:
    """[request] old steps that are read."""
    old = (inputs.step_place >= 0) & (inputs.step_old != 0)
    before = np.concatenate([[0], np.cumsum(old)])
    counts: Array = np.diff(before[inputs.step_offsets])
    return counts


def _old_rows(inputs: ModelInputs, request: int) -> Ints:
    first, last = inputs.step_offsets[request : request + 2]
    rows = np.arange(first, last)
    read = (inputs.step_place[rows] >= 0) & (inputs.step_old[rows] != 0)
    kept: Ints = rows[read]
    return kept


def _flat(old: OldState) -> Tensor:
    """[request, old step, channel] float32: keys and values by layer, the encoded step, its weight."""
    parts = [part.transpose(1, 2).flatten(2) for layer in old.layers for part in layer]
    return torch.cat(
        [*(x.float() for x in (*parts, old.encoded_BOD)), old.weight_BO[..., None]], -1
    )


def _state(kept_BOC: Tensor, layers: int, heads: int) -> OldState:
    """The inverse of `_flat`."""
    width = (kept_BOC.shape[-1] - 1) // (2 * layers + 1)
    sizes = [width] * (2 * layers + 1) + [1]
    *shown, encoded_BOD, weight_BO1 = torch.split(kept_BOC, sizes, dim=-1)
    return OldState(
        tuple(
            KeysValues(
                split_heads(shown[2 * place], heads), split_heads(shown[2 * place + 1], heads)
            )
            for place in range(layers)
        ),
        encoded_BOD,
        weight_BO1.squeeze(-1),
    )
