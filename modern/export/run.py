"""An exported program over jagged requests: padded in, recorded and given by module, jagged out."""

# B = requests, K = candidates of each, H = tasks

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modern.export.bounds import Bounds, check_within
from modern.transformer.forward import STEP_CHUNK, Forward
from modern.transformer.inputs import Ints, ModelInputs
from modern.transformer.module_places import ModulePlace
from modern.transformer.padding import (
    Slots,
    candidate_slots,
    candidate_tensors,
    request_tensors,
    step_slots,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ran:
    """What one call gave: [request, candidate, task] logits, and by module path what it produced."""

    logits: Tensor
    recorded: Mapping[str, Tensor]


class Program(Protocol):
    """The arguments of `RankingTransformer.forward` to its logits, in whatever it was exported to."""

    def run(
        self, arguments: tuple[Tensor, ...], *, record: Sequence[str], given: Mapping[str, Tensor]
    ) -> Ran:
        """Run once.

        Args:
            arguments: Padded, within the bounds.
            record: Module paths whose outputs are wanted, as produced.
            given: Module path to what is used in place of its output, of its shape.
        """
        ...

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """What it holds, named as in the model."""
        ...

    def configuration(self) -> Mapping[str, str]:
        """Epsilons and activations by module path, read from its operators."""
        ...


def run_program(
    program: Program,
    inputs: ModelInputs,
    bounds: Bounds,
    *,
    num_tasks: int,
    record: Sequence[ModulePlace] = (),
    given: Mapping[ModulePlace, NDArray[Any]] | None = None,
) -> Forward:
    """Run every request, in the chunks that the model itself runs in where the bounds allow it.

    Raises:
        StackError: A request has more steps than the program was exported for.
    """
    sizes = {
        "request": len(inputs),
        "candidate": inputs.num_candidates,
        "step": len(inputs.step_place),
    }
    recorded = {p.path: _empty(p, sizes[p.axis]) for p in record}
    logits = np.empty((inputs.num_candidates, num_tasks), dtype=np.float32)
    for requests in _chunks(inputs, bounds):
        steps = step_slots(inputs, requests)
        of_request = request_tensors(inputs, requests, steps)
        most = int(np.diff(inputs.candidate_offsets)[requests].max())
        for first in range(0, most, bounds.candidates):
            candidates = candidate_slots(inputs, requests, first, first + bounds.candidates)
            arguments = (*of_request, *candidate_tensors(inputs, candidates))
            check_within(bounds, arguments)
            grids = _Grids(requests=requests, steps=steps, candidates=candidates)
            ran = program.run(
                arguments,
                record=[place.path for place in record],
                given={p.path: grids.padded(p, values) for p, values in (given or {}).items()},
            )
            logits[candidates.rows] = candidates.jagged(ran.logits)
            for place in record:
                grids.keep(place, ran.recorded[place.path], recorded[place.path])
    return Forward(logits=logits, recorded=recorded)


def _chunks(inputs: ModelInputs, bounds: Bounds) -> Iterator[Ints]:
    """Requests of like size together, so that little of a chunk is padding."""
    candidates, steps = np.diff(inputs.candidate_offsets), np.diff(inputs.step_offsets)
    order = np.lexsort((np.arange(len(inputs)), steps, candidates))
    first = most = longest = 0
    for place, request in enumerate(order):
        count = place - first
        most, longest = max(most, candidates[request]), max(longest, steps[request])
        full = (count + 1) * most > bounds.candidates or (count + 1) * longest > STEP_CHUNK
        if count and (full or count == bounds.requests):
            yield order[first:place]
            first, most, longest = place, candidates[request], steps[request]
    if first < len(order):
        yield order[first:]


def _empty(place: ModulePlace, rows: int) -> NDArray[Any]:
    """A step that is not read has NaN, -1 where it is discrete."""
    kind, fill = (np.int64, -1) if place.discrete else (np.float32, np.nan)
    return np.full((rows, *place.shape), fill, dtype=kind)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grids:
    """Where the rows of one call stand in its padded arguments."""

    requests: Ints
    steps: Slots
    candidates: Slots

    def padded(self, place: ModulePlace, values: NDArray[Any]) -> Tensor:
        """A module's jagged values as it returns them."""
        if place.axis == "candidate":
            return self.candidates.padded(values)
        if place.axis == "request":
            return torch.from_numpy(values[self.requests])
        # Where a step that is read is given as one that is not, its code reads as missing.
        return self.steps.padded(values.clip(0) if place.discrete else values)

    def keep(self, place: ModulePlace, output: Tensor, kept: NDArray[Any]) -> None:
        """The other way round, into the rows of all calls."""
        if place.axis == "candidate":
            kept[self.candidates.rows] = self.candidates.jagged(output)
        elif place.axis == "request":
            kept[self.requests] = output.numpy()
        else:
            kept[self.steps.rows] = self.steps.jagged(output)
