"""Trying a pair: the reference's values are put in the challenger's place, and what follows tells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from parity.compare.alignment import mismatch
from parity.compare.match_forms import NAMES, STRUCTURE, VALUES
from parity.compare.match_names import name_likeness
from parity.compare.match_structure import Place, Skeleton, places_of, skeleton_of
from parity.compare.match_values import values_of
from parity.compare.match_words import name_words, structure_words
from parity.compare.matching import Match, Proposal
from replay.checkpoint import CheckpointGraph
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Trace

# Runs of the challenger in one round of trials, and places that one checkpoint is tried at.
RUNS = 64
CHOICES = 8
SHOWN = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """The challenger, run on the reference's values.

    Attributes:
        graphs: Both sides'.
        challenger: The stack.
        batch: The requests.
        ours: What the reference recorded for them.
        untried: Places of the challenger that pass on values, or have them passed on.
    """

    graphs: tuple[CheckpointGraph, CheckpointGraph]
    challenger: Stack
    batch: RequestBatch
    ours: Trace
    untried: Collection[str]

    def run(self, partners: Mapping[str, str]) -> Trace:
        """What the challenger records when these pairs are given from the reference."""
        given = {
            theirs: self.ours[name]
            for name, theirs in partners.items()
            if self.can_give(name, theirs)
        }
        return self.challenger.score(self.batch, capture=tuple(self.graphs[1]), given=given)

    def can_give(self, name: str, theirs: str) -> bool:
        """Whether the challenger takes the reference's values there as they are."""
        ours, other = self.graphs[0][name], self.graphs[1][theirs]
        return other.settable and (ours.dtype, ours.rows) == (other.dtype, other.rows)

    def agree(self, theirs: Trace, name: str, other: str) -> bool:
        """Whether two checkpoints recorded equal values."""
        found = values_of(self.graphs, (self.ours, theirs), ([name], [other]))
        return bool(found.equal[0, 0])


def settled(bench: Bench, proposal: Proposal) -> tuple[Match, ...]:
    """A match that values alone left open, decided by what follows it; at most one a call.

    The reference's values are given at each place where the checkpoint could be. It is the place
    where something downstream then agrees with the reference that did not before, if there is
    exactly one.
    """
    state = _State(bench=bench, proposal=proposal)
    runs = 0
    for name in state.open_ours:
        gains: dict[str, list[str]] = {}
        for theirs in state.choices(name):
            runs += 1
            gains[theirs] = state.gains(name, theirs)
        places = [theirs for theirs, mended in gains.items() if mended]
        if len(places) == 1:
            return (state.match(name, places[0], gains[places[0]]),)
        if runs >= RUNS:
            break
    return ()


@dataclass(frozen=True, kw_only=True, eq=False)
class _State:
    bench: Bench
    proposal: Proposal

    @cached_property
    def partners(self) -> dict[str, str]:
        sure = {m.reference: m.challenger for m in self.proposal.matches if m.sure}
        return dict(self.proposal.fixed) | sure

    @cached_property
    def open_ours(self) -> list[str]:
        unsure = [m.reference for m in self.proposal.matches if not m.sure]
        rest = [
            u.name for u in self.proposal.unmatched if u.side == "reference" and not u.explained
        ]
        return self.bench.graphs[0].sorted([*unsure, *rest])

    @cached_property
    def open_theirs(self) -> list[str]:
        unsure = [m.challenger for m in self.proposal.matches if not m.sure]
        rest = [u.name for u in self.proposal.unmatched if u.side == "challenger"]
        return [
            name
            for name in self.bench.graphs[1].sorted([*unsure, *rest])
            if name not in self.bench.untried
        ]

    @cached_property
    def sides(self) -> tuple[Skeleton, Skeleton]:
        return skeleton_of(self.bench.graphs[0], ()), skeleton_of(self.bench.graphs[1], ())

    @cached_property
    def places(self) -> tuple[dict[str, Place], dict[str, Place]]:
        partners = self.partners
        return places_of(self.sides[0], partners), places_of(self.sides[1], set(partners.values()))

    @cached_property
    def before(self) -> Trace:
        return self.bench.run(self.partners)

    @cached_property
    def agreed(self) -> frozenset[str]:
        return frozenset(self._agreeing(self.before, None, None))

    def choices(self, name: str) -> list[str]:
        """Open places of its form, those among the same matched ones first."""
        graphs = self.bench.graphs
        found = [
            theirs
            for theirs in self.open_theirs
            if mismatch(graphs[0][name], graphs[1][theirs]) is None
            and self.bench.can_give(name, theirs)
            and not self._crosses(name, theirs)
        ]
        return sorted(found, key=lambda theirs: -self._nearness(name, theirs))[:CHOICES]

    def gains(self, name: str, theirs: str) -> list[str]:
        """The reference's names of what agrees once the values are given here."""
        after = self.bench.run(self.partners | {name: theirs})
        return [
            mended for mended in self._agreeing(after, name, theirs) if mended not in self.agreed
        ]

    def match(self, name: str, theirs: str, mended: list[str]) -> Match:
        names = name_likeness(name, theirs)
        score = STRUCTURE * self._nearness(name, theirs) + VALUES + NAMES * names
        listed = ", ".join(mended[:SHOWN]) + (" and others" if len(mended) > SHOWN else "")
        return Match(
            reference=name,
            challenger=theirs,
            score=round(score, 4),
            sure=True,
            structure=structure_words(self.places[0][name], self.places[1][theirs], self.partners),
            name=name_words(names),
            values=f"values differ; with the reference's values given here, and at no other place, "
            f"{listed} agrees",
        )

    def _agreeing(self, trace: Trace, name: str | None, theirs: str | None) -> Iterator[str]:
        """Checkpoints of the reference that agree with their partner, or with some open place."""
        ours, other = self.bench.graphs
        below = set(ours) if name is None else ours.descendants(name)
        below_theirs = set(other) if theirs is None else other.descendants(theirs)
        for mine in ours.sorted(below):
            if mine in self.partners:
                candidates = [self.partners[mine]]
            elif mine in self.open_ours:
                candidates = self.open_theirs
            else:
                continue
            if any(
                place in below_theirs
                and mismatch(ours[mine], other[place]) is None
                and self.bench.agree(trace, mine, place)
                for place in candidates
            ):
                yield mine

    def _crosses(self, name: str, theirs: str) -> bool:
        above, below = self.sides[0].ancestors, self.sides[1].ancestors
        return any(
            (mine in above[name] and theirs in below[partner])
            or (name in above[mine] and partner in below[theirs])
            for mine, partner in self.partners.items()
        )

    def _nearness(self, name: str, theirs: str) -> float:
        """Share of the nearest matched ones, above and below, that both places have in common."""
        ours, other = self.places[0][name], self.places[1][theirs]
        shares = []
        for first, second in ((ours.above, other.above), (ours.below, other.below)):
            mapped = {self.partners[mine] for mine in first}
            either = len(mapped | second)
            shares.append(len(mapped & second) / either if either else 1.0)
        return sum(shares) / 2
