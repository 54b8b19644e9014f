"""The report: everything a rendering or a verdict needs, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from replay.checkpoint import Stage

FidelityStatus = Literal["not_logged", "reproduced", "differs"]
Decision = Literal["no_worse", "worse", "undecided", "informative"]
StopDecision = Literal["few_differ", "many_differ", "metrics", "undecided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One differing value and whose it is. A missing value is None."""

    request_id: str
    ad_id: str | None
    reference: float | int | None
    challenger: float | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFigures:
    """What the screen, which sees every request, counted at one aligned checkpoint.

    Attributes:
        rows: Rows compared.
        differing: Rows beyond the tolerance (a near tie in `rank` is not beyond it).
        requests_differing: Requests with at least one such row.
        max_difference: Largest absolute difference of finite values; 0 when none differ.
        p99_difference: 99th percentile of the absolute differences, to 1.3 %.
        missing_reference: Rows missing (NaN or the declared missing) on the reference's side.
        missing_challenger: The same on the challenger's.
        missing_mismatch: Rows missing on exactly one side.
        nonfinite: Rows with an infinite or undeclared NaN value on either side.
        tolerance: As text, with its why.
        examples: The first few, by request hash.
    """

    checkpoint: str
    stage: Stage
    rows: int
    differing: int
    requests_differing: int
    max_difference: float
    p99_difference: float
    missing_reference: int
    missing_challenger: int
    missing_mismatch: int
    nonfinite: int
    tolerance: str
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDifference:
    """The challenger's own step on the reference's inputs, on the probe's sample."""

    rows: int
    differing: int
    max_difference: float
    rms_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What repairing a cause takes off one gap, on the probe's sample.

    Attributes:
        unit: "logit", "pctr", "ecpm_micros" (mean |difference| over candidates), or "rank_flips"
            (candidates).
        before: The gap before any repair.
        closed: What this repair takes off it, after those of the causes before it; negative
            where the cause held another one back.
    """

    unit: str
    before: float
    closed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A checkpoint whose local difference exceeds its tolerance.

    Attributes:
        segment: The unaligned checkpoints between it and its nearest aligned ancestors, when
            the fault may stand in one of them; else empty.
        rows_affected: Of the whole replay, from the screen; None where the checkpoint was
            seen by the probe's sample only.
        share_of_gap: Part of the gap in logit (in pctr where no logit is aligned) that
            closes when it is repaired, after the causes before it; None when not computed.
        linear_share: The same by one backward pass, to first order; None where no gradient
            reaches it.
        costs: What its repair takes off each gap.
        weights: Where both sides' weights or configuration differ in its modules.
        material: Whether that moves rank, probability or money by more than the plan allows;
            None where it could not be repaired.
        inherited: Checkpoints that differ in total, not locally, downstream of it.
    """

    checkpoint: str
    stage: Stage
    local: LocalDifference
    tolerance: str
    rows_affected: int | None
    requests_affected: int | None
    share_of_gap: float | None = None
    linear_share: float | None = None
    costs: tuple[Closed, ...] = ()
    material: bool | None = None
    weights: tuple[str, ...] = ()
    diagnosis: str | None = None
    slice: str | None = None
    inherited: tuple[str, ...] = ()
    segment: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far the outputs part over the replay: mean absolute difference, and ranks moved.

    Attributes:
        logit: Mean |difference| over candidates; None where either side has no logit.
        pctr: The same for the probability.
        rank_flips: Candidates whose rank moved, near ties not counted.
        near_ties: Candidates whose rank moved within the tolerance of what ranks them.
        remainder: Share of the gap that repairing every cause leaves; None when there is no cause.
        linear_remainder: Share that the causes' own errors leave, followed by one backward pass;
            None where no gradient reaches one of them.
    """

    logit: float | None
    pctr: float | None
    rank_flips: int
    near_ties: int
    remainder: float | None = None
    linear_remainder: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Does replaying the reference reproduce what was logged as served?

    Attributes:
        fields: Per served field ("pctr", "rank", "features.<name>"): rows compared and differing.
        examples: The first few differences, `reference` being the replay and `challenger` the log.
    """

    status: FidelityStatus
    fields: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    examples: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What was compared and what was not: an unseen difference is not agreement."""

    compared: tuple[str, ...]
    unmatched_reference: tuple[str, ...]
    unmatched_challenger: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A known bug, planted on the probe's sample: was it caught where it was planted?"""

    planted: str | None
    caught: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of both sides on labelled candidates, with its paired interval.

    Attributes:
        difference: challenger - reference.
        low, high: The interval of the difference, resampled by request.
        margin: How much worse the policy allows; None where it asks nothing.
        decision: "no_worse" when the whole interval is within the margin, "worse" when the
            whole interval is beyond it, "undecided" between.
    """

    name: str
    reference: float | None
    challenger: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: float | None
    decision: Decision
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFigures:
    """Calibration (predicted over observed clicks) of both sides in one slice.

    Attributes:
        field: A logged field, "history length", or "pctr decile": each side by its own scores.
        rows, clicks: Labelled candidates of the slice; of a decile, the challenger's.
        difference: challenger - reference, and [low, high] its interval by request.
        p_value: How often chance alone would put the challenger that much further from 1.
        corrected_p: The same, corrected for the number of slices tried.
        worse: Whether it is significantly further from 1 than the margin allows.
    """

    field: str
    value: str
    rows: int
    clicks: int
    reference: float
    challenger: float
    difference: float
    low: float
    high: float
    p_value: float
    corrected_p: float = 1.0
    worse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """Calibration for whom: every slice that was tried, and how their number was corrected for.

    Attributes:
        tried: Slices tested; p-values are corrected for so many.
        too_few: Slices with too few clicks, or non-clicks, to say anything.
        margin: How much larger an error the policy allows; None where it asks nothing, and
            slices are then shown, tested against no margin, and not judged.
        figures: Those tested, or the clearest of them where they are very many.
    """

    tried: int
    too_few: int
    correction: Literal["holm", "benjamini_hochberg"]
    level: float
    margin: float | None
    figures: tuple[SliceFigures, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was known when the evidence was looked at: requests compared, and how many differ.

    Attributes:
        wealth: Evidence that fewer requests of the day differ than `rate` says; it passes
            at 1 / (1 - level).
        against: Evidence that more do.
    """

    compared: int
    differing: int
    wealth: float
    against: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """An early decision, where one was asked for.

    Attributes:
        stopped: Whether requests of the day were left unread.
        decision: "few_differ" and "many_differ" by the rate, "metrics" when every judged metric
            was decided, "undecided" when the whole day was read.
        rate: Share of differing requests that was tested.
        level: Of that test, whenever it stops.
        requests: Valid requests of the day.
        interval_level: Of every interval of the report: those of all looks hold together at 95 %.
    """

    stopped: bool
    decision: StopDecision
    rate: float
    level: float
    requests: int
    interval_level: float
    looks: tuple[Look, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A request that was not compared, and why."""

    request_id: str | None
    reason: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCounts:
    """read == compared + sum(rejected.values()), or the report is broken."""

    read: int
    compared: int
    rejected: Mapping[str, int]
    examples: tuple[Rejected, ...] = ()
    not_sampled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A stack as it was judged."""

    name: str
    digest: str
    identity: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was found; text, JSON and HTML are renderings of it.

    Nothing in it depends on the engine, the number of workers, the time or the place, so
    the same inputs give the same `report_digest`.
    """

    reference: Side
    challenger: Side
    dates: tuple[str, ...]
    log_digest: str
    plan_digest: str
    outputs: Literal["bounded", "statistical", "envelope"]
    sample: float
    seed: int
    plants: tuple[str, ...]
    requests: RequestCounts
    candidates: int
    fidelity: Fidelity
    coverage: Coverage
    canary: Canary
    checkpoints: tuple[CheckpointFigures, ...]
    causes: tuple[Cause, ...]
    unexplained: tuple[str, ...]
    gap: Gap
    metrics: tuple[Metric, ...] = ()
    slices: Slices | None = None
    stopping: Stopping | None = None
    probed: int = 0
    notes: tuple[str, ...] = ()
