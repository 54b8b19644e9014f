"""The screen: every request, both sides' features, exact checkpoints and outputs, counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from parity.compare.alignment import Alignment, Pair
from parity.compare.counts import CheckpointCounts, GapSums
from parity.compare.difference import Difference, compare, first_differing, histogram
from parity.compare.evidence import candidate_values, evidence
from parity.compare.exact_sum import exact_sum
from parity.compare.fidelity import served_counts
from parity.compare.precision import PrecisionSums, precision_sums
from parity.compare.ranks import Moves, inherited_slack, moved_ranks, ranked_by
from parity.compare.shard_rows import ShardRows, Shown, check_rows, rows_of_shard, shown
from parity.judge.report import Rejected
from parity.plan import Plan
from parity.shard_result import Limits, ShardResult, first_refusals
from parity.tolerance import Mask
from replay.engine.failures import Failure
from replay.logs.schema import Rejection
from replay.request import RequestBatch
from replay.trace import Array, Trace


def capture_reference(alignment: Alignment) -> tuple[str, ...]:
    """What the screen asks the reference to record: also every feature, for fidelity."""
    wanted = {pair.reference.name for pair in (*alignment.screened, *alignment.outputs.values())}
    wanted |= {name for name, one in alignment.reference.items() if one.stage == "feature"}
    wanted |= {"pctr", "rank", "ecpm_micros"} & set(alignment.reference)
    return tuple(alignment.reference.sorted(wanted))


def capture_challenger(alignment: Alignment) -> tuple[str, ...]:
    """What the screen asks the challenger to record, by its own names."""
    pairs = (*alignment.screened, *alignment.outputs.values())
    return tuple(alignment.challenger.sorted({pair.challenger.name for pair in pairs}))


def limits_of(plan: Plan) -> Limits:
    """How much every shard result of a plan keeps."""
    return Limits(examples=plan.examples, per_place=plan.per_place, probed=plan.probed)


def screen(
    *,
    shard: str,
    valid: RequestBatch,
    batch: RequestBatch,
    reference: Trace,
    challenger: Trace,
    alignment: Alignment,
    plan: Plan,
    read: int,
    not_sampled: int = 0,
    rejections: Iterable[Rejection] = (),
    failures: Iterable[Failure] = (),
) -> ShardResult:
    """Compare two traces of a shard at every screened checkpoint.

    Args:
        shard: The shard's id.
        valid: The shard's valid requests; samples name their rows in it.
        batch: Those of them that both stacks scored.
        reference: The reference's trace of `batch`, with `capture_reference`.
        challenger: The challenger's, with `capture_challenger`.
        alignment: The pairs.
        plan: What is kept.
        read: Rows read from the log.
        not_sampled: Valid requests outside the sample.
        rejections: Rows that are not valid.
        failures: Valid requests that a stack could not score.

    Raises:
        StackError: A trace has other rows than the batch.
    """
    for trace in (reference, challenger):
        check_rows(batch, trace)
    rows = rows_of_shard(shard, batch, valid)
    moves = _moves(alignment, batch, reference, challenger)
    differing: dict[str, Mask] = {}
    counts: dict[str, CheckpointCounts] = {}
    for pair in alignment.screened:
        ours, theirs = pair.values(reference, challenger)
        slack = inherited_slack(pair.name, alignment, batch, reference, challenger)
        found = compare(ours, theirs, pair, slack=slack)
        if pair.name == "rank" and moves is not None:
            found = replace(found, differs=moves.flips)
        differing[pair.name] = rows.requests_with(found.differs, pair.rows)
        counts[pair.name] = _counts(
            found,
            pair,
            ours=ours,
            theirs=theirs,
            rows=rows,
            requests_differing=int(differing[pair.name].sum()),
            plan=plan,
        )
    anywhere = np.zeros(batch.num_requests, dtype=np.bool_)
    for mask in differing.values():
        anywhere |= mask
    served = served_counts(rows, reference, alignment.reference, plan)
    rejected = [
        Rejected(request_id=r.request_id, reason=r.reason, where=r.where, detail=r.detail)
        for r in rejections
    ]
    failed = [
        Rejected(request_id=f.request_id, reason=f"{f.side} {f.kind}", where=shard, detail=f.detail)
        for f in failures
    ]
    limits = limits_of(plan)
    return ShardResult(
        limits=limits,
        shards=(shard,),
        read=read,
        compared=batch.num_requests,
        not_sampled=not_sampled,
        candidates=batch.num_candidates,
        requests_differing=int(anywhere.sum()),
        rejected=_by_reason(rejected),
        failed=_by_reason(failed),
        refusals=first_refusals((*rejected, *failed)),
        checkpoints=dict(sorted(counts.items())),
        diverging={
            name: rows.first_requests(mask, limits.per_place)
            for name, mask in sorted(beginnings(differing, alignment).items())
        },
        differing=rows.first_requests(anywhere, limits.probed),
        agreeing=rows.first_requests(~anywhere, limits.probed),
        gap=_gap(alignment, reference, challenger, moves),
        precision=_precision(alignment, reference, challenger)
        if plan.outputs == "envelope"
        else PrecisionSums(),
        served=dict(sorted(served.fields.items())),
        served_unmatched=served.unmatched,
        # Only what is judged by metrics: all else of a result has the same size however long the log is.
        outcomes={shard: evidence(rows, reference, challenger, alignment, plan=plan)}
        if plan.outputs == "statistical"
        else {},
    )


def beginnings(differing: Mapping[str, Mask], alignment: Alignment) -> dict[str, Mask]:
    """Where divergence begins, request by request: [request] masks by checkpoint.

    It begins at every differing checkpoint none of whose aligned ancestors differs, so a request
    may have several beginnings, and each likely cause has requests of its own.
    """
    found: dict[str, Mask] = {}
    for name, mask in differing.items():
        if not mask.any():
            continue
        begins = mask.copy()
        for ancestor in alignment.ancestors[name]:
            if ancestor in differing:
                begins &= ~differing[ancestor]
        if begins.any():
            found[name] = begins
    return found


def _moves(
    alignment: Alignment, batch: RequestBatch, reference: Trace, challenger: Trace
) -> Moves | None:
    pair = alignment.outputs.get("rank")
    if pair is None or pair.rows != "candidate":
        return None
    ranked = ranked_by(alignment, batch, reference, challenger)
    return moved_ranks(*pair.values(reference, challenger), batch.keys.candidate_offsets, ranked)


def _counts(
    found: Difference,
    pair: Pair,
    *,
    ours: Array,
    theirs: Array,
    rows: ShardRows,
    requests_differing: int,
    plan: Plan,
) -> CheckpointCounts:
    def values(row: int) -> tuple[Shown, Shown]:
        return shown_values(ours[row], theirs[row], pair)

    return CheckpointCounts(
        rows=found.rows,
        differing=found.differing,
        requests_differing=requests_differing,
        missing_reference=found.missing_reference,
        missing_challenger=found.missing_challenger,
        missing_mismatch=found.missing_mismatch,
        nonfinite=found.nonfinite,
        max_difference=found.max_distance,
        histogram=histogram(found.distance),
        examples=rows.examples(found.differs, pair.rows, plan.examples, values),
    )


def shown_values(ours: Array, theirs: Array, pair: Pair) -> tuple[Shown, Shown]:
    """One row of both sides as an example: of several inner values the first that differ."""
    a, b = np.ravel(ours), np.ravel(theirs)
    place = first_differing(a, b, pair)
    return (
        shown(a[place], missing=pair.reference.missing == "nan"),
        shown(b[place], missing=pair.challenger.missing == "nan"),
    )


def _gap(alignment: Alignment, reference: Trace, challenger: Trace, moves: Moves | None) -> GapSums:
    sums: dict[str, int] = {}
    for name in ("logit", "pctr"):
        if name not in alignment.outputs:
            continue
        ours, theirs = alignment.outputs[name].values(reference, challenger)
        with np.errstate(invalid="ignore"):  # infinities are counted as such, not in the gap
            apart = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).ravel()
        finite = apart[np.isfinite(apart)]
        sums |= {f"{name}_sum": exact_sum(finite), f"{name}_rows": len(finite)}
    if moves is not None:
        sums["rank_flips"] = int(moves.flips.sum())
        sums["near_ties"] = int(moves.near_ties.sum())
    return GapSums(**sums)


def _precision(alignment: Alignment, reference: Trace, challenger: Trace) -> PrecisionSums:
    pctr, rank = (candidate_values(n, alignment, reference, challenger) for n in ("pctr", "rank"))
    if pctr is None:
        return PrecisionSums()
    return precision_sums(pctr, rank, reference.keys.candidate_offsets)


def _by_reason(refused: Iterable[Rejected]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in refused:
        counts[one.reason] = counts.get(one.reason, 0) + 1
    return dict(sorted(counts.items()))
