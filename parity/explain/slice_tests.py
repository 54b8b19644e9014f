"""Is a difference more frequent where a condition holds? Exact tests, with the request as unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parity.tolerance import Floats, Mask

Ints = NDArray[np.int64]


def p_value(condition: Mask, differs: Mask, request_of: Ints) -> float:
    """One-sided: how often chance alone would make the rows of a condition differ this much.

    Rows of one request are no independent witnesses, so each request speaks once, in two ways:
    *between* requests, whether those with much of the condition differ more than the others
    (Fisher's exact test); and *within* a request, whether more of its differing rows meet the
    condition than its own counts lead one to expect (the number of such requests, each with its
    hypergeometric chance). Where both can speak the smaller counts, doubled.

    Args:
        condition: [row].
        differs: [row].
        request_of: [row] to its request; rows of a request need not stand together.
    """
    requests, place = np.unique(request_of, return_inverse=True)
    size = np.bincount(place, minlength=len(requests))
    meets = np.bincount(place[condition], minlength=len(requests))
    apart = np.bincount(place[differs], minlength=len(requests))
    both = np.bincount(place[condition & differs], minlength=len(requests))
    found = [
        p
        for p in (_between(size, meets, apart), _within(size, meets, apart, both))
        if p is not None
    ]
    return min(1.0, len(found) * min(found)) if found else 1.0


def _between(size: Ints, meets: Ints, apart: Ints) -> float | None:
    """Fisher's exact test over requests, each side cut at its own pooled rate.

    The cuts depend on one margin each and never on how the two go together, so the test keeps
    its level.
    """
    much = meets * size.sum() > meets.sum() * size
    differs = apart * size.sum() > apart.sum() * size
    if not (0 < much.sum() < len(size)) or not (0 < differs.sum() < len(size)):
        return None
    hits = int((much & differs).sum())
    return more_hits(hits - 1, len(size), int(differs.sum()), int(much.sum()))


def _within(size: Ints, meets: Ints, apart: Ints, both: Ints) -> float | None:
    """The number of requests with more differing rows inside than expected of their own counts."""
    speaks = (meets > 0) & (meets < size) & (apart > 0) & (apart < size)
    if not speaks.any():
        return None
    size, meets, apart, both = size[speaks], meets[speaks], apart[speaks], both[speaks]
    above = both * size > meets * apart
    # More than m * k / n of a whole number is at least its floor, and one more.
    chances = [
        more_hits(expected, *counts)
        for expected, *counts in zip(meets * apart // size, size, apart, meets, strict=True)
    ]
    return _at_least(int(above.sum()), np.sort(chances))


def more_hits(hits: int, size: int, good: int, drawn: int) -> float:
    """The chance of more than `hits` good ones in `drawn` of `size`, of which `good` are good.

    The hypergeometric distribution's upper tail. scipy.stats has it, and takes as long to import
    as a small replay.
    """
    counts = np.arange(max(hits + 1, drawn - (size - good)), min(good, drawn) + 1)
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, size + 1)))])

    def ways(of: int, taken: Ints | int) -> Floats:
        logarithm: Floats = factorial[of] - factorial[taken] - factorial[of - taken]
        return logarithm

    chances = ways(good, counts) + ways(size - good, drawn - counts) - ways(size, drawn)
    return min(1.0, float(np.exp(chances).sum()))


def _at_least(count: int, chances: Floats) -> float:
    """The chance that at least `count` of independent events happen (Poisson binomial)."""
    number = np.array([1.0])  # [events that happened]
    for chance in chances:
        number = np.convolve(number, [1.0 - chance, chance])
    return float(min(1.0, number[count:].sum()))
