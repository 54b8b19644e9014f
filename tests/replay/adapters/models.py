"""Small models of a user's own, fed from the requests of `tests.builders`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from replay.request import RequestBatch
from tests.builders import random_batch

DENSE = ("price", "impressions", "clicks")
NUM_IDS = 40


def example() -> RequestBatch:
    return random_batch(24, 6, seed=3)


def arrays(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """Three numbers and two ids a candidate, one number a request."""
    request_of = batch.keys.request_of("candidate")
    ad = _column(batch, "candidate.ad_id") % NUM_IDS
    slot = (np.abs(_column(batch, "context.slot")) % NUM_IDS)[request_of]
    return {
        "dense": np.stack([_log1p(batch, f"candidate.{name}") for name in DENSE], axis=1),
        "ids": np.stack([ad, slot], axis=1).astype(np.int64),
        "age": _log1p(batch, "user.age_days"),
    }


def arrays_with_log(batch: RequestBatch) -> Mapping[str, NDArray[Any]]:
    """The mistake of a rewrite: log where log1p was meant, for one column."""
    found = dict(arrays(batch))
    dense = found["dense"].copy()
    with np.errstate(divide="ignore"):
        dense[:, 2] = np.log(_positive(batch, "candidate.clicks")).clip(-5).astype(np.float32)
    return found | {"dense": dense}


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        attended, _ = self.attention(y, y, y, need_weights=False)
        x = x + self.drop(attended)
        return x + self.mlp(self.norm2(x))


class SmallTransformer(nn.Module):
    def __init__(self, width: int = 16, layers: int = 2) -> None:
        super().__init__()
        self.numbers = nn.Linear(len(DENSE), width)
        self.user = nn.Linear(1, width)
        self.ids = nn.Embedding(NUM_IDS, width)
        self.layers = nn.ModuleList([Block(width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)

    def forward(self, dense: Tensor, ids: Tensor, age: Tensor) -> Tensor:
        tokens = [self.numbers(dense)[:, None], self.user(age[:, None])[:, None], self.ids(ids)]
        x = torch.cat(tokens, dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(dim=1)).squeeze(-1)


class Mlp(nn.Module):
    """Two towers over separate columns, one activation called twice, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.price = nn.Linear(1, 8)
        self.counts = nn.Linear(2, 8)
        self.ids = nn.Embedding(NUM_IDS, 4)
        self.activation = nn.ReLU(inplace=True)
        self.join = nn.Sequential(nn.Linear(8 + 8 + 8 + 1, 16), nn.Tanh())
        self.head = nn.Linear(16, 1)

    def forward(self, dense: Tensor, ids: Tensor, age: Tensor) -> Tensor:
        price = self.activation(self.price(dense[:, :1]))
        counts = self.activation(self.counts(dense[:, 1:]))
        joined = torch.cat([price, counts, self.ids(ids).flatten(1), age[:, None]], dim=1)
        return self.head(self.join(joined))[:, 0]


def transformer(artifact: Path | None = None) -> SmallTransformer:
    torch.manual_seed(0)
    return _loaded(SmallTransformer(), artifact)


def mlp(artifact: Path | None = None) -> Mlp:
    torch.manual_seed(1)
    return _loaded(Mlp(), artifact)


def _loaded(module: nn.Module, artifact: Path | None) -> Any:
    if artifact is not None:
        module.load_state_dict(torch.load(artifact, weights_only=True))
        return module.eval()
    return as_trained(module)


def as_trained(module: nn.Module) -> Any:
    """A trained norm is no identity: else its weights could be anything."""
    for one in module.modules():
        if isinstance(one, nn.LayerNorm):
            nn.init.normal_(one.weight, 1.0, 0.2)
            nn.init.normal_(one.bias, 0.0, 0.2)
    return module.eval()


def _column(batch: RequestBatch, path: str) -> NDArray[Any]:
    return np.asarray(pc.fill_null(batch.column(path), 0).to_numpy(zero_copy_only=False))


def _positive(batch: RequestBatch, path: str) -> NDArray[np.float64]:
    values = np.nan_to_num(_column(batch, path).astype(np.float64), posinf=1e6, neginf=0.0)
    return values.clip(0.0, 1e6)


def _log1p(batch: RequestBatch, path: str) -> NDArray[np.float32]:
    return np.log1p(_positive(batch, path)).astype(np.float32)
