"""From merged counts to the parts of a report."""

from __future__ import annotations

from parity.compare.alignment import Alignment, Pair
from parity.compare.counts import CheckpointCounts
from parity.compare.difference import percentile
from parity.compare.exact_sum import mean
from parity.judge.report import CheckpointFigures, Coverage, Fidelity, Gap, RequestCounts
from parity.shard_result import ShardResult


def checkpoint_figures(result: ShardResult, alignment: Alignment) -> tuple[CheckpointFigures, ...]:
    """The screened checkpoints in causal order."""
    return tuple(
        _figures(pair, result.checkpoints.get(pair.name, CheckpointCounts()))
        for pair in alignment.screened
    )


def request_counts(result: ShardResult) -> RequestCounts:
    """What was read of the sample, and what became of it; a stack's failures are rejected too."""
    return RequestCounts(
        read=result.read - result.not_sampled,
        compared=result.compared,
        rejected=dict(sorted({**result.rejected, **result.failed}.items())),
        examples=result.refusals,
        not_sampled=result.not_sampled,
    )


def gap_of(
    result: ShardResult,
    alignment: Alignment,
    remainder: float | None = None,
    linear_remainder: float | None = None,
) -> Gap:
    """The gap of the outputs over the replay."""
    sums = result.gap
    outputs = alignment.outputs
    return Gap(
        logit=mean(sums.logit_sum, sums.logit_rows) if "logit" in outputs else None,
        pctr=mean(sums.pctr_sum, sums.pctr_rows) if "pctr" in outputs else None,
        rank_flips=sums.rank_flips,
        near_ties=sums.near_ties,
        remainder=remainder,
        linear_remainder=linear_remainder,
    )


def fidelity_of(result: ShardResult) -> Fidelity:
    """Whether the reference's replay reproduced what was served, where the log has it."""
    differing = any(one.differing for one in result.served.values())
    return Fidelity(
        status=("differs" if differing else "reproduced") if result.served else "not_logged",
        fields={name: (one.rows, one.differing) for name, one in result.served.items()},
        examples={
            name: tuple(kept.example for kept in one.examples)
            for name, one in result.served.items()
            if one.examples
        },
    )


def coverage_of(alignment: Alignment) -> Coverage:
    """What was compared and what was not; a mismatch stands with the unmatched, and its reason."""
    return Coverage(
        compared=tuple(pair.name for pair in alignment.pairs),
        unmatched_reference=tuple(
            f"{name} ({alignment.mismatched[name]})" if name in alignment.mismatched else name
            for name in alignment.unmatched_reference
        ),
        unmatched_challenger=alignment.unmatched_challenger,
        left_out=dict(alignment.left_out),
    )


def tolerance_text(pair: Pair, *, local: bool = False) -> str:
    """The tolerance as reports show it, with what the checkpoint inherits by arithmetic.

    Args:
        pair: The pair.
        local: Of its own step on a sample, where the plan allows that apart.
    """
    chosen = pair.sampled if local and pair.sampled is not None else pair.tolerance
    text = chosen.text()
    if pair.name == "rank":
        return f"{text}; a move within the bounds of what ranks is a near tie"
    if pair.name == "ecpm_micros":
        return f"{text}; and 1000 * bid * the tolerance of pctr"
    return text


def _figures(pair: Pair, counts: CheckpointCounts) -> CheckpointFigures:
    p99 = percentile(counts.histogram, counts.rows, 0.99)
    return CheckpointFigures(
        checkpoint=pair.name,
        stage=pair.stage,
        rows=counts.rows,
        differing=counts.differing,
        requests_differing=counts.requests_differing,
        max_difference=counts.max_difference,
        p99_difference=min(p99, counts.max_difference),
        missing_reference=counts.missing_reference,
        missing_challenger=counts.missing_challenger,
        missing_mismatch=counts.missing_mismatch,
        nonfinite=counts.nonfinite,
        tolerance=tolerance_text(pair),
        examples=tuple(kept.example for kept in counts.examples),
    )
