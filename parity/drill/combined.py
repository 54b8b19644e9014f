"""Mistakes two and three at a time: which ones can stand together, drawn by a seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from parity.drill.cases import Case
from parity.drill.score import Outcome

# Draws that fail because two of them do not fit together, before it is given up.
_TRIES = 200


def draw_combinations(
    outcomes: Sequence[Outcome], *, size: int, count: int, seed: int
) -> Iterator[tuple[Case, ...]]:
    """So many combinations of so many mistakes that were above the floor one by one.

    Two of them stand at different checkpoints, and change different features: two changes of
    one feature's code are no longer two mistakes.
    """
    usable = [one for one in outcomes if one.is_above and one.failed is None]
    rng = np.random.default_rng([seed, size])
    seen: set[frozenset[str]] = set()
    for _ in range(_TRIES):
        if len(seen) == count or len(usable) < size:
            return
        chosen = [usable[int(place)] for place in rng.choice(len(usable), size, replace=False)]
        texts = frozenset(str(one.cases[0].plant) for one in chosen)
        if texts in seen or not all(_apart(*two) for two in combinations(chosen, 2)):
            continue
        seen.add(texts)
        yield tuple(one.cases[0] for one in chosen)


def _apart(one: Outcome, other: Outcome) -> bool:
    """Whether what they move, and what they change, has nothing in common."""
    if set(one.expected) & set(other.expected):
        return False
    subjects = [{name.partition(".")[2] or name for name in o.expected} for o in (one, other)]
    reads = [_read_by(o) for o in (one, other)]
    return (
        not (subjects[0] & subjects[1])
        and not (reads[0] & set(other.expected))
        and not (reads[1] & set(one.expected))
    )


def _read_by(one: Outcome) -> set[str]:
    """Checkpoints whose values a value plant takes, such as an exchanged column."""
    argument = one.cases[0].plant.argument
    return set() if argument is None else {argument}
