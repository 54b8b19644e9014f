"""What a look at a planted challenger is worth: found, at the right place, for the right reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from parity.drill.bench import Bench, named
from parity.drill.cases import Case
from parity.drill.floor import Floor, above, moved
from parity.explain.diagnose import diagnose, evidence_of
from parity.explain.probe import Probe
from parity.explain.weights import Fact, facts_by_checkpoint, weight_facts
from replay.capabilities import DescribesWeights
from replay.engine.capability_calls import describing
from replay.errors import ToolkitError
from replay.stack import Stack
from replay.trace import EMPTY, Array

Reason = Literal["right", "unexplained", "wrong", "no class"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the diagnosis said of one named checkpoint."""

    checkpoint: str
    kind: str | None
    text: str | None
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one or several mistakes, planted together.

    Attributes:
        cases: What was planted.
        expected: Reference names where something has to be found: steps that moved beyond the floor.
        is_above: Whether every case moved something beyond the floor.
        found: Reference names that were named.
        missed: Expected and not named.
        wrong: Named, and nothing of what was planted stands there.
        told: The diagnoses of what was rightly named.
        failed: What the challenger said where it did not score the batch.
    """

    cases: tuple[Case, ...]
    expected: tuple[str, ...] = ()
    is_above: bool
    found: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    told: tuple[Told, ...] = ()
    failed: str | None = None

    @property
    def is_detected(self) -> bool:
        """Whether anything was named, or the challenger failed."""
        return bool(self.found) or self.failed is not None

    @property
    def is_right(self) -> bool:
        """Whether everything was named that has to be, and nothing else."""
        return self.failed is None and bool(self.expected) and not self.missed and not self.wrong


@dataclass(frozen=True, kw_only=True, eq=False)
class Judge:
    """Looks at planted challengers on one bench.

    Attributes:
        bench: What all looks share.
        floor: What nobody can tell from arithmetic.
        thresholds: Of the trees' features, where the reference shows them.
        described: The reference's weights and configuration, where it shows them: a cause that its
            values do not explain is told by those, as in a replay.
    """

    bench: Bench
    floor: Floor
    thresholds: Mapping[str, Array] = field(default_factory=lambda: EMPTY)
    described: DescribesWeights | None = None

    def look(self, cases: Sequence[Case], *, explain: bool = True) -> Outcome:
        """Plant the cases together, and see what is named."""
        try:
            challenger = self.bench.planter([case.plant for case in cases])
            local = self.bench.look(challenger)
        except ToolkitError as error:
            return Outcome(cases=tuple(cases), is_above=True, failed=str(error).splitlines()[0])
        moved_here = set(moved(self.bench, local)) - self.bench.already
        beyond = set(above(self.bench, self.floor, local)) - self.bench.already
        places = {case.expected for case in cases if case.expected is not None}
        # Every step that reads a misread field is at fault; any other case says where it stands.
        misread = any(case.expected is None for case in cases)
        right = moved_here if misread else places
        expected = beyond if misread else places & beyond
        probe = self.bench.probe(local)
        groups = {n: g for n, g in named(probe).items() if not set(g) & self.bench.already}
        reached = {one for group in groups.values() for one in group}
        order = [pair.name for pair in self.bench.alignment.pairs]
        outcome = Outcome(
            cases=tuple(cases),
            expected=_ordered(expected, order),
            is_above=bool(expected) and places <= beyond,
            found=_ordered(groups, order),
            missed=_ordered(expected - reached, order),
            wrong=_ordered((n for n, group in groups.items() if not right & set(group)), order),
        )
        if not explain:
            return outcome
        told = {case.expected: case.told for case in cases}
        seen = [
            self._told(name, told.get(name, ()), probe) for name in outcome.found if name in right
        ]
        if any(one.reason == "unexplained" for one in seen) and {c.means for c in cases} == {
            "real"
        }:
            facts = self._facts(challenger)
            seen = [_by_facts(one, facts.get(one.checkpoint, ()), told) for one in seen]
        return replace(outcome, told=tuple(seen))

    def _facts(self, challenger: Stack) -> Mapping[str, Sequence[Fact]]:
        """What both sides' weights and configuration say, by checkpoint."""
        theirs = describing(challenger)
        if self.described is None or theirs is None:
            return {}
        names = [pair.name for pair in self.bench.alignment.pairs]
        return facts_by_checkpoint(weight_facts(self.described, theirs), names)

    def _told(self, name: str, right: tuple[str, ...], probe: Probe) -> Told:
        found = diagnose(evidence_of(name, probe, thresholds=self.thresholds))
        kind = None if found is None else found.kind
        reason = _reason(kind, right)
        return Told(
            checkpoint=name, kind=kind, text=None if found is None else found.text, reason=reason
        )


def _reason(kind: str | None, right: tuple[str, ...]) -> Reason:
    if not right:
        return "no class"
    if kind is None:
        return "unexplained"
    return "right" if kind in right else "wrong"


def _by_facts(
    one: Told, facts: Sequence[Fact], right: Mapping[str | None, tuple[str, ...]]
) -> Told:
    """What no value explains is told by the facts of its own modules, the first of them first."""
    if one.reason != "unexplained" or not facts:
        return one
    first = facts[0]
    return replace(
        one,
        kind=first.kind,
        text=f"{first.module}: {first.says}",
        reason=_reason(first.kind, right[one.checkpoint]),
    )


def _ordered(names: Iterable[str], order: Sequence[str]) -> tuple[str, ...]:
    wanted = set(names)
    return tuple(name for name in order if name in wanted)
