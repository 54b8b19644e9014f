"""The search for matches: what is certain first, then, seen from that, the best of the rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from parity.compare.match_assign import Choices, assign, crosses
from parity.compare.match_forms import Form, forms_of, labels_of
from parity.compare.match_names import name_likeness
from parity.compare.match_structure import (
    Seen,
    Skeleton,
    feasible,
    likeness,
    places_of,
    refined,
    seen_from,
    skeleton_of,
)
from parity.compare.match_words import ONLY, name_words, structure_words, value_words
from parity.tolerance import Floats
from replay.checkpoint import CheckpointGraph
from replay.trace import Trace

# Rounds in which the best of the rest is chosen anew, seen from the last choice (a decision:
# nothing changes after two or three).
ROUNDS = 4
_NO_OP = "passes on the values of {ours!r}, as its partner does those of {theirs!r}"
_RUN = "one side has no-ops with the same values after it, and any of them could be meant"


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """What is searched.

    Attributes:
        graphs: Reference and challenger.
        anchors: Reference name to challenger name of what is matched.
        excused: Of each side, what needs no partner.
        no_ops: Of each side, what seems to pass on its only input.
        proven: Of each side, what is known to do so.
        witness: Both sides' values.
    """

    graphs: tuple[CheckpointGraph, CheckpointGraph]
    anchors: Mapping[str, str]
    excused: tuple[frozenset[str], frozenset[str]]
    no_ops: tuple[frozenset[str], frozenset[str]]
    proven: tuple[frozenset[str], frozenset[str]]
    witness: tuple[Trace, Trace] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """A proposed pair with its evidence in words."""

    ours: str
    theirs: str
    score: float
    sure: bool
    structure: str
    name: str
    values: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a search gives.

    Attributes:
        pairs: In the order of finding.
        partners: Every matched pair, anchors included, reference name to challenger name.
        sides: Both graphs without no-ops.
    """

    pairs: tuple[Pairing, ...]
    partners: Mapping[str, str]
    sides: tuple[Skeleton, Skeleton]


@dataclass(frozen=True, kw_only=True, eq=False)
class _View:
    """The open pairs of a form, seen from what is matched."""

    form: Form
    open_pairs: NDArray[np.bool_]
    structure: Floats
    scores: Floats


def searched(search: Search) -> Found:
    """Match what can be matched."""
    sides = (
        skeleton_of(search.graphs[0], search.no_ops[0]),
        skeleton_of(search.graphs[1], search.no_ops[1]),
    )
    known = set(search.anchors), set(search.anchors.values())
    open_names = tuple(
        [name for name in side.parents if name not in known[k] and name not in search.excused[k]]
        for k, side in enumerate(sides)
    )
    forms = forms_of(search.graphs, (open_names[0], open_names[1]), search.witness)
    matched = dict(search.anchors)
    found: dict[str, Pairing] = {}
    while new := _certain(search, sides, forms, matched):
        matched |= {one.ours: one.theirs for one in new}
        found |= {one.ours: one for one in new}
    for one in _likely(search, sides, forms, matched):
        matched[one.ours] = one.theirs
        found[one.ours] = one
    found = _told(sides, matched, found)
    for one in _passing_on(sides, dict(matched), found):
        matched[one.ours] = one.theirs
        found[one.ours] = one
    return Found(pairs=tuple(found.values()), partners=matched, sides=sides)


def _told(
    sides: tuple[Skeleton, Skeleton], matched: Mapping[str, str], found: Mapping[str, Pairing]
) -> dict[str, Pairing]:
    """The pairs with what stands around them, now that all that could be is matched."""
    places = places_of(sides[0], matched), places_of(sides[1], set(matched.values()))
    return {
        name: replace(
            one,
            structure="; ".join(
                part
                for part in (
                    structure_words(places[0][name], places[1][one.theirs], matched),
                    one.structure,
                )
                if part
            ),
        )
        for name, one in found.items()
    }


def _certain(
    search: Search,
    sides: tuple[Skeleton, Skeleton],
    forms: tuple[Form, ...],
    matched: Mapping[str, str],
) -> list[Pairing]:
    """Pairs that values alone or structure alone decide, none crossing another."""
    accepted = dict(matched)
    found: list[Pairing] = []
    seen = _seen(sides, matched)
    only = _only_ones(search, sides, forms, matched, seen)
    for view in _views(search, sides, forms, matched):
        form, values = view.form, view.form.values
        witnessed = np.zeros_like(view.open_pairs)
        if values is not None:
            witnessed = values.equal & view.open_pairs & ~values.is_outdone(view.open_pairs)
        for i, j in zip(*np.nonzero(view.open_pairs), strict=True):
            ours, theirs = form.rows[i], form.columns[j]
            by_structure = (ours, theirs) in only and _may_stand(view, i, j)
            if not (witnessed[i, j] or by_structure) or crosses(sides, ours, theirs, accepted):
                continue
            accepted[ours] = theirs
            found.append(
                _pairing(search, sides, view, (i, j), by_structure=by_structure, sure=True)
            )
    return found


def _may_stand(view: _View, i: int, j: int) -> bool:
    """Whether values leave a pair standing that the structure singles out.

    A mistake of unit or scale does; values of no likeness do not, since both sides may lack the
    other's checkpoint at this place; nor do values that fit another open place.
    """
    values = view.form.values
    if values is None or not values.known[i, j] or values.equal[i, j]:
        return True
    others = values.equal & view.open_pairs
    return bool(values.supports[i, j] and not others[i].any() and not others[:, j].any())


