"""The mirror of `given`: the reference's own step on what the challenger computed before it.

A challenger that can only be recorded carries its faults on: every step after one sees other
inputs than the reference's did. Where the reference can be given values, it makes each of these
steps itself, on the challenger's inputs: in float64 where it can, else as it runs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.compare.alignment import Alignment, Pair, expanded
from replay.engine.capability_calls import recomputing
from replay.errors import StackError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array, BatchKeys, Trace


def mirrored(
    reference: Stack,
    batch: RequestBatch,
    alignment: Alignment,
    free_run: Trace,
    given: frozenset[str],
) -> dict[str, Array]:
    """Reference name to what the reference makes of the challenger's own inputs.

    Args:
        reference: The side that is trusted.
        batch: The sample.
        alignment: The pairs.
        free_run: The challenger as it runs, at every pair.
        given: Pairs at which the challenger can be given the reference's values.

    Returns:
        Of the steps that read, directly or through unaligned ones, what can not be given; without
        those whose inputs the reference can not be given either.
    """
    blind = [pair for pair in alignment.pairs if _reads_ungiven(pair, alignment, given)]
    if not blind:
        return {}
    fed = {
        pair.name: values
        for pair in alignment.pairs
        if pair.reference.settable
        and (values := _for_reference(free_run[pair.challenger.name], pair, batch.keys)) is not None
    }
    names = [pair.name for pair in blind if _is_fed(pair, alignment, fed)]
    if not names:
        return {}
    found = dict(reference.score(batch, capture=names, given=fed).values)
    wide = recomputing(reference)
    real = [name for name in names if found[name].dtype.kind == "f"]
    if wide is not None and real:
        try:
            found |= wide.recompute(batch, real, fed)
        except StackError:  # it does not run in float64: its own precision is what there is
            return found
    return found


def _reads_ungiven(pair: Pair, alignment: Alignment, given: frozenset[str]) -> bool:
    aligned = alignment.by_challenger
    front, seen = list(alignment.challenger[pair.challenger.name].after), set[str]()
    while front:
        name = front.pop()
        if name in aligned:
            if aligned[name].name not in given:
                return True
        elif name not in seen:
            seen.add(name)
            front.extend(alignment.challenger[name].after)
    return False


def _is_fed(pair: Pair, alignment: Alignment, fed: dict[str, Array]) -> bool:
    """Whether all that the reference's step reads is fed, or computed from what is."""
    return all(name in fed for name in _aligned_inputs(pair, alignment))


def _aligned_inputs(pair: Pair, alignment: Alignment) -> Iterator[str]:
    front, seen = list(alignment.reference[pair.name].after), set[str]()
    while front:
        name = front.pop()
        if name in alignment.by_name:
            yield name
        elif name not in seen:
            seen.add(name)
            front.extend(alignment.reference[name].after)


def _for_reference(values: Array, pair: Pair, keys: BatchKeys) -> Array | None:
    """The challenger's values as the reference takes them; None where they do not fit."""
    theirs, ours = pair.challenger.rows, pair.reference.rows
    if (theirs, ours) == ("candidate", "request"):
        first = values[keys.candidate_offsets[:-1]]
        same = first[keys.request_of("candidate")] == values
        if not bool(same.all()):
            return None
        values = first
    else:
        values = expanded(values, theirs, ours, keys)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(pair.reference.dtype)
    return cast if values.dtype.kind == "f" or np.array_equal(cast, values) else None
