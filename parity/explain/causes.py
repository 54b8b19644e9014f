"""Causes: every checkpoint that differs on the reference's own inputs, and what they explain."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from parity.compare.alignment import Pair
from parity.compare.difference import Difference
from parity.compare.screen import shown_values
from parity.compare.shard_rows import Shown
from parity.compare.summary import tolerance_text
from parity.explain.probe import Probe
from parity.judge.report import Cause, Example, LocalDifference
from parity.noise import Envelope
from parity.plan import EXAMPLES
from parity.shard_result import ShardResult
from parity.tolerance import Mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fault:
    """Checkpoints that differ locally, and that may have one and the same reason.

    Attributes:
        pairs: In causal order; several when they share an unaligned ancestor.
        segment: Unaligned checkpoints of the challenger between them and their nearest given
            ancestors: the fault may stand in one of these.
        clouded: Checkpoints whose local difference can not be told from this fault's, because
            a faulty checkpoint before them could not be given.
    """

    pairs: tuple[Pair, ...]
    segment: tuple[str, ...] = ()
    clouded: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> str:
        return self.pairs[0].name


def find_faults(probe: Probe) -> tuple[Fault, ...]:
    """The independent places where the challenger's own step is wrong, in causal order."""
    alignment = probe.alignment
    faulty = {pair.name: pair for pair in alignment.pairs if probe.local[pair.name].differing}
    crossed = {name: _crossed(pair, probe) for name, pair in faulty.items()}
    clouded: dict[str, list[str]] = {name: [] for name in faulty}
    for name, nodes in crossed.items():
        for node in nodes & set(alignment.by_challenger):
            before = alignment.by_challenger[node].name
            if before in faulty:
                clouded[before].append(name)
    hidden = {name for names in clouded.values() for name in names}
    groups = _joined(
        {
            name: crossed[name] - set(alignment.by_challenger)
            for name in faulty
            if name not in hidden
        }
    )
    return tuple(
        Fault(
            pairs=tuple(faulty[name] for name in names),
            segment=tuple(alignment.challenger.sorted(segment)),
            clouded=tuple(dict.fromkeys(late for name in names for late in clouded[name])),
        )
        for names, segment in groups
    )


def find_causes(probe: Probe, result: ShardResult | None = None) -> tuple[Cause, ...]:
    """The causes in causal order, with what each of them explains.

    Args:
        probe: The sample.
        result: The screen's counts, for how many rows of the whole replay each touches.
    """
    faults = find_faults(probe)
    own = {pair.name for fault in faults for pair in fault.pairs}
    return tuple(_cause(fault, probe, result, own) for fault in faults)


def amplified(probe: Probe) -> tuple[str, ...]:
    """Checkpoints that differ because an allowed difference before them was amplified.

    A feature that moved by its allowed ulp may cross a split: the leaf differs end to end, and
    not on the reference's own feature. It is a near tie with its margin, and no cause.
    """
    return tuple(
        name
        for name, requests in _without_cause(probe).items()
        if requests.allowed.any() and not isinstance(probe.alignment[name].sampled, Envelope)
    )


def unexplained(probe: Probe, result: ShardResult | None = None) -> tuple[str, ...]:
    """Checkpoints that differ although nothing before them does, and not by their own step.

    Such a stack answers otherwise when asked again: it depends on the batch, on the order, or
    on chance. One that differs in the screen, and not on the sample drawn for it, does too. An
    envelope is of what arrives: what exceeds it is more than allowed differences make together.
    """
    alignment = probe.alignment
    found = {
        name
        for name, requests in _without_cause(probe).items()
        if requests.unmoved.any()
        or (requests.allowed.any() and isinstance(alignment[name].sampled, Envelope))
    }
    faulty = {pair.name for fault in find_faults(probe) for pair in fault.pairs}
    for name, counts in ({} if result is None else result.checkpoints).items():
        seen = probe.total[name].differing or probe.local[name].differing
        if counts.differing and not seen and not alignment.ancestors[name] & faulty:
            found.add(name)
    return tuple(pair.name for pair in alignment.pairs if pair.name in found)


