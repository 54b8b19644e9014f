"""Forms of a request, run through both stacks many at once: which of them show the cause?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from parity.explain.causes import Fault
from parity.explain.probe import Probe, probe
from parity.explain.reproduce_values import kinds_of
from parity.explain.shrink import Variant, batch_of
from replay.engine.failures import WorkerCrashedError, WorkerHungError
from replay.engine.trace_cache import CachedStack
from replay.registry import StackSpec
from replay.request import RequestBatch
from replay.stack import Stack

# One cause's effort. Every call is three passes over small requests; 20,000 candidates are
# about what the probe itself has at 160 candidates a request.
MAX_CALLS = 60
MAX_ROWS = 20_000
MAX_SECONDS = 5.0
ROWS_PER_CALL = 4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Both stacks, open, and how they are opened again."""

    reference: Stack
    challenger: Stack
    reference_spec: StackSpec
    challenger_spec: StackSpec

    def probe(self, batch: RequestBatch, found: Probe) -> Probe:
        """Probe other requests as those of an earlier probe were.

        Raises:
            ToolkitError: A stack failed on them.
        """
        # Asked once: forms of a request would only fill the cache of the reference's traces.
        one = self.reference
        inner = one.inner if isinstance(one, CachedStack) else one
        return probe(inner, self.challenger, batch, found.alignment)


@dataclass(kw_only=True, eq=False)
class Trials:
    """Forms of one request, run through both stacks many at once, each judged once.

    A form holds when the fault's checkpoint differs in it the same way (in value, missing on one
    side, or not finite), and no checkpoint does that did not in the whole request. Its cost is
    the number of other causes it still shows.
    """

    request: RequestBatch
    fault: Fault
    kind: int
    allowed: frozenset[str]
    found: Probe
    sides: Sides
    calls: int = 0
    rows: int = 0
    ends_at: float = field(default_factory=lambda: time.monotonic() + MAX_SECONDS)
    known: dict[Variant, int | None] = field(default_factory=dict)

    def __call__(self, variants: Sequence[Variant]) -> list[int | None]:
        fresh = [one for one in dict.fromkeys(variants) if one not in self.known]
        for group in _groups(fresh):
            self._judge(group)
        return [self.known.get(one) for one in variants]

    def _judge(self, group: Sequence[Variant]) -> None:
        rows = sum(_size(one) for one in group)
        spent = self.calls >= MAX_CALLS or self.rows + rows > MAX_ROWS
        if spent or time.monotonic() > self.ends_at:
            return
        self.calls += 1
        self.rows += rows
        try:
            seen = self.sides.probe(batch_of(self.request, group), self.found)
        except Exception as error:  # noqa: BLE001  # a stack of this process raises what it likes
            _revive(error, self.sides)
            if len(group) == 1:
                self.known[group[0]] = None
                return
            middle = len(group) // 2
            self._judge(group[:middle])
            self._judge(group[middle:])
            return
        for one, others in zip(group, others_of(seen, self.fault, self.kind), strict=True):
            holds = others is not None and others <= self.allowed
            self.known[one] = len(others) if holds and others is not None else None


def group_of(fault: Fault) -> frozenset[str]:
    """The names that differ for the reason of this fault, or may."""
    return frozenset({*(pair.name for pair in fault.pairs), *fault.clouded})


def others_of(seen: Probe, fault: Fault, kind: int) -> list[frozenset[str] | None]:
    """[request]: what else differs locally; None where the fault does not, or another way."""
    pair, group = fault.pairs[0], group_of(fault)
    shows = seen.rows.requests_with(
        seen.local[pair.name].differs & (kinds_of(pair, seen) == kind), pair.rows
    )
    masks = {
        other.name: seen.requests(seen.local, other.name)
        for other in seen.alignment.pairs
        if other.name not in group and seen.local[other.name].differing
    }
    return [
        frozenset(name for name, mask in masks.items() if mask[place]) if shows[place] else None
        for place in range(seen.batch.num_requests)
    ]


def _size(one: Variant) -> int:
    return len(one.candidates) + len(one.steps)


def _groups(variants: Sequence[Variant]) -> Iterator[list[Variant]]:
    group: list[Variant] = []
    rows = 0
    for one in variants:
        if group and rows + _size(one) > ROWS_PER_CALL:
            yield group
            group, rows = [], 0
        group.append(one)
        rows += _size(one)
    if group:
        yield group


def _revive(error: Exception, sides: Sides) -> None:
    """Start again what a form of the request has ended."""
    if not isinstance(error, WorkerCrashedError | WorkerHungError):
        return
    for stack in (sides.reference, sides.challenger):
        restart = getattr(stack, "restart", None)
        if restart is not None and not getattr(stack, "is_alive", True):
            restart()
