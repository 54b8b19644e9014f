"""What a sample shows beyond the counts: causes, their shares, and whether the canary was caught."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from parity.compare.counts import SampledRequest
from parity.compare.sample import choose_sample
from parity.explain.attribution import attribute
from parity.explain.canary import fly_canary
from parity.explain.causes import amplified, find_causes, unexplained
from parity.explain.costs import with_costs
from parity.explain.diagnose import diagnose, evidence_of
from parity.explain.probe import Probe, probe
from parity.explain.prove_sides import feature_checkpoint
from parity.explain.repair import repair
from parity.explain.slices import with_slices
from parity.explain.weights import weight_facts, with_weights
from parity.judge.report import Canary, Cause
from parity.opening import Opened
from parity.shard_result import ShardResult
from replay.engine.capability_calls import describing
from replay.engine.isolation import LaneStack
from replay.engine.process import StackProcess
from replay.engine.trace_cache import CachedStack
from replay.errors import ConfigError
from replay.logs.parquet import LoggedDay, read_shard
from replay.request import RequestBatch, concat_batches
from replay.trace import EMPTY, Array

NO_CANARY = Canary(planted=None, caught=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the probe found.

    Attributes:
        causes: In causal order, with their shares.
        unexplained: Checkpoints that differ for no reason that the probe could find.
        remainder: Share of the gap that repairing every cause leaves.
        linear_remainder: The same by one backward pass.
        canary: Whether a known bug would have been seen.
        probed: Requests in the sample.
        notes: What a reader should know of it.
        seen: The probe itself; None where nothing was sampled.
    """

    causes: tuple[Cause, ...] = ()
    unexplained: tuple[str, ...] = ()
    remainder: float | None = None
    linear_remainder: float | None = None
    canary: Canary = NO_CANARY
    probed: int = 0
    notes: tuple[str, ...] = ()
    seen: Probe | None = None


def find(opened: Opened, result: ShardResult) -> Findings:
    """Probe a bounded sample of the day: diverging requests, and agreeing ones as control.

    Raises:
        ToolkitError: A stack failed on requests it had scored before.
    """
    sample = choose_sample(result, opened.alignment, opened.plan.probed)
    if not sample:
        return Findings()
    challenger = opened.lane.challenger
    seen = probe(opened.lane.reference, challenger, _batch_of(opened.day, sample), opened.alignment)
    repaired = repair(challenger, seen)
    attributed = attribute(opened.lane.reference, challenger, seen)
    causes = with_costs(find_causes(seen, result), repaired, attributed, opened.plan.material)
    causes = _with_diagnoses(causes, seen, opened.lane.reference)
    causes, beside = _with_weights(causes, opened)
    causes = with_slices(causes, seen, seed=opened.options.seed)
    return Findings(
        causes=causes,
        unexplained=unexplained(seen, result),
        remainder=repaired.remainder,
        linear_remainder=None if attributed is None else attributed.remainder,
        canary=fly_canary(challenger, seen) if opened.options.canary else NO_CANARY,
        probed=len(sample),
        notes=(*_near_ties(seen), *beside),
        seen=seen,
    )


def _with_diagnoses(
    causes: Iterable[Cause], seen: Probe, reference: LaneStack
) -> tuple[Cause, ...]:
    stack = reference.inner if isinstance(reference, CachedStack) else reference
    thresholds = thresholds_of(stack)
    return tuple(
        replace(cause, diagnosis=None if why is None else why.text)
        for cause in causes
        for why in (diagnose(evidence_of(cause.checkpoint, seen, thresholds=thresholds)),)
    )


def thresholds_of(reference: LaneStack) -> Mapping[str, Array]:
    """Where the trees' splits stand, by feature, of a reference that shows its trees."""
    if not isinstance(reference, StackProcess) or not reference.exposes_trees:
        return EMPTY
    try:
        names, points = reference.tree_features(), reference.split_points()
    except ConfigError:
        return EMPTY  # Trees with other splits than thresholds: it refuses to show them.
    return dict(zip(map(feature_checkpoint, names), points, strict=True))


def _with_weights(
    causes: tuple[Cause, ...], opened: Opened
) -> tuple[tuple[Cause, ...], tuple[str, ...]]:
    """The causes with what both sides' weights say, and notes of what no value shows."""
    ours, theirs = describing(opened.lane.reference), describing(opened.lane.challenger)
    if ours is None or theirs is None or opened.plan.outputs == "statistical":
        return causes, ()
    names = [pair.name for pair in opened.alignment.pairs]
    told, left = with_weights(causes, weight_facts(ours, theirs), names)
    if not left:
        return told, ()
    shown = "; ".join(f"{fact.module}: {fact.says}" for fact in left[:3])
    more = f"; and {len(left) - 3} more" if len(left) > 3 else ""
    return told, (f"weights or configuration differ where no cause was found: {shown}{more}",)


def _near_ties(seen: Probe) -> tuple[str, ...]:
    near = amplified(seen)
    if not near:
        return ()
    return (f"near ties: an allowed difference was amplified at {', '.join(near)}",)


def _batch_of(day: LoggedDay, sample: Iterable[SampledRequest]) -> RequestBatch:
    """The sampled requests, read again, by shard and row."""
    rows: dict[str, list[int]] = {}
    for one in sample:
        rows.setdefault(one.shard, []).append(one.row)
    return concat_batches(
        read_shard(shard).batch.take(rows[shard.id]) for shard in day.shards if shard.id in rows
    )
