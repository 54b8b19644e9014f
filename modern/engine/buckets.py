"""Ragged requests to passes of few shapes: a shape that repeats can be recorded once and replayed."""

# B = requests of a pass, K = candidate slots, T = step slots

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from modern.transformer.inputs import Ints


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Bucket:
    """The padded shape of a pass.

    Attributes:
        requests, steps, candidates: B, T and K.
        old: Slots of steps whose encoding is looked up; 0 where none is.
    """

    requests: int
    steps: int
    candidates: int
    old: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pass:
    """Requests that run together.

    Attributes:
        bucket: Their padded shape.
        requests: [at most B] places of the requests in the inputs.
        first: The first of each request's candidates that is scored here: a request with more
            than fit is scored in several passes.
    """

    bucket: Bucket
    requests: Ints
    first: int = 0


def rounded_up(size: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, ...: a third of a pass is padding at worst."""
    power = 1 << max(size - 1, 0).bit_length()
    return 3 * power // 4 if power >= 4 and size <= 3 * power // 4 else power


def plan_passes(
    steps: Ints, candidates: Ints, *, max_requests: int, max_candidates: int
) -> Iterator[Pass]:
    """Cut requests into passes, those of like size together so that little is padded.

    Args:
        steps: [request] steps that are read.
        candidates: [request] candidates.
        max_requests: Of a pass.
        max_candidates: Candidate slots of a pass. A request with more is cut.
    """
    order = np.lexsort((steps, candidates))
    sizes = [rounded_up(max(int(n), 1)) for n in np.minimum(candidates, max_candidates)]
    start = 0
    while start < len(order):
        width = sizes[order[start]]
        stop = start
        while stop < len(order) and stop - start < max_requests:
            wider = sizes[order[stop]]
            # Another width is another pass, unless few candidates would be padded for it.
            if wider * (stop - start + 1) > max(max_candidates, wider) or wider > 2 * width:
                break
            stop += 1
        chosen = order[start:stop]
        widest = max(sizes[place] for place in chosen)
        for first in range(0, max(int(candidates[chosen].max(initial=0)), 1), widest):
            yield Pass(
                bucket=Bucket(
                    requests=rounded_up(len(chosen)),
                    steps=rounded_up(max(int(steps[chosen].max(initial=0)), 1)),
                    candidates=widest,
                ),
                requests=np.sort(chosen),
                first=first,
            )
        start = stop


def whole_pass(steps: Ints, candidates: Ints) -> Pass:
    """One pass of all requests, however unlike they are."""
    return Pass(
        bucket=Bucket(
            requests=rounded_up(len(steps)),
            steps=rounded_up(max(int(steps.max()), 1)),
            candidates=rounded_up(max(int(candidates.max()), 1)),
        ),
        requests=np.arange(len(steps)),
    )
