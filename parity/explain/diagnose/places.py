"""The right values in the wrong rows: moved, reversed, sorted, repeated, or of another request."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Places, Sample
from parity.tolerance import Floats

# Rows of one request are alike: by chance a part of them holds what its neighbours hold.
_MOST = 0.6


def place_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """Rows that take the values of other rows, within their request and across requests."""
    rows = np.arange(len(sample.rows), dtype=np.int64)
    starts, sizes = sample.starts[:-1], np.diff(sample.starts)
    first = starts[sample.request_of_row]
    size = sizes[sample.request_of_row]
    at = rows - first
    if (sizes > 1).any():
        for step, says in (
            (1, "each row takes the value of the next one in its request"),
            (-1, "each row takes the value of the one before it in its request"),
            (2, "each row takes the value of the second one after it in its request"),
            (-2, "each row takes the value of the second one before it in its request"),
        ):
            meaning = "rows moved by one place" if abs(step) == 1 else "rows moved by two places"
            source = first + np.mod(at + step, size)
            yield _moved(sample, "lag", says, meaning, source)
        yield _moved(sample, "reversed", "the order within each request is reversed",
                     "read from the other end", first + size - 1 - at)  # fmt: skip
        yield _moved(sample, "repeated", "every row takes the value of the first in its request",
                     "one value stands for the whole request", first)  # fmt: skip
        yield _moved(sample, "repeated", "every row takes the value of the last in its request",
                     "one value stands for the whole request", first + size - 1)  # fmt: skip
        if sample.num_channels == 1:
            yield from _sorted(sample)
            yield from _averaged(sample, sizes)
        yield from _permuted(sample)
    yield from _other_requests(sample, rows, at, size)


def _moved(sample: Sample, kind: str, says: str, meaning: str, source: Places) -> Hypothesis:
    return Hypothesis(kind=kind, says=says, meaning=meaning, bits=1.0, values=sample.moved(source))


def _other_requests(sample: Sample, rows: Places, at: Places, size: Places) -> Iterator[Hypothesis]:
    """Values of the request before, and of the row before wherever requests end."""
    if len(sample.starts) <= 2:
        return
    before = np.maximum(sample.request_of_row - 1, 0)
    room = np.diff(sample.starts)[before]
    source = np.where(at < room, sample.starts[:-1][before] + at, rows)
    yield Hypothesis(
        kind="stale",
        says="each request takes the values of the request before it",
        meaning="a stale value: a buffer or cache that is one request behind",
        bits=1.0,
        values=sample.moved(source),
    )
    if (size > 1).any():
        for step, words in ((-1, "before"), (1, "after")):
            source = np.clip(rows + step, 0, len(rows) - 1)
            yield Hypothesis(
                kind="lag",
                says=f"each row takes the value of the row {words} it, across requests",
                meaning="rows moved by one place in the whole batch",
                bits=1.0,
                values=sample.moved(source),
            )


def _sorted(sample: Sample) -> Iterator[Hypothesis]:
    owner = sample.request_of_row
    for name, values in (("ascending", sample.r), ("descending", -sample.r)):
        order = np.lexsort((values, owner))
        yield Hypothesis(
            kind="sorted",
            says=f"the values of each request stand in {name} order",
            meaning="sorted, while the other columns are not",
            bits=1.0,
            values=sample.reference[order],
        )


def _averaged(sample: Sample, sizes: Places) -> Iterator[Hypothesis]:
    if sample.is_integer:
        return
    known = np.isfinite(sample.r)
    sums = np.add.reduceat(np.where(known, sample.r, 0.0), sample.starts[:-1])
    counts = np.add.reduceat(known.astype(np.float64), sample.starts[:-1])
    with np.errstate(invalid="ignore"):
        means = sums / np.where(counts > 0, counts, np.nan)
    yield Hypothesis(
        kind="averaged",
        says="every row takes the mean of its request",
        meaning="averaged over the candidates",
        bits=1.0,
        values=np.repeat(means, sizes),
        slack=np.abs(np.repeat(means, sizes)) * 1e-6,
    )


def _permuted(sample: Sample) -> Iterator[Hypothesis]:
    """Each row holds the values of some row of its request.

    A row then costs what it has among its own request's rows.
    """
    owner = sample.request_of_row
    ours, theirs = _one_number(sample, sample.r), _one_number(sample, sample.c)
    # Complex numbers are ordered by their real part, then by their imaginary one.
    table = np.sort(owner + 1j * ours)
    reach = np.zeros(len(theirs)) if sample.is_integer else 1e-6 * np.abs(theirs)
    low = np.searchsorted(table, owner + 1j * (theirs - reach), side="left")
    high = np.searchsorted(table, owner + 1j * (theirs + reach), side="right")
    counts = high - low
    if not counts.any():
        return
    sizes = np.diff(sample.starts)[owner]
    price = np.log2(sizes / np.maximum(counts, 1)) / sample.num_channels
    inside = sample.from_rows(counts > 0)
    yield Hypothesis(
        kind="permuted_rows",
        says="the values stand in another order within each request",
        meaning="rows are permuted",
        values=np.where(inside, sample.challenger, sample.reference),
        cost=np.where(inside, sample.from_rows(price), 0.0),
        reach="all",
    )


def _one_number(sample: Sample, values: Floats) -> Floats:
    """[row]: equal for equal rows; unequal ones almost never agree."""
    if sample.num_channels == 1:
        return np.nan_to_num(values, nan=-1e300, posinf=1e301, neginf=-1e301)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, sample.num_channels)
    mixed: Floats = np.nan_to_num(sample.grid(values), nan=-1e9) @ weights
    return mixed
