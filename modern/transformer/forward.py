"""Run the transformer over requests in chunks, recording and replacing what its modules give."""

# B = requests, K = candidates of each, H = tasks

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.transformer.history_encoder import OldState
from modern.transformer.history_lookup import OldSegments
from modern.transformer.history_store import state_of_entries
from modern.transformer.inputs import Ints, ModelInputs
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import ModulePlace
from modern.transformer.padding import (
    Slots,
    candidate_slots,
    candidate_tensors,
    request_tensors,
    step_slots,
)

# Candidates, and steps, of a forward pass: more of them leave the cache and cost more each. The same
# chunks whatever is recorded, since the last bits of a product may depend on how many rows it has.
CHUNK = 512
STEP_CHUNK = 2048


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forward:
    """What a pass over all requests gave.

    Attributes:
        logits: [candidate, task] float32.
        recorded: Module path to what the module produced, in the model's dtype, a row for each of
            the place's axis. A step that is not read has NaN there, -1 where it is discrete.
    """

    logits: NDArray[np.float32]
    recorded: Mapping[str, NDArray[Any]]


def logits_of(model: RankingTransformer, inputs: ModelInputs) -> NDArray[np.float32]:
    """[candidate, task] logits; memory does not grow with the requests."""
    return run_forward(model, inputs).logits


def run_forward(
    model: RankingTransformer,
    inputs: ModelInputs,
    *,
    record: Sequence[ModulePlace] = (),
    given: Mapping[ModulePlace, NDArray[Any]] | None = None,
    old: OldSegments | None = None,
    device: str = "cpu",
) -> Forward:
    """Run every request; what is not recorded is kept for one chunk only.

    Args:
        model: In evaluation mode.
        inputs: Of all requests.
        record: Modules whose outputs are kept.
        given: Modules to the values that replace their outputs, after they were recorded, a row
            for each of the place's axis.
        old: Old segments that are not computed but taken from a store; then no module of the
            steps is recorded or given, and the model shares.
        device: Where the model is; the old segments are on the CPU.
    """
    if old is not None:
        inputs = old.recent_of(inputs)
    stored = np.zeros(len(inputs), np.bool_) if old is None else old.covers(len(inputs))
    watch = _Watch(model, inputs, record, given or {})
    logits = np.empty((inputs.num_candidates, len(model.config.tasks)), dtype=np.float32)
    with torch.inference_mode(), watch.hooked(model):
        for requests in like_sized(inputs, apart=stored):
            steps = step_slots(inputs, requests)
            of_request = [x.to(device) for x in request_tensors(inputs, requests, steps)]
            most = int(np.diff(inputs.candidate_offsets)[requests].max())
            watch.at(requests, steps)
            state = None
            if model.config.form != "plain":
                before = _before(model, old, requests) if stored[requests[0]] else None
                state = model.encode_request(*of_request, old_state=before)
            for first in range(0, most, CHUNK):
                candidates = candidate_slots(inputs, requests, first, first + CHUNK)
                scored = [x.to(device) for x in candidate_tensors(inputs, candidates)]
                watch.candidates = candidates
                if state is None:
                    logit_BKH = model(*of_request, *scored)
                else:
                    logit_BKH = model.score_candidates(state, *scored)
                logits[candidates.rows] = candidates.jagged(_on_host(logit_BKH))
    return Forward(logits=logits, recorded=watch.recorded)


