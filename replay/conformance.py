"""The contract every stack keeps, as claims that can be run against any stack and batch.

Each claim returns its violations as sentences; a stack conforms when all are empty.
`check_stack` runs them all. A team runs the same claims over its own stack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from replay.checkpoint import Checkpoint
from replay.errors import StackError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import EMPTY, Array, Trace, check_array

Claim = Callable[[Stack, RequestBatch], list[str]]


def check_stack(stack: Stack, batch: RequestBatch) -> dict[str, list[str]]:
    """Violations by claim, all of them empty for a stack that keeps the contract.

    Args:
        stack: An open stack.
        batch: A few dozen varied requests: the graph is tested on what they exercise.
    """
    return {claim.__name__: claim(stack, batch) for claim in CLAIMS}


def records_what_it_declares(stack: Stack, batch: RequestBatch) -> list[str]:
    """Every declared checkpoint is recorded, with its shape, dtype and the batch's rows."""
    trace = _score(stack, batch)
    found = []
    for name, checkpoint in stack.checkpoints.items():
        try:
            check_array(trace.values[name], checkpoint, batch.keys, where="recorded")
        except (KeyError, StackError) as error:
            found.append(f"{name}: {error}")
            continue
        if trace[name].flags.writeable:
            found.append(f"{name}: the recorded array can be written to")
    return found + ([] if trace.keys.same_rows(batch.keys) else ["rows are not the batch's rows"])


def repeats_itself(stack: Stack, batch: RequestBatch) -> list[str]:
    """The same requests give the same bits twice, and the same identity."""
    first, second = _score(stack, batch), _score(stack, batch)
    moved = [f"{name}: differs the second time" for name in _moved(first, second)]
    return moved + ([] if stack.identity() == stack.identity() else ["its identity changed"])


def is_not_disturbed_by_recording(stack: Stack, batch: RequestBatch) -> list[str]:
    """What is captured alone equals what is captured with everything else, bit for bit."""
    everything = _score(stack, batch)
    return [
        f"{name}: differs when captured alone"
        for name in stack.checkpoints
        if not _same(everything[name], stack.score(batch, capture=[name])[name])
    ]


def scores_requests_independently(stack: Stack, batch: RequestBatch) -> list[str]:
    """A request alone equals its rows in a batch, step by step on the same inputs.

    Exact values are equal, others within the declared rounding.
    """
    together = _score(stack, batch)
    found = set()
    for request in range(batch.num_requests):
        rows = {
            name: together[name][batch.keys.request_of(checkpoint.rows) == request]
            for name, checkpoint in stack.checkpoints.items()
        }
        given = {name: rows[name] for name, c in stack.checkpoints.items() if c.settable}
        alone = _score(stack, batch.slice(request, request + 1), given=given)
        found |= {
            f"{name}: a request in a batch and alone differ"
            for name, checkpoint in stack.checkpoints.items()
            if not _within_rounding(rows[name], alone[name], checkpoint)
        }
    return sorted(found)


def carries_on_with_what_it_is_given(stack: Stack, batch: RequestBatch) -> list[str]:
    """Given its own values everywhere, a stack records the same; given others, it uses them."""
    free = _score(stack, batch)
    settable = [name for name, c in stack.checkpoints.items() if c.settable]
    held = _score(stack, batch, given={name: free[name] for name in settable})
    return [f"{name}: differs though it was given its own values" for name in _moved(free, held)]


def refuses_what_does_not_fit(stack: Stack, batch: RequestBatch) -> list[str]:
    """A given array of another dtype, too few rows, or an unknown name is refused."""
    free = _score(stack, batch)
    found = []
    for name, checkpoint in stack.checkpoints.items():
        if not checkpoint.settable:
            continue
        other = np.dtype("float64" if free[name].dtype != np.float64 else "float32")
        for wrong, how in (
            (free[name].astype(other), f"as {other}"),
            (free[name][1:], "a row short"),
        ):
            if not _is_refused(stack, batch, capture=[name], given={name: wrong}):
                found.append(f"{name}: given {how}, it was not refused")
    if not _is_refused(stack, batch, capture=["no.such.checkpoint"], given=EMPTY):
        found.append("capturing an unknown checkpoint was not refused")
    return found


