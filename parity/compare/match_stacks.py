"""Proposals from two open stacks: recorded values, and what each side makes of values it is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.compare.alignment import mismatch
from parity.compare.match_trials import Bench, settled
from parity.compare.match_values import same_bits
from parity.compare.matching import Match, Proposal, propose, seeming_no_ops
from parity.plan import Plan
from parity.tolerance import tolerance_for
from replay.checkpoint import CheckpointGraph
from replay.engine.pieces import bytes_per_request
from replay.engine.process import StackProcess
from replay.errors import ConfigError, ToolkitError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array, Trace

REQUESTS = 32
# What one side's values at every checkpoint may hold: fewer requests are taken beyond it.
WITNESS_BYTES = 256 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Aligned:
    """What matching two stacks gave.

    Attributes:
        proposal: The proposal.
        requests: Requests whose values were the witness.
        needs_tolerance: Reference names of proposed pairs that no tolerance can be derived for.
    """

    proposal: Proposal
    requests: int
    needs_tolerance: tuple[str, ...]


def align_stacks(
    reference: Stack, challenger: Stack, batch: RequestBatch | None, plan: Plan
) -> Aligned:
    """Match two stacks, with the values of up to 32 requests as witness where there are some.

    Raises:
        ConfigError: A rename of the plan names no checkpoint.
        StackError: A stack broke its contract.
    """
    graphs = reference.checkpoints, challenger.checkpoints
    if batch is None:
        proposal = propose(*graphs, witness=None, plan=plan)
    else:
        batch = _affordable(batch, graphs)
        proposal = propose_for(reference, challenger, batch, plan)
    return Aligned(
        proposal=proposal,
        requests=0 if batch is None else batch.num_requests,
        needs_tolerance=tuple(
            match.reference for match in proposal.matches if not _has_tolerance(graphs, match, plan)
        ),
    )


def propose_for(reference: Stack, challenger: Stack, batch: RequestBatch, plan: Plan) -> Proposal:
    """Match two stacks' checkpoints on requests that both score.

    What is sure is given from the reference to the challenger, so that a fault there does not
    hide what comes after it; then the rest is matched again. A pair whose own values differ is
    tried: it is one place when, given the reference's values, what follows it agrees.

    Raises:
        ConfigError: A rename of the plan names no checkpoint.
        StackError: A stack broke its contract.
    """
    graphs = reference.checkpoints, challenger.checkpoints
    free = tuple(
        side.score(batch, capture=tuple(side.checkpoints)) for side in (reference, challenger)
    )
    no_ops = tuple(
        proven_no_ops(side, batch, trace)
        for side, trace in zip((reference, challenger), free, strict=True)
    )
    seeming = seeming_no_ops(graphs[1], free[1])
    # Which of the two is meant can not be told by what follows: both pass on the same.
    unclear = {graphs[1][name].after[0] for name in seeming - no_ops[1]}
    bench = Bench(
        graphs=graphs,
        challenger=challenger,
        batch=batch,
        ours=free[0],
        untried=seeming | no_ops[1] | unclear,
    )
    witness = free[0], free[1]
    known: tuple[Match, ...] = ()
    while True:  # each round settles at least one pair that was open
        proposal = propose(
            *graphs, witness=witness, plan=plan, known=known, no_ops=(no_ops[0], no_ops[1])
        )
        sure = tuple(match for match in proposal.matches if match.sure)
        if len(sure) == len(known):
            sure = (*sure, *settled(bench, proposal))
            if len(sure) == len(known):
                return proposal
        known = sure
        partners = dict(proposal.fixed) | {m.reference: m.challenger for m in known}
        witness = free[0], bench.run(partners)


def proven_no_ops(stack: Stack, batch: RequestBatch, trace: Trace) -> frozenset[str]:
    """Checkpoints that pass on whatever they are given, not only what these requests bring.

    Each real checkpoint with one input of its own form and equal values is given other values
    there; it is a no-op when it records those. Integers are not tried: another code could be
    outside of what the stack accepts.
    """
    graph = stack.checkpoints
    tried = {
        name: checkpoint.after[0]
        for name, checkpoint in graph.items()
        if len(checkpoint.after) == 1
        and np.dtype(checkpoint.dtype).kind == "f"
        and graph[checkpoint.after[0]].settable
        and mismatch(graph[checkpoint.after[0]], checkpoint) is None
        and same_bits(trace[checkpoint.after[0]], trace[name])
    }
    if not tried:
        return frozenset()
    given = {parent: _moved(trace[parent]) for parent in tried.values()}
    try:
        seen = stack.score(batch, capture=tuple(tried), given=given)
    except ToolkitError:  # it refuses such values: nothing is proven
        if isinstance(stack, StackProcess) and not stack.is_alive:
            stack.restart()
        return frozenset()
    return frozenset(n for n, parent in tried.items() if same_bits(given[parent], seen[n]))


def _has_tolerance(
    graphs: tuple[CheckpointGraph, CheckpointGraph], match: Match, plan: Plan
) -> bool:
    try:
        tolerance_for(graphs[0][match.reference], graphs[1][match.challenger], plan.tolerances)
    except ConfigError:
        return False
    return True


def _affordable(
    batch: RequestBatch, graphs: tuple[CheckpointGraph, CheckpointGraph]
) -> RequestBatch:
    """As many requests, up to 32, as both sides' values may hold."""
    batch = batch.slice(0, REQUESTS)
    sizes = np.max([bytes_per_request(batch.keys, graph, list(graph)) for graph in graphs], axis=0)
    affordable = int(np.searchsorted(np.cumsum(sizes), WITNESS_BYTES, side="right"))
    return batch.slice(0, max(1, affordable))


def _moved(values: Array) -> Array:
    """Other values of about the same size: a function that is no identity shows it here."""
    finite = np.where(np.isfinite(values), values, 0)
    size = max(1e-3, float(np.abs(finite).max(initial=0.0)))
    noise = np.random.default_rng(0).normal(scale=0.3 * size, size=values.shape)
    moved: Array = (noise - 0.75 * finite).astype(values.dtype)
    return moved
