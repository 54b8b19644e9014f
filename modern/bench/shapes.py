"""A model and requests of a given size with random values: what is timed needs no training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modern.transformer.config import TASKS, HistoryConfig, TransformerConfig
from modern.transformer.inputs import ModelInputs
from modern.transformer.layout import SideLayout, TokenLayout
from modern.transformer.model import RankingTransformer
from modern.transformer.tokens import plain_statistics

# Of each discrete feature; its embeddings (2.5 MB at width 64) stay in no cache by themselves.
_CARDINALITY = 10_000
# Real and discrete features of a request, a candidate and a step: a candidate has 1 + 8 tokens and
# the interest token, the prototype's ten (benchmarks/engine).
_FEATURES = {"request": (4, 4), "candidate": (4, 4), "step": (2, 2)}
_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large the model and a request are.

    Attributes:
        candidates, history: Of a request.
        width, heads, feed_forward: Channels of a token, attention heads, inner channels.
        history_layers, layers: Of the history's encoder and of the interaction's.
        tasks: Heads.
    """

    candidates: int = 500
    history: int = 500
    width: int = 64
    heads: int = 4
    feed_forward: int = 128
    history_layers: int = 2
    layers: int = 2
    tasks: int = 1


def random_model(shape: Shape) -> RankingTransformer:
    """A model of the shape whose every weight matters, in evaluation mode."""
    layout = _layout()
    config = TransformerConfig(
        tasks=TASKS[: shape.tasks],
        width=shape.width,
        num_heads=shape.heads,
        feed_forward=shape.feed_forward,
        history_layers=shape.history_layers,
        num_layers=shape.layers,
    )
    generator = torch.Generator().manual_seed(_SEED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = RankingTransformer(
            layout,
            config,
            HistoryConfig(),
            statistics=plain_statistics(layout),
            prior_logits=(-3.0,) * shape.tasks,
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Heads and embeddings start at zero, and a model of zeros would hide any error. Layers
            # start so small that candidates hardly differ; a trained model's do.
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            elif name.endswith("weight") and parameter.dim() == 2:
                parameter.mul_(2.0)
        model.heads.weight.mul_(0.5)
    return model.eval()


def random_inputs(shape: Shape, *, requests: int, seed: int, ragged: bool = False) -> ModelInputs:
    """Requests of the shape; ragged ones have half to all of its candidates, and any history."""
    rng = np.random.default_rng([_SEED, seed])
    candidates = np.full(requests, shape.candidates)
    steps = np.full(requests, shape.history)
    if ragged:
        candidates = rng.integers(-(-shape.candidates // 2), shape.candidates + 1, requests)
        steps = rng.integers(0, shape.history + 1, requests)
    rows = {"request": requests, "candidate": int(candidates.sum()), "step": int(steps.sum())}
    columns: dict[str, Any] = {}
    for axis, (real, discrete) in _FEATURES.items():
        values = rng.normal(size=(rows[axis], real)).astype(np.float32)
        values[rng.random(values.shape) < 0.05] = np.nan
        columns[f"{axis}_real"] = values
        columns[f"{axis}_codes"] = rng.integers(0, _CARDINALITY, (rows[axis], discrete))
    age_hours = _ages(rng, steps)
    return ModelInputs(
        **columns,
        step_age_hours=age_hours,
        step_old=(age_hours > HistoryConfig().recent_hours).astype(np.int32),
        step_place=_within(steps).astype(np.int32),
        step_weight=np.ones(rows["step"], np.float32),
        candidate_offsets=_offsets(candidates),
        step_offsets=_offsets(steps),
    )


def _ages(rng: np.random.Generator, steps: NDArray[np.int64]) -> NDArray[np.float32]:
    """[step] hours, the oldest first; a quarter of each request's steps are of the old segment."""
    share = _within(steps) / np.repeat(np.maximum(steps, 1), steps)
    recent = HistoryConfig().recent_hours
    drawn = rng.uniform(0.1, 0.9, len(share)) * recent
    return np.where(share < 0.25, drawn + recent, drawn).astype(np.float32)


def _layout() -> TokenLayout:
    sides, first = {}, 0
    for axis, (real, discrete) in _FEATURES.items():
        sides[axis] = SideLayout(
            real=tuple(f"{axis}_real_{place}" for place in range(real)),
            discrete=tuple(f"{axis}_code_{place}" for place in range(discrete)),
            cardinalities=(_CARDINALITY,) * discrete,
            first_codes=tuple(first + _CARDINALITY * place for place in range(discrete)),
        )
        first += _CARDINALITY * discrete
    return TokenLayout(**sides, num_codes=first)


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _within(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, 2, ... of each request."""
    return np.arange(int(sizes.sum())) - np.repeat(_offsets(sizes)[:-1], sizes)
