"""The best assignment within each form, such that no two pairs contradict the graphs' order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from parity.compare.match_structure import Skeleton
from parity.tolerance import Floats

# Below it two places have about as little in common as any two (a decision): a place of equal
# surroundings scores 0.45 by them alone, one that only shares its form about 0.2.
LEAST = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A pair and what speaks for it."""

    ours: str
    theirs: str
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Choices:
    """Who may be paired with whom within one form, and how good that is."""

    rows: Sequence[str]
    columns: Sequence[str]
    scores: Floats
    allowed: NDArray[np.bool_]


def crosses(
    sides: tuple[Skeleton, Skeleton], ours: str, theirs: str, matched: Mapping[str, str]
) -> bool:
    """Whether a pair would stand above a matched one on one side and below it on the other."""
    above, other_above = sides[0].ancestors, sides[1].ancestors
    for name, partner in matched.items():
        up = name in above.get(ours, ())
        down = ours in above.get(name, ())
        other_up = partner in other_above.get(theirs, ())
        other_down = theirs in other_above.get(partner, ())
        if (up and other_down) or (down and other_up):
            return True
    return False


def assign(sides: tuple[Skeleton, Skeleton], forms: Iterable[Choices]) -> tuple[Scored, ...]:
    """The pairs of the largest total score, best first, none of which crosses a better one.

    A pair that crosses is refused and its form is solved again without it.
    """
    forms = list(forms)
    refused = [np.zeros_like(form.allowed) for form in forms]
    while True:
        pairs = sorted(
            (pair for form, no in zip(forms, refused, strict=True) for pair in _solved(form, no)),
            key=lambda pair: (-pair[0].score, pair[0].ours),
        )
        taken: dict[str, str] = {}
        crossing = 0
        for pair, (form, no) in _with_forms(pairs, forms, refused):
            if crosses(sides, pair.ours, pair.theirs, taken):
                no[form.rows.index(pair.ours), form.columns.index(pair.theirs)] = True
                crossing += 1
            else:
                taken[pair.ours] = pair.theirs
        if not crossing:
            return tuple(pair for pair, _ in pairs)


def _solved(form: Choices, refused: NDArray[np.bool_]) -> list[tuple[Scored, Choices]]:
    open_pairs = form.allowed & ~refused & (form.scores >= LEAST)
    gains = np.where(open_pairs, form.scores, 0.0)
    rows, columns = linear_sum_assignment(gains, maximize=True)
    return [
        (Scored(ours=form.rows[i], theirs=form.columns[j], score=float(form.scores[i, j])), form)
        for i, j in zip(rows, columns, strict=True)
        if open_pairs[i, j]
    ]


def _with_forms(
    pairs: Sequence[tuple[Scored, Choices]],
    forms: Sequence[Choices],
    refused: Sequence[NDArray[np.bool_]],
) -> Iterable[tuple[Scored, tuple[Choices, NDArray[np.bool_]]]]:
    places = {id(form): no for form, no in zip(forms, refused, strict=True)}
    return [(pair, (form, places[id(form)])) for pair, form in pairs]
