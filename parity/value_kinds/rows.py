"""Values that stand at another row of their request, or at all of them, and columns that are exchanged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.value_kinds.kind import Change, ValueKind, by_keys, has_candidates, is_real
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError
from replay.trace import Array, BatchKeys


def _swap(argument: str | None, one: Checkpoint, graph: CheckpointGraph) -> Change:
    partners = _alike(one, graph)
    partner = partners[0] if argument is None else argument
    if partner not in partners:
        raise ConfigError(
            f"{one.name!r} can not take the values of {partner!r} (those of its kind: "
            f"{', '.join(partners)}).",
            where="--plant, swap_columns",
            fix="name a checkpoint of the same stage, dtype and axes",
        )
    return Change(apply=lambda _, used, __: used[partner], reads=(partner,))


def _alike(one: Checkpoint, graph: CheckpointGraph) -> list[str]:
    """Checkpoints whose values could stand in its place: the next ones first."""
    names = [
        other.name
        for other in graph.values()
        if (other.stage, other.dtype, other.axes, other.shape)
        == (one.stage, one.dtype, one.axes, one.shape)
    ]
    at = names.index(one.name)
    below = graph.descendants(one.name)
    return [name for name in names[at + 1 :] + names[:at] if name not in below]


def _next_candidate(keys: BatchKeys) -> Array:
    """[candidate]: the row after it in its request; the last one gets the first."""
    rows = np.arange(keys.num_candidates) + 1
    starts, ends = keys.candidate_offsets[:-1], keys.candidate_offsets[1:]
    rows[ends[ends > starts] - 1] = starts[ends > starts]
    return rows


def _one_before(values: Array, keys: BatchKeys) -> Array:
    rows = np.arange(len(values)) - 1
    starts = keys.candidate_offsets[:-1][np.diff(keys.candidate_offsets) > 0]
    rows[starts] = starts
    return values[rows]


def _reversed(values: Array, keys: BatchKeys) -> Array:
    request = keys.request_of("candidate")
    ends = keys.candidate_offsets[request] + keys.candidate_offsets[request + 1] - 1
    turned: Array = values[ends - np.arange(len(values))]
    return turned


def _first(values: Array, keys: BatchKeys) -> Array:
    return values[keys.candidate_offsets[keys.request_of("candidate")]]


def _sorted(values: Array, keys: BatchKeys) -> Array:
    return values[np.lexsort((values, keys.request_of("candidate")))]


def _mean(values: Array, keys: BatchKeys) -> Array:
    """The mean of what is not missing; missing where all are."""
    request, known = keys.request_of("candidate"), ~np.isnan(values)
    size = keys.num_requests
    sums = np.bincount(request, np.where(known, values, 0.0), minlength=size)
    counts = np.bincount(request, known, minlength=size)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)[request]


def _is_scalar_of_candidates(one: Checkpoint, graph: CheckpointGraph) -> bool:
    return has_candidates(one, graph) and not one.shape


def _is_real_of_candidates(one: Checkpoint, graph: CheckpointGraph) -> bool:
    return _is_scalar_of_candidates(one, graph) and is_real(one, graph) and one.stage == "feature"


ROW_KINDS: Mapping[str, ValueKind] = {
    "swap_columns": ValueKind(
        says="takes the values of another checkpoint of its kind (the next one)",
        fits=lambda one, graph: bool(_alike(one, graph)),
        make=_swap,
    ),
    "permute_candidates": by_keys(
        "permute_candidates",
        "each candidate takes the value of the next one in its request",
        has_candidates,
        lambda v, keys: v[_next_candidate(keys)],
    ),
    "lag": by_keys(
        "lag",
        "each candidate takes the value of the one before it: a buffer that is read one row late",
        _is_scalar_of_candidates,
        _one_before,
    ),
    "reversed": by_keys(
        "reversed", "the candidates' values stand in reverse order", _is_scalar_of_candidates, _reversed
    ),
    "repeated": by_keys(
        "repeated",
        "every candidate takes the value of its request's first one",
        _is_scalar_of_candidates,
        _first,
    ),
    "sorted": by_keys(
        "sorted", "the values are sorted within their request", _is_real_of_candidates, _sorted
    ),
    "averaged": by_keys(
        "averaged", "every candidate takes the request's mean", _is_real_of_candidates, _mean
    ),
}  # fmt: skip