def _only_ones(
    search: Search,
    sides: tuple[Skeleton, Skeleton],
    forms: tuple[Form, ...],
    matched: Mapping[str, str],
    seen: tuple[Seen, Seen],
) -> set[tuple[str, str]]:
    """Pairs that are each other's only choice, by form and by what is matched above and below."""
    colours = refined(sides, _labels(search, sides, matched))
    taken = set(matched), set(matched.values())
    found: set[tuple[str, str]] = set()
    for form in forms:
        classes: dict[tuple[int, int], tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for k, names in enumerate((form.rows, form.columns)):
            for name in names:
                if name not in taken[k]:
                    classes[seen[k].above[name], seen[k].below[name]][k].append(name)
        for ours, theirs in classes.values():
            if len(ours) != len(theirs):
                continue  # one side lacks one: which, the structure can not say
            if len(ours) == 1:
                found.add((ours[0], theirs[0]))
                continue
            counts = [
                Counter(side[name] for name in names)
                for side, names in zip(colours, (ours, theirs), strict=True)
            ]
            if counts[0] != counts[1]:
                continue  # something near is missing or inserted
            others = {colours[1][name]: name for name in theirs}
            found |= {
                (name, others[colours[0][name]])
                for name in ours
                if counts[0][colours[0][name]] == 1
            }
    return found


def _likely(
    search: Search,
    sides: tuple[Skeleton, Skeleton],
    forms: tuple[Form, ...],
    matched: Mapping[str, str],
) -> list[Pairing]:
    """The best assignment of the rest, seen from the last one until it stays."""
    fixed_views = list(_views(search, sides, forms, matched))
    tentative: dict[str, str] = {}
    for _ in range(ROUNDS):
        views = list(_views(search, sides, forms, dict(matched) | tentative, open_from=matched))
        choices = [
            Choices(
                rows=view.form.rows,
                columns=view.form.columns,
                scores=view.scores,
                allowed=fixed.open_pairs,
            )
            for view, fixed in zip(views, fixed_views, strict=True)
        ]
        pairs = {one.ours: one.theirs for one in assign(sides, choices)}
        if pairs == tentative:
            break
        tentative = pairs
    return [
        _pairing(search, sides, view, (i, j), by_structure=False, sure=False)
        for view in views
        for i, ours in enumerate(view.form.rows)
        for j, theirs in enumerate(view.form.columns)
        if tentative.get(ours) == theirs
    ]


def _passing_on(
    sides: tuple[Skeleton, Skeleton],
    matched: Mapping[str, str],
    found: Mapping[str, Pairing],
) -> Iterator[Pairing]:
    """No-ops after a matched pair, in their order, where both sides have as many."""
    for ours, theirs in matched.items():
        runs = sides[0].run_of(ours), sides[1].run_of(theirs)
        if len(runs[0]) != len(runs[1]):
            continue
        sure = ours not in found or found[ours].sure
        for mine, other in zip(*runs, strict=True):
            yield Pairing(
                ours=mine,
                theirs=other,
                score=1.0 if sure else 0.5,
                sure=sure and len(runs[0]) == 1,
                structure=_NO_OP.format(ours=ours, theirs=theirs),
                name=name_words(name_likeness(mine, other)),
                values="both equal their input on every row",
            )


def _views(
    search: Search,
    sides: tuple[Skeleton, Skeleton],
    forms: tuple[Form, ...],
    matched: Mapping[str, str],
    *,
    open_from: Mapping[str, str] | None = None,
) -> Iterator[_View]:
    seen, labels = _seen(sides, matched), _labels(search, sides, matched)
    taken = matched if open_from is None else open_from
    columns_taken = set(taken.values())
    for form in forms:
        structure = likeness(sides, seen, labels, (form.rows, form.columns))
        is_open = feasible(*seen, form.rows, form.columns)
        is_open &= np.array([name not in taken for name in form.rows])[:, np.newaxis]
        is_open &= np.array([name not in columns_taken for name in form.columns])
        yield _View(
            form=form, open_pairs=is_open, structure=structure, scores=form.scores(structure)
        )


def _pairing(
    search: Search,
    sides: tuple[Skeleton, Skeleton],
    view: _View,
    place: tuple[int, int],
    *,
    by_structure: bool,
    sure: bool,
) -> Pairing:
    i, j = place
    ours, theirs = view.form.rows[i], view.form.columns[j]
    runs = [
        [name for name in side.run_of(name) if name not in search.proven[k]]
        for k, (side, name) in enumerate(zip(sides, (ours, theirs), strict=True))
    ]
    unclear = bool(runs[0] or runs[1]) and len(sides[0].run_of(ours)) != len(
        sides[1].run_of(theirs)
    )
    return Pairing(
        ours=ours,
        theirs=theirs,
        score=float(view.scores[i, j]),
        sure=sure and not unclear,
        structure="; ".join([ONLY] * by_structure + [_RUN] * unclear),
        name=name_words(float(view.form.names[i, j])),
        values=value_words(view.form, place, view.open_pairs),
    )


def _seen(sides: tuple[Skeleton, Skeleton], matched: Mapping[str, str]) -> tuple[Seen, Seen]:
    numbers = {name: number for number, name in enumerate(matched)}
    others = {theirs: numbers[name] for name, theirs in matched.items()}
    return seen_from(sides[0], numbers), seen_from(sides[1], others)


def _labels(
    search: Search, sides: tuple[Skeleton, Skeleton], matched: Mapping[str, str]
) -> tuple[dict[str, tuple[str, object]], dict[str, tuple[str, object]]]:
    """What a place shows of itself: whose partner it is, or its form."""
    forms = labels_of(search.graphs)
    others = {theirs: name for name, theirs in matched.items()}
    return (
        {n: ("is", n) if n in matched else ("form", forms[0][n]) for n in sides[0].parents},
        {n: ("is", others[n]) if n in others else ("form", forms[1][n]) for n in sides[1].parents},
    )
