"""What rounding makes of each step alone, its inputs given: three measurements that need no other side.

The perturbation response: inputs disturbed by one rounding each. A plain sum of n terms rounds n
times, so its noise grows with sqrt(n). The float64 shadow: how far the step really errs here, where
the stack can recompute. The floor: how far it moves when nothing that matters changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from parity.calibrate.precision import Precision
from replay.engine.capability_calls import recomputing, varying
from replay.errors import StackError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array, Trace

# A root mean square over 6 draws is known to 30 %, and the rows add to that.
DRAWS = 6
# No score is a thousandth of what masks it: -1e4, -1e9, the least float32.
DWARFS = 1e3
ORDER, ALONE = "requests in reverse", "half of the requests at a time"


def responses(
    stack: Stack,
    batch: RequestBatch,
    recorded: Mapping[str, Array],
    *,
    capture: Collection[str],
    precision: Precision,
    seed: int,
) -> dict[str, Array]:
    """[row, ...] float64: how each step answers one rounding of everything it reads, and its own."""
    rng = np.random.default_rng(seed)
    squares = {name: np.zeros(recorded[name].shape) for name in capture}
    settable = [name for name in recorded if stack.checkpoints[name].settable]
    for _ in range(DRAWS):
        given = {name: precision.disturbed(recorded[name], rng) for name in settable}
        answered = stack.score(batch, capture=capture, given=given)
        for name in capture:
            squares[name] += apart(answered[name], recorded[name]) ** 2
    scale = DRAWS * precision.strength**2
    return {
        name: np.sqrt(total / scale + own_rounding(recorded[name], total, precision) ** 2)
        for name, total in squares.items()
    }


def own_rounding(values: Array, moved: Array, precision: Precision) -> Array:
    """[row, ...] float64: one rounding of each value, but none of a mask's.

    What no disturbance moves and dwarfs all that is moved is written there, not computed: -1e9 in
    place of a masked score. Its rounding would hide every fault of the scores beside it.
    """
    rounding = precision.rounding(values)
    computed = np.abs(values[moved > 0.0])
    if not computed.size:
        return rounding
    written = (moved == 0.0) & (np.abs(values) > DWARFS * computed.max())
    return np.where(written, 0.0, rounding)


def shadow(
    stack: Stack, batch: RequestBatch, recorded: Mapping[str, Array], *, capture: Collection[str]
) -> tuple[dict[str, Array], str | None]:
    """[row, ...] float64: each step's own error against float64, given what it was given.

    Returns:
        The errors, and why there are none.
    """
    wide = recomputing(stack)
    if wide is None:
        return {}, f"{stack.name} does not recompute in float64"
    given = {n: array for n, array in recorded.items() if stack.checkpoints[n].settable}
    try:
        exact = wide.recompute(batch, list(capture), given)
    except StackError as error:
        return {}, error.what
    return {name: apart(exact[name], recorded[name]) for name in capture}, None


def floors(
    stack: Stack, batch: RequestBatch, recorded: Mapping[str, Array], *, capture: Collection[str]
) -> dict[str, dict[str, Array]]:
    """Change to [row, ...] float64: what each step moves by under it, its inputs given."""
    given = {n: array for n, array in recorded.items() if stack.checkpoints[n].settable}
    plain = stack.score(batch, capture=capture, given=given)
    return {
        change: {name: apart(trace[name], plain[name]) for name in capture}
        for change, trace in _changed(stack, batch, given, capture)
    }


def apart(one: Array, other: Array) -> Array:
    """Absolute differences in float64; 0 where either is not finite."""
    with np.errstate(invalid="ignore"):  # infinity - infinity
        found = np.abs(one.astype(np.float64) - other.astype(np.float64))
    return np.where(np.isfinite(found), found, 0.0)


def _changed(
    stack: Stack, batch: RequestBatch, given: Mapping[str, Array], capture: Collection[str]
) -> Iterator[tuple[str, Trace]]:
    """Harmless changes that any stack can be asked for, then those it offers."""
    requests = np.arange(batch.num_requests)
    halves = np.array_split(requests, min(2, len(requests)))
    for change, groups in ((ORDER, [requests[::-1]]), (ALONE, halves)):
        yield change, _by_groups(stack, batch, given, capture, groups)
    varied = varying(stack)
    if varied is not None:
        for change in varied.variations():
            yield change, varied.vary(change, batch, list(capture), given)


def _by_groups(
    stack: Stack,
    batch: RequestBatch,
    given: Mapping[str, Array],
    capture: Collection[str],
    groups: Collection[Array],
) -> Trace:
    """The batch scored group by group, its rows back in their places."""
    values: dict[str, Array] = {}
    for requests in groups:
        rows = {
            axis: np.concatenate(
                [np.flatnonzero(batch.keys.request_of(axis) == request) for request in requests]
            )
            for axis in ("request", "candidate", "step")
        }
        own = {name: array[rows[stack.checkpoints[name].rows]] for name, array in given.items()}
        trace = stack.score(batch.take(requests), capture=capture, given=own)
        for name in capture:
            checkpoint = stack.checkpoints[name]
            shape = (batch.keys.num_rows(checkpoint.rows), *checkpoint.shape)
            values.setdefault(name, np.zeros(shape, trace[name].dtype))
            values[name][rows[checkpoint.rows]] = trace[name]
    return Trace(stack=stack.name, keys=batch.keys, values=values)
