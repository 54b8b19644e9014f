"""Which checkpoints of two graphs that share no names are probably the same: proposals, with reasons."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from parity.compare.alignment import mismatch, set_aside
from parity.compare.match_search import Search, searched
from parity.compare.match_unmatched import Unmatched, reasons
from parity.compare.match_values import is_telling, same_bits
from parity.plan import Plan
from parity.tolerance import best_match
from replay.checkpoint import CheckpointGraph
from replay.errors import ConfigError
from replay.trace import Trace

Side = Literal["reference", "challenger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A proposed pair.

    Attributes:
        reference: The reference's checkpoint.
        challenger: The challenger's.
        score: In [0, 1].
        sure: Values witness it and nothing else is near, or the structure admits only this one.
        structure: What the graphs say, in words.
        name: What the names say.
        values: What the recorded values say.
    """

    reference: str
    challenger: str
    score: float
    sure: bool
    structure: str
    name: str
    values: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """Every checkpoint of two graphs: matched already, proposed, or without a partner and why.

    Attributes:
        fixed: Reference name to challenger name of what counts already: equal names, renames.
        matches: Proposed pairs, in the reference's execution order.
        unmatched: What is left on either side, the reference's first.
    """

    fixed: Mapping[str, str]
    matches: tuple[Match, ...]
    unmatched: tuple[Unmatched, ...]

    def renames(self, *, include_unsure: bool = False) -> dict[str, str]:
        """What a plan's `renames` would gain: challenger name to reference name."""
        return {m.challenger: m.reference for m in self.matches if m.sure or include_unsure}

    def is_complete(self, *, include_unsure: bool = False) -> bool:
        """Whether everything would be matched, or is explained."""
        decided = include_unsure or all(match.sure for match in self.matches)
        return decided and all(one.explained for one in self.unmatched)


def propose(
    reference: CheckpointGraph,
    challenger: CheckpointGraph,
    *,
    witness: tuple[Trace, Trace] | None,
    plan: Plan,
    known: Collection[Match] = (),
    no_ops: tuple[Collection[str], Collection[str]] = ((), ()),
) -> Proposal:
    """Match by structure, names and values what equal names and the plan's renames leave open.

    Args:
        reference: The graph whose names the plan speaks.
        challenger: The other one.
        witness: Both sides' values at every checkpoint, for the same requests in one order.
        plan: Its renames are fixed; what it leaves out needs no partner.
        known: Sure matches found before, such as with another witness; they stay.
        no_ops: Checkpoints of either side that are known to pass on what they are given.

    Raises:
        ConfigError: A rename names no checkpoint, or the traces are of different requests.
    """
    if witness is not None and not witness[0].keys.same_rows(witness[1].keys):
        raise ConfigError(
            "the two traces were recorded for different requests.",
            where="the witness of a proposal",
            fix="score one batch with both stacks",
        )
    graphs = reference, challenger
    fixed = fixed_pairs(reference, challenger, plan)
    excused = excuses(graphs, fixed, plan)
    partners = fixed | {match.reference: match.challenger for match in known}
    matched = frozenset(partners), frozenset(partners.values())
    suspected = tuple(
        frozenset(no_op) | seeming_no_ops(graph, None if witness is None else witness[side])
        for side, (graph, no_op) in enumerate(zip(graphs, no_ops, strict=True))
    )
    found = searched(
        Search(
            graphs=graphs,
            anchors=partners,
            excused=(frozenset(excused[0]), frozenset(excused[1])),
            no_ops=(suspected[0] - matched[0], suspected[1] - matched[1]),
            proven=(frozenset(no_ops[0]), frozenset(no_ops[1])),
            witness=witness,
        )
    )
    order = reference.order
    proposed = [
        Match(
            reference=one.ours,
            challenger=one.theirs,
            score=round(one.score, 4),
            sure=one.sure,
            structure=one.structure,
            name=one.name,
            values=one.values,
        )
        for one in found.pairs
    ]
    return Proposal(
        fixed=fixed,
        matches=tuple(sorted((*known, *proposed), key=lambda match: order[match.reference])),
        unmatched=reasons(graphs, found, excused, witness),
    )


def fixed_pairs(
    reference: CheckpointGraph, challenger: CheckpointGraph, plan: Plan
) -> dict[str, str]:
    """Reference name to challenger name of what the plan's renames and equal names pair already.

    Raises:
        ConfigError: A rename names no checkpoint.
    """
    for theirs, name in plan.renames.items():
        for graph, wanted in ((challenger, theirs), (reference, name)):
            if wanted not in graph:
                raise ConfigError(
                    f"{graph.stack!r} has no checkpoint {wanted!r} (known: {', '.join(graph)}).",
                    where=f"the plan's renames, {theirs!r}: {name!r}",
                    fix="map a challenger's checkpoint to a reference's, or remove the entry",
                )
    pairs = {name: theirs for theirs, name in plan.renames.items()}
    for name in reference:
        if name not in pairs and name in challenger and name not in plan.renames:
            pairs[name] = name
    return {
        name: theirs
        for name, theirs in pairs.items()
        if mismatch(reference[name], challenger[theirs]) is None
    }


def excuses(
    graphs: tuple[CheckpointGraph, CheckpointGraph], fixed: Mapping[str, str], plan: Plan
) -> tuple[dict[str, str], dict[str, str]]:
    """Name to the reason why it needs no partner, of each side."""
    found: tuple[dict[str, str], dict[str, str]] = ({}, {})
    partners = fixed, set(fixed.values())
    for side, graph in enumerate(graphs):
        for name, checkpoint in graph.items():
            if name in partners[side]:
                continue
            excuse = best_match(name, plan.left_out) if side == 0 else None
            if excuse is not None:
                found[side][name] = f"left out by the plan: {plan.left_out[excuse]}"
            elif (aside := set_aside(checkpoint, plan)) is not None:
                found[side][name] = aside
    return found


def seeming_no_ops(graph: CheckpointGraph, trace: Trace | None) -> frozenset[str]:
    """Checkpoints whose values are, bit by bit, those of the only one they are computed from."""
    if trace is None:
        return frozenset()
    return frozenset(
        name
        for name, checkpoint in graph.items()
        if len(checkpoint.after) == 1
        and mismatch(graph[checkpoint.after[0]], checkpoint) is None
        and same_bits(trace[checkpoint.after[0]], trace[name])
        and is_telling(trace[name])
    )
