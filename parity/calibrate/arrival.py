"""What all rounding together makes of each checkpoint: noise put into every step on the way.

A step's noise is added to what it produced in the same run, level by level down the graph, so that
each checkpoint shows what arrives from all before it. A part of the noise is the same in every
row, as that of a rounded weight is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from replay.checkpoint import CheckpointGraph
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array

DRAWS = 4


def arrivals(
    stack: Stack,
    batch: RequestBatch,
    recorded: Mapping[str, Array],
    own: Mapping[str, Array],
    *,
    strength: float,
    seed: int,
) -> dict[str, Array]:
    """[draw, row, ...] float64: signed differences of each step with noise, of one rounding each.

    Args:
        stack: A stack that can be given its checkpoints.
        batch: The requests.
        recorded: Its values there.
        own: [row, ...], each step's own noise.
        strength: How many roundings are put in at once; the answer is divided by as much.
        seed: Draws the noise.
    """
    rng = np.random.default_rng(seed)
    noise = {name: strength * size for name, size in own.items()}
    draws = [_one(stack, batch, recorded, noise, rng) for _ in range(DRAWS)]
    return {name: np.stack([draw[name] for draw in draws]) / strength for name in own}


def _one(
    stack: Stack,
    batch: RequestBatch,
    recorded: Mapping[str, Array],
    sizes: Mapping[str, Array],
    rng: np.random.Generator,
) -> dict[str, Array]:
    """[row, ...] float64: signed differences of one run with noise of these sizes."""
    graph = stack.checkpoints
    # Discrete values stay as they are: one that flips is another question than rounding.
    given = {
        name: array
        for name, array in recorded.items()
        if name not in sizes and graph[name].settable
    }
    moved: dict[str, Array] = {}
    for level in _levels(graph, sizes):
        produced = stack.score(batch, capture=level, given=given)
        for name in level:
            noise = sizes[name] * _draw(sizes[name].shape, rng)
            with np.errstate(invalid="ignore", over="ignore"):
                arrived = produced[name].astype(np.float64) + noise
                apart = arrived - recorded[name]
            moved[name] = np.where(np.isfinite(apart), apart, 0.0)
            if graph[name].settable:
                given[name] = arrived.astype(recorded[name].dtype)
    return moved


def _draw(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Half of the variance is each row's own, half is shared by all rows."""
    own, shared = rng.standard_normal(shape), rng.standard_normal((1, *shape[1:]))
    drawn: Array = (own + shared) / np.sqrt(2.0)
    return drawn


def _levels(graph: CheckpointGraph, names: Collection[str]) -> list[list[str]]:
    """The names by how many of them stand before each, the longest way."""
    depth: dict[str, int] = {}
    for name in graph:
        before = max((depth[parent] for parent in graph[name].after), default=0)
        depth[name] = before + (name in names)
    levels: dict[int, list[str]] = {}
    for name in graph.sorted(names):
        levels.setdefault(depth[name], []).append(name)
    return [levels[place] for place in sorted(levels)]
