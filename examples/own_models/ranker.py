"""A team's own ranker in PyTorch and its ONNX export, compared without writing a stack.

From the checkout's root:

    parity logs import synthetic --out examples/own_models/logs --days 1 --requests 500
    python -m examples.own_models.ranker
    parity replay --config examples/own_models/parity.yaml --date 2026-01-05 \
        --reference ours --challenger export
    parity replay --config examples/own_models/parity.yaml --date 2026-01-05 \
        --reference ours --challenger serving

`export` is the same model. `serving` has two mistakes: its features take log where ours take
log1p, and one row of a weight matrix came out 1 % larger.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from replay import RequestBatch

HERE = Path(__file__).parent
ADVERTISERS = 64


class Ranker(nn.Module):
    """Numbers and an advertiser through a small residual network to the logit of a click."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.numbers = nn.Linear(3, width)
        self.advertiser = nn.Embedding(ADVERTISERS, width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Linear(32, width))
        self.head = nn.Linear(width, 1)

    def forward(self, numbers: Tensor, advertiser: Tensor, age_days: Tensor) -> Tensor:
        x = self.numbers(numbers) + self.advertiser(advertiser)
        x = x + self.mlp(self.norm(x)) * torch.tanh(age_days / 1000.0)[:, None]
        logit: Tensor = self.head(x)
        return logit.squeeze(-1)


def build(artifact: Path) -> Ranker:
    """The trained ranker (`module` in parity.yaml)."""
    ranker = Ranker()
    ranker.load_state_dict(load_file(artifact))
    return ranker


def inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """What the ranker reads of a batch (`inputs` in parity.yaml), by argument of `forward`."""
    price = _numbers(batch, "candidate.price")
    clicks = _numbers(batch, "candidate.past_clicks")
    seen = _numbers(batch, "candidate.past_impressions")
    return {
        "numbers": np.log1p(np.stack([price, clicks, seen], axis=1)).astype(np.float32),
        "advertiser": _numbers(batch, "candidate.advertiser_id").astype(np.int64) % ADVERTISERS,
        "age_days": _numbers(batch, "user.age_days").astype(np.float32),  # one per request
    }


def serving_inputs(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The same, written again by another team."""
    found = dict(inputs(batch))
    clicks = np.maximum(_numbers(batch, "candidate.past_clicks"), 1.0)
    found["numbers"] = found["numbers"].copy()
    found["numbers"][:, 1] = np.log(clicks).astype(np.float32)
    return found


def export(ranker: Ranker, path: Path) -> None:
    """Write the ranker as an ONNX graph that takes any number of candidates."""
    example = (torch.ones(3, 3), torch.ones(3, dtype=torch.int64), torch.ones(3))
    names = ["numbers", "advertiser", "age_days"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dynamo=True is newer, and needs onnxscript
        torch.onnx.export(
            ranker.eval(),
            example,
            str(path),
            dynamo=False,
            opset_version=20,
            input_names=names,
            output_names=["logit"],
            dynamic_axes={name: {0: "candidates"} for name in names},
        )


def main() -> None:
    """Write the artifacts: weights, a faithful export, and one with a mistake in it."""
    torch.manual_seed(0)
    ranker = Ranker()
    save_file(ranker.state_dict(), HERE / "ranker.safetensors")
    export(ranker, HERE / "ranker.onnx")
    with torch.no_grad():
        ranker.get_parameter("mlp.0.weight")[3] *= 1.01
    export(ranker, HERE / "serving.onnx")


def _numbers(batch: RequestBatch, path: str) -> NDArray[np.float64]:
    values = pc.fill_null(batch.column(path).cast("float64"), 0.0)
    found: NDArray[np.float64] = np.nan_to_num(values.to_numpy(zero_copy_only=False))
    return found.clip(min=0.0)


if __name__ == "__main__":
    main()