class _Watch:
    """Stands at modules: keeps what they produce by row, and puts what is given in its place."""

    def __init__(
        self,
        model: RankingTransformer,
        inputs: ModelInputs,
        record: Sequence[ModulePlace],
        given: Mapping[ModulePlace, NDArray[Any]],
    ) -> None:
        sizes = {
            "request": len(inputs),
            "candidate": inputs.num_candidates,
            "step": len(inputs.step_place),
        }
        real = torch.empty(0, dtype=model.heads.weight.dtype).numpy().dtype
        self.recorded: dict[str, NDArray[Any]] = {
            p.path: np.full(
                (sizes[p.axis], *p.shape),
                -1 if p.discrete else np.nan,
                dtype=np.int64 if p.discrete else real,
            )
            for p in record
        }
        self.given = {place.path: values for place, values in given.items()}
        self.places = {place.path: place for place in (*record, *given)}
        self.requests: Ints = np.zeros(0, np.int64)
        self.steps = self.candidates = Slots(
            rows=self.requests, request=self.requests, slot=self.requests, width=1, num_requests=0
        )

    def at(self, requests: Ints, steps: Slots) -> None:
        """The chunk that runs next."""
        self.requests, self.steps = requests, steps

    @contextmanager
    def hooked(self, model: nn.Module) -> Iterator[None]:
        """While inside, the outputs of the modules pass through."""
        with ExitStack() as hooks:
            for path, place in self.places.items():
                handle = model.get_submodule(path).register_forward_hook(self._hook(place))
                hooks.callback(handle.remove)
            yield

    def _hook(self, place: ModulePlace) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def passed(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            # [B, ...], or a copy a candidate where nothing is shared: [B * K, ...].
            copies = len(output) // max(len(self.requests), 1)
            if place.path in self.recorded:
                self._keep(place, _on_host(output), copies)
            return self._given(place, output, copies) if place.path in self.given else output

        return passed

    def _keep(self, place: ModulePlace, output: Tensor, copies: int) -> None:
        kept = self.recorded[place.path]
        if place.axis == "candidate":
            by_request = output.reshape(len(self.requests), -1, *output.shape[2:])
            kept[self.candidates.rows] = self.candidates.jagged(by_request)
        elif place.axis == "request":
            kept[self.requests] = output[::copies].numpy()
        else:
            kept[self.steps.rows] = self.steps.jagged(output[::copies])

    def _given(self, place: ModulePlace, output: Tensor, copies: int) -> Tensor:
        values = self.given[place.path]
        if place.axis == "candidate":
            shared = self.candidates.padded(values)
            return shared.to(output.device, _as_given(output)).reshape(output.shape)
        if place.axis == "request":
            shared = torch.from_numpy(values[self.requests])
        else:
            # Where a step that is read is given as one that is not, its code reads as missing.
            shared = self.steps.padded(values.clip(0) if place.discrete else values)
        return shared.to(output.device, _as_given(output)).repeat_interleave(copies, dim=0)


def _as_given(output: Tensor) -> torch.dtype:
    """The type of what stands for an output: rounding it to bfloat16 is the doing of what gave it."""
    if output.dtype == torch.bfloat16:
        return torch.float32
    return output.dtype


def _on_host(output: Tensor) -> Tensor:
    """As numpy can take it: bfloat16, which it has not, as the float32 of the same value."""
    return output.float().cpu() if output.dtype == torch.bfloat16 else output.cpu()


def _before(model: RankingTransformer, old: OldSegments | None, requests: Ints) -> OldState:
    assert old is not None, "asked only for what is stored"
    return state_of_entries(
        [old.entries[int(request)] for request in requests],
        num_layers=model.config.history_layers,
        num_heads=model.config.num_heads,
        width=model.config.width,
    )


def like_sized(inputs: ModelInputs, *, apart: NDArray[np.bool_] | None = None) -> Iterator[Ints]:
    """Requests of like size together, so that little of a chunk is padding; those apart for themselves."""
    apart = np.zeros(len(inputs), np.bool_) if apart is None else apart
    candidates, steps = np.diff(inputs.candidate_offsets), np.diff(inputs.step_offsets)
    order = np.lexsort((np.arange(len(inputs)), steps, candidates, apart))
    first = most = longest = 0
    for place, request in enumerate(order):
        count = place - first
        most, longest = max(most, candidates[request]), max(longest, steps[request])
        full = (count + 1) * most > CHUNK or (count + 1) * longest > STEP_CHUNK
        if count and (full or apart[request] != apart[order[first]]):
            yield order[first:place]
            first, most, longest = place, candidates[request], steps[request]
    if first < len(order):
        yield order[first:]
