"""How much each value on the way moves the logits: one backward pass through the transformer."""

# B = requests, K = candidates of each, H = tasks

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modern.transformer.forward import CHUNK, like_sized
from modern.transformer.inputs import Ints, ModelInputs
from modern.transformer.layout import SideLayout, TokenLayout
from modern.transformer.model import RankingTransformer
from modern.transformer.module_places import ModulePlace
from modern.transformer.padding import (
    CandidateTensors,
    RequestTensors,
    Slots,
    candidate_slots,
    candidate_tensors,
    request_tensors,
    step_slots,
)
from replay.checkpoint import RowAxis

Floats = NDArray[np.float64]


class Gradients:
    """Derivatives of the weighted sum of a task's logits, by module path and by real input.

    Attributes:
        modules: Path to [row of its axis, ...] float64; 0 for a step that is not read.
        real: Axis to [row, real feature] float64.
    """

    def __init__(self, inputs: ModelInputs, places: Sequence[ModulePlace]) -> None:
        sizes: dict[RowAxis, int] = {
            "request": len(inputs),
            "candidate": inputs.num_candidates,
            "step": len(inputs.step_place),
        }
        self.modules: dict[str, Floats] = {
            place.path: np.zeros((sizes[place.axis], *place.shape)) for place in places
        }
        self.real: dict[RowAxis, Floats] = {
            "request": np.zeros(inputs.request_real.shape),
            "candidate": np.zeros(inputs.candidate_real.shape),
            "step": np.zeros(inputs.step_real.shape),
        }

    def of_features(self, layout: TokenLayout) -> dict[str, Floats]:
        """Those of the real features, by checkpoint: [row] each."""
        named: Mapping[RowAxis, SideLayout] = {
            "request": layout.request,
            "candidate": layout.candidate,
            "step": layout.step,
        }
        return {
            f"features.{name}": self.real[axis][:, column]
            for axis, side in named.items()
            for column, name in enumerate(side.real)
        }


def gradients_of(
    model: RankingTransformer,
    inputs: ModelInputs,
    weights: Floats,
    *,
    places: Sequence[ModulePlace],
    task: int = 0,
) -> Gradients:
    """Differentiate sum(weights * logit of the task), at the values that the model computes.

    Args:
        model: In evaluation mode, on the CPU.
        inputs: Of all requests.
        weights: [candidate].
        places: Real modules to differentiate by.
        task: Which of the model's logits.
    """
    found = Gradients(inputs, places)
    for requests in like_sized(inputs):
        steps = step_slots(inputs, requests)
        most = int(np.diff(inputs.candidate_offsets)[requests].max())
        for first in range(0, most, CHUNK):
            candidates = candidate_slots(inputs, requests, first, first + CHUNK)
            of_request = request_tensors(inputs, requests, steps)
            scored = candidate_tensors(inputs, candidates)
            by_axis = _Rows(requests, steps, candidates)
            with torch.enable_grad(), _watched(model, places) as seen:
                reals = _differentiable(of_request, scored)
                logit_BKH = model(*of_request, *scored)
                pulled_BK = candidates.padded(weights).to(logit_BKH)
                (logit_BKH[:, :, task] * pulled_BK).sum().backward(
                    inputs=[*reals.values(), *(output for _, output in seen)]
                )
            for axis, real in reals.items():
                by_axis.add(found.real[axis], axis, real.grad)
            for place, output in seen:
                by_axis.add(found.modules[place.path], place.axis, output.grad)
    return found


class _Rows:
    """Where the rows of one pass stand among all."""

    def __init__(self, requests: Ints, steps: Slots, candidates: Slots) -> None:
        self.requests, self.steps, self.candidates = requests, steps, candidates

    def add(self, total: Floats, axis: RowAxis, padded: Tensor | None) -> None:
        """Add a padded gradient to the rows it is of; None is no gradient at all."""
        if padded is None:
            return
        if axis == "candidate":
            by_request = padded.reshape(len(self.requests), -1, *padded.shape[2:])
            total[self.candidates.rows] += self.candidates.jagged(by_request)
            return
        # [B, ...], or a copy a candidate where nothing is shared: all of them move the logits.
        copies = padded.reshape(len(self.requests), -1, *padded.shape[1:]).sum(dim=1)
        if axis == "request":
            total[self.requests] += copies.numpy()
        else:
            total[self.steps.rows] += self.steps.jagged(copies)


def _differentiable(
    of_request: RequestTensors, scored: CandidateTensors
) -> Mapping[RowAxis, Tensor]:
    return {
        "request": of_request.request_real_BR.requires_grad_(),
        "step": of_request.step_real_BTR.requires_grad_(),
        "candidate": scored.candidate_real_BKR.requires_grad_(),
    }


@contextmanager
def _watched(
    model: nn.Module, places: Sequence[ModulePlace]
) -> Iterator[list[tuple[ModulePlace, Tensor]]]:
    """While inside, the modules' outputs are kept, each with a gradient of its own."""
    seen: list[tuple[ModulePlace, Tensor]] = []

    def hook(place: ModulePlace) -> Callable[[nn.Module, Any, Tensor], None]:
        def kept(_: nn.Module, __: Any, output: Tensor) -> None:
            if not output.requires_grad:
                output.requires_grad_()
            output.retain_grad()
            seen.append((place, output))

        return kept

    with ExitStack() as hooks:
        for place in places:
            handle = model.get_submodule(place.path).register_forward_hook(hook(place))
            hooks.callback(handle.remove)
        yield seen
