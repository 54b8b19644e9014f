"""From jagged numpy rows to padded tensors, and back: the one place that pads."""

# B = requests, K = candidates, T = steps that are read, R = real features, N = discrete features

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modern.transformer.inputs import Ints, ModelInputs, rows_of_requests


class RequestTensors(NamedTuple):
    """What is computed once a request: arguments of `RankingTransformer.encode_request`.

    `step_old_BT` is bool. `step_weight_BT` is 0 in padding: a step without weight is unseen.
    """

    request_real_BR: Tensor
    request_code_BN: Tensor
    step_real_BTR: Tensor
    step_code_BTN: Tensor
    step_age_BT: Tensor
    step_old_BT: Tensor
    step_weight_BT: Tensor


class CandidateTensors(NamedTuple):
    """What is scored against it: further arguments of `score_candidates`."""

    candidate_real_BKR: Tensor
    candidate_code_BKN: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slots:
    """Where jagged rows stand in a padded [request, slot] grid.

    Attributes:
        rows: The jagged rows that stand there.
        request, slot: [row of `rows`], their place in the grid.
        width: Slots of a request.
        num_requests: Requests of the grid.
    """

    rows: Ints
    request: Ints
    slot: Ints
    width: int
    num_requests: int

    def padded(self, values: NDArray[Any], fill: float = 0) -> Tensor:
        """[request, slot, ...] of [row, ...] values; `fill` in the padding."""
        grid = np.full((self.num_requests, self.width, *values.shape[1:]), fill, values.dtype)
        grid[self.request, self.slot] = values[self.rows]
        return torch.from_numpy(grid)

    def jagged(self, grid: Tensor) -> NDArray[Any]:
        """[row of `rows`, ...] of a padded grid."""
        values: NDArray[Any] = grid[self.request, self.slot].numpy()
        return values


def step_slots(inputs: ModelInputs, requests: Ints) -> Slots:
    """The steps that are read of these requests, by their place."""
    rows = rows_of_requests(inputs.step_offsets, requests)
    owner = np.repeat(np.arange(len(requests)), np.diff(inputs.step_offsets)[requests])
    read = inputs.step_place[rows] >= 0
    rows, owner = rows[read], owner[read]
    # By rank, not by the place itself: places that were given need not be 0, 1, 2.
    order = np.lexsort((inputs.step_place[rows], owner))
    rows, owner = rows[order], owner[order]
    return _slots(rows, owner, len(requests))


def candidate_slots(inputs: ModelInputs, requests: Ints, first: int, last: int) -> Slots:
    """Candidates first:last of each of these requests."""
    sizes = np.diff(inputs.candidate_offsets)[requests]
    rows = rows_of_requests(inputs.candidate_offsets, requests)
    within = rows - np.repeat(inputs.candidate_offsets[:-1][requests], sizes)
    owner = np.repeat(np.arange(len(requests)), sizes)
    chosen = (within >= first) & (within < last)
    return _slots(rows[chosen], owner[chosen], len(requests))


def request_tensors(inputs: ModelInputs, requests: Ints, steps: Slots) -> RequestTensors:
    """The request side of a forward pass."""
    return RequestTensors(
        torch.from_numpy(inputs.request_real[requests]),
        torch.from_numpy(inputs.request_codes[requests]),
        steps.padded(inputs.step_real),
        steps.padded(inputs.step_codes),
        steps.padded(inputs.step_age_hours),
        steps.padded(inputs.step_old.astype(np.bool_)),
        steps.padded(inputs.step_weight),
    )


def candidate_tensors(inputs: ModelInputs, candidates: Slots) -> CandidateTensors:
    """The candidates' side of a forward pass."""
    return CandidateTensors(
        candidates.padded(inputs.candidate_real), candidates.padded(inputs.candidate_codes)
    )


def _slots(rows: Ints, owner: Ints, num_requests: int) -> Slots:
    slot = np.arange(len(owner)) - np.searchsorted(owner, owner, side="left")
    return Slots(
        rows=rows,
        request=owner,
        slot=slot,
        width=max(int(slot.max(initial=-1)) + 1, 1),  # never empty: no case of its own further on
        num_requests=num_requests,
    )