def _crossed(pair: Pair, probe: Probe) -> set[str]:
    """The challenger's checkpoints before a pair that were computed, not given."""
    graph, aligned = probe.alignment.challenger, probe.alignment.by_challenger
    crossed: set[str] = set()
    front = list(graph[pair.challenger.name].after)
    while front:
        node = front.pop()
        is_given = node in aligned and (
            pair.name in probe.mirrored or aligned[node].name in probe.given
        )
        if not is_given and node not in crossed:
            crossed.add(node)
            front.extend(graph[node].after)
    return crossed


def _joined(segments: Mapping[str, set[str]]) -> list[tuple[list[str], set[str]]]:
    """Names that share a node, directly or through others, together; in the order given."""
    leader = {name: name for name in segments}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    order = {name: place for place, name in enumerate(segments)}
    owners: dict[str, list[str]] = {}
    for name, nodes in segments.items():
        for node in nodes:
            owners.setdefault(node, []).append(name)
    for sharing in owners.values():
        for one, other in pairwise(sharing):
            first, second = sorted((find(one), find(other)), key=order.__getitem__)
            leader[second] = first
    groups: dict[str, tuple[list[str], set[str]]] = {}
    for name, nodes in segments.items():
        names, segment = groups.setdefault(find(name), ([], set()))
        names.append(name)
        segment |= nodes
    return [groups[name] for name in sorted(groups, key=order.__getitem__)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Causeless:
    """[request] masks: total differences with no cause before them in that request.

    Attributes:
        allowed: Something before them moved there, within its tolerance or by inheritance.
        unmoved: Nothing before them moved there at all.
    """

    allowed: Mask
    unmoved: Mask


def _without_cause(probe: Probe) -> dict[str, _Causeless]:
    alignment = probe.alignment
    at_fault = {
        pair.name: probe.requests(probe.local, pair.name)
        for pair in alignment.pairs
        if probe.local[pair.name].differing
    }
    moved = {
        pair.name: probe.rows.requests_with(_moved_at_all(probe.total[pair.name]), pair.rows)
        for pair in alignment.pairs
    }
    found = {}
    for pair in alignment.pairs:
        left = probe.requests(probe.total, pair.name)
        before = alignment.ancestors[pair.name]
        for name in {pair.name, *before} & set(at_fault):
            left &= ~at_fault[name]
        allowed = np.zeros_like(left)
        for name in before:
            allowed |= moved[name]
        found[pair.name] = _Causeless(allowed=left & allowed, unmoved=left & ~allowed)
    return found


def _moved_at_all(difference: Difference) -> Mask:
    moved: Mask = difference.differs | (difference.distance > 0.0)
    return moved


def _inherited(fault: Fault, probe: Probe, own: Collection[str]) -> tuple[str, ...]:
    """What differs after a fault, in a request where the fault does, and not by itself.

    Of checkpoints that share one unaligned ancestor the later ones stand here too.
    """
    alignment = probe.alignment
    found = set(fault.clouded) | {pair.name for pair in fault.pairs[1:]}
    for pair in fault.pairs:
        at_fault = probe.requests(probe.local, pair.name)
        found |= {
            other.name
            for other in alignment.pairs
            if pair.name in alignment.ancestors[other.name]
            and other.name not in own
            and (probe.requests(probe.total, other.name) & at_fault).any()
        }
    return tuple(pair.name for pair in alignment.pairs if pair.name in found)


def _cause(fault: Fault, probe: Probe, result: ShardResult | None, own: Collection[str]) -> Cause:
    pair = fault.pairs[0]
    local = probe.local[pair.name]
    screened = None if result is None else result.checkpoints.get(pair.name)
    return Cause(
        checkpoint=pair.name,
        stage=pair.stage,
        local=LocalDifference(
            rows=local.rows,
            differing=local.differing,
            max_difference=local.max_distance,
            rms_difference=float(np.sqrt(np.mean(local.distance**2))),
        ),
        tolerance=tolerance_text(pair, local=True),
        rows_affected=None if screened is None else screened.differing,
        requests_affected=None if screened is None else screened.requests_differing,
        inherited=_inherited(fault, probe, own),
        segment=fault.segment,
        examples=_examples(pair, probe),
    )


def _examples(pair: Pair, probe: Probe) -> tuple[Example, ...]:
    ours, theirs = probe.local_values(pair)

    def values(row: int) -> tuple[Shown, Shown]:
        return shown_values(ours[row], theirs[row], pair)

    differs = probe.local[pair.name].differs
    kept = probe.rows.examples(differs, pair.rows, EXAMPLES, values)
    return tuple(one.example for one in kept)