def moves_only_what_it_declares(stack: Stack, batch: RequestBatch) -> list[str]:
    """A changed checkpoint moves declared descendants only, and itself is recorded unchanged."""
    free = _score(stack, batch)
    graph = stack.checkpoints
    found = []
    for name, changed in _perturbed(stack, free):
        allowed = graph.descendants(name)
        moved = _moved(free, _score(stack, batch, given={name: changed}))
        found += [
            f"{other}: moved with {name}, undeclared" for other in moved if other not in allowed
        ]
    return sorted(set(found))


def moves_every_child_it_declares(stack: Stack, batch: RequestBatch) -> list[str]:
    """Each declared child moves for some change of its parent."""
    free = _score(stack, batch)
    waiting = {
        name: set(stack.checkpoints.children[name])
        for name, checkpoint in stack.checkpoints.items()
        if checkpoint.settable
    }
    for name, changed in _perturbed(stack, free):
        if waiting[name]:
            trace = stack.score(batch, capture=sorted(waiting[name]), given={name: changed})
            waiting[name] -= {c for c in waiting[name] if not _same(free[c], trace[c])}
    return [f"{child}: never moved with {name}" for name, left in waiting.items() for child in left]


def needs_its_parents_only(stack: Stack, batch: RequestBatch) -> list[str]:
    """With all its parents given, nothing further up matters to a checkpoint."""
    free = _score(stack, batch)
    graph = stack.checkpoints
    perturbed: dict[str, Array] = {}
    for name, changed in _perturbed(stack, free):
        perturbed.setdefault(name, changed)
    found = []
    for name, checkpoint in graph.items():
        parents = {p: free[p] for p in checkpoint.after if graph[p].settable}
        further = graph.ancestors(name) - set(checkpoint.after)
        given = parents | {far: perturbed[far] for far in further if far in perturbed}
        if len(parents) < len(checkpoint.after) or not further:
            continue
        if not _same(free[name], stack.score(batch, capture=[name], given=given)[name]):
            found.append(f"{name}: depends on something its declared parents do not carry")
    return found


CLAIMS: tuple[Claim, ...] = (
    records_what_it_declares,
    repeats_itself,
    is_not_disturbed_by_recording,
    scores_requests_independently,
    carries_on_with_what_it_is_given,
    refuses_what_does_not_fit,
    moves_only_what_it_declares,
    moves_every_child_it_declares,
    needs_its_parents_only,
)


def _score(stack: Stack, batch: RequestBatch, given: Mapping[str, Array] = EMPTY) -> Trace:
    return stack.score(batch, capture=list(stack.checkpoints), given=given)


def _perturbed(stack: Stack, free: Trace) -> Iterator[tuple[str, Array]]:
    """Per settable checkpoint, several changed arrays whose values it could have produced."""
    for name, checkpoint in stack.checkpoints.items():
        if not checkpoint.settable:
            continue
        for changed in _variants(free[name], checkpoint):
            if not _same(free[name], changed):
                yield name, changed


def _variants(values: Array, checkpoint: Checkpoint) -> Iterator[Array]:
    shuffle = np.random.default_rng(0)
    for shift in (1, max(2, len(values) // 2)):
        yield np.roll(values, shift, axis=0)
    yield shuffle.permutation(values)
    if checkpoint.exact and values.dtype.kind in "iu":
        return
    yield (values * 1.5 + 0.25).astype(values.dtype)
    for value in (-1e3, 1e3):
        yield np.full_like(values, value)
    if checkpoint.missing == "nan":
        yield np.full_like(values, np.nan)


def _moved(before: Trace, after: Trace) -> list[str]:
    return [name for name in before.values if not _same(before[name], after[name])]


def _same(left: Array, right: Array) -> bool:
    return (
        left.shape == right.shape
        and left.dtype == right.dtype
        and left.tobytes() == right.tobytes()
    )


def _within_rounding(left: Array, right: Array, checkpoint: Checkpoint) -> bool:
    if checkpoint.exact or checkpoint.rounding is None or left.shape != right.shape:
        return _same(left, right)
    bound = checkpoint.rounding
    allowed = 2 * (bound.absolute + bound.ulps * np.spacing(np.abs(left)).astype(np.float64))
    off = np.abs(left.astype(np.float64) - right.astype(np.float64))
    return bool(np.all((off <= allowed) | (np.isnan(left) & np.isnan(right))))


def _is_refused(
    stack: Stack, batch: RequestBatch, *, capture: list[str], given: Mapping[str, Array]
) -> bool:
    try:
        stack.score(batch, capture=capture, given=given)
    except (StackError, TypeError):
        return True
    return False
