"""How large the axes of an exported program may be: declared when it is exported, and enforced here.

A compiled program does not check its own bounds: beyond them it may answer with garbage.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim

from modern.transformer.artifact import TransformerArtifact
from modern.transformer.forward import CHUNK
from replay.errors import ConfigError, StackError

# Which of the nine arguments of `RankingTransformer.forward` have steps or candidates as their
# second axis; the first is always the requests.
_STEPS = range(2, 7)
_CANDIDATES = range(7, 9)
# Traced with sizes that are unlike each other and unlike 1, which an export would take for fixed.
_TRACED = {"requests": 3, "steps": 4, "candidates": 5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The most requests, steps that are read, and candidates of one call.

    Attributes:
        requests: More of them are called in parts.
        candidates: Of a request; likewise, since they do not see each other.
        steps: Of a request; more are refused, since they do. 0 where no history is read.
    """

    requests: int = CHUNK
    candidates: int = CHUNK
    steps: int = 0

    def __post_init__(self) -> None:
        if min(self.requests, self.candidates) < 2 or self.steps == 1 or self.steps < 0:
            raise ConfigError(
                f"the bounds are {asdict(self)}.",
                where="the export's bounds",
                fix="give at least 2: an axis of 1 would be fixed at 1",
            )


def bounds_of(artifact: TransformerArtifact, *, candidates: int = CHUNK) -> Bounds:
    """As many steps as the artifact's configuration reads."""
    history = artifact.config.history
    reads = artifact.model.reads_history
    steps = max(2, history.max_old + history.max_recent) if reads else 0
    return Bounds(candidates=candidates, steps=steps)


def dynamic_shapes(bounds: Bounds) -> tuple[dict[int, Any], ...]:
    """Axes that may vary, for `torch.export`, argument by argument."""
    requests = Dim("requests", min=1, max=bounds.requests)
    candidates = Dim("candidates", min=1, max=bounds.candidates)
    steps = Dim("steps", min=1, max=bounds.steps) if bounds.steps else None
    found: list[dict[int, Any]] = []
    for place in range(9):
        axes: dict[int, Any] = {0: requests}
        if place in _STEPS and steps is not None:
            axes[1] = steps
        if place in _CANDIDATES:
            axes[1] = candidates
        found.append(axes)
    return tuple(found)


def example(artifact: TransformerArtifact, bounds: Bounds) -> tuple[Tensor, ...]:
    """Arguments to trace with; only their shapes and types matter."""
    sizes = {name: min(size, getattr(bounds, name)) for name, size in _TRACED.items()}
    requests, candidates = sizes["requests"], sizes["candidates"]
    steps = sizes["steps"] if bounds.steps else 1
    sides = artifact.layout.request, artifact.layout.step, artifact.layout.candidate
    request, step, candidate = ((len(side.real), len(side.discrete)) for side in sides)
    return (
        torch.zeros(requests, request[0]),
        torch.zeros(requests, request[1], dtype=torch.int64),
        torch.zeros(requests, steps, step[0]),
        torch.zeros(requests, steps, step[1], dtype=torch.int64),
        torch.zeros(requests, steps),
        torch.zeros(requests, steps, dtype=torch.bool),
        torch.ones(requests, steps),
        torch.zeros(requests, candidates, candidate[0]),
        torch.zeros(requests, candidates, candidate[1], dtype=torch.int64),
    )


def check_within(bounds: Bounds, arguments: tuple[Tensor, ...]) -> None:
    """Refuse arguments that are larger than the program was exported for.

    Raises:
        StackError: Naming the axis, its size and its bound.
    """
    sizes = {
        "requests": arguments[0].shape[0],
        "candidates": arguments[_CANDIDATES[0]].shape[1],
        "steps": arguments[_STEPS[0]].shape[1],
    }
    for name, size in sizes.items():
        bound = max(1, getattr(bounds, name))
        if not 1 <= size <= bound:
            raise StackError(
                f"{size} {name} in one call, the program was exported for 1 to {bound}.",
                where="the exported program",
                fix=f"export it again for more {name}, or send fewer",
            )
