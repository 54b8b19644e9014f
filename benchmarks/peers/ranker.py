"""A ranker of six transformer blocks over a candidate and the history, and its features."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "layer_faults")]

from features import inputs as steps_and_mask  # noqa: E402  # after the paths

from replay.request import RequestBatch  # noqa: E402

BLOCKS = 6
NUMBERS = ("price", "past_clicks", "past_impressions")
OPTIONS: Mapping[str, Any] = {
    "logit": "logit",
    "columns": {"numbers": list(NUMBERS)},
    "money": "candidate.bid_micros",
}


def inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The candidate's numbers, the history's steps, and which steps there are."""
    found = steps_and_mask(batch)
    return {
        "numbers": np.ascontiguousarray(found["steps"][:, -1, :3]),
        "history": np.ascontiguousarray(found["steps"][:, :-1, 2:]),
        "mask": found["mask"],
    }


def inputs_with_log(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """Fault C: log where the ranker was trained with log1p, for the clicks."""
    found = dict(inputs(batch))
    found["numbers"] = found["numbers"].copy()
    clicks = np.expm1(4.0 * found["numbers"][:, 1].astype(np.float64))
    found["numbers"][:, 1] = np.log(np.maximum(clicks, 1.0)) / 4.0
    return found


def build() -> Any:
    """The ranker in PyTorch."""
    import torch
    from model import WIDTH, Block, Pool
    from torch import Tensor, nn

    class Ranker(nn.Module):
        """Steps to the logit of a click."""

        def __init__(self) -> None:
            super().__init__()
            self.numbers, self.history = nn.Linear(3, WIDTH), nn.Linear(4, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
            self.norm, self.pool, self.head = nn.LayerNorm(WIDTH), Pool(), nn.Linear(WIDTH, 1)

        def forward(self, numbers: Tensor, history: Tensor, mask: Tensor) -> Tensor:
            candidate = self.numbers(numbers)[:, None]
            x = torch.cat([self.history(history), candidate], dim=1)
            for block in self.blocks:
                x = block(x, mask)
            logit: Tensor = self.head(self.pool(self.norm(x), mask))
            return logit.squeeze(-1)

    torch.manual_seed(0)
    return Ranker().eval()


def matrix_scaled(ranker: Any) -> None:
    """Fault A: one weight matrix is 1 % too large."""
    ranker.blocks[1].up.weight.mul_(1.01)


def other_eps(ranker: Any) -> None:
    """Fault B: a norm's epsilon is 1e-2 instead of 1e-5."""
    ranker.blocks[2].norm1.eps = 1e-2


def two_faults(ranker: Any) -> None:
    """Fault D: A, and another matrix two blocks later."""
    matrix_scaled(ranker)
    ranker.blocks[3].out.weight.mul_(1.01)


# Fault to the change of the model, the inputs of the challenger, and what has to be named: a linear
# layer is two operators in the graph, and the matrix stands in the first one.
FAULTS: Mapping[str, tuple[Callable[[Any], None] | None, str, tuple[str, ...]]] = {
    "A": (matrix_scaled, "inputs", ("/blocks.1/up/MatMul_output_0",)),
    "B": (other_eps, "inputs", ("blocks.2.norm1",)),
    "C": (None, "inputs_with_log", ("features.past_clicks",)),
    "D": (two_faults, "inputs", ("/blocks.1/up/MatMul_output_0", "/blocks.3/out/MatMul_output_0")),
}


def write(folder: Path) -> None:
    """The reference's graph and one for each fault."""
    import copy

    import torch
    from export import export

    ranker = build()
    export(ranker, folder / "reference.onnx")
    for name, (change, _, _) in FAULTS.items():
        faulty = copy.deepcopy(ranker)
        with torch.no_grad():
            if change is not None:
                change(faulty)
        export(faulty, folder / f"{name}.onnx")
