"""From a report to a verdict: may the challenger take the reference's place?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

from parity.judge.policy import Policy
from parity.judge.report import Report, StopDecision

VerdictName = Literal["PARITY", "DIVERGED", "INCONCLUSIVE", "BROKEN"]

EXIT_CODES: Mapping[VerdictName, int] = MappingProxyType(
    {"PARITY": 0, "DIVERGED": 1, "INCONCLUSIVE": 3, "BROKEN": 4}
)
# A tool or a stack that failed says nothing about parity; a difference that was seen stands,
# whatever else was not seen; missing evidence is never a pass.
PRECEDENCE: tuple[VerdictName, ...] = ("BROKEN", "DIVERGED", "INCONCLUSIVE", "PARITY")

# Why a logged row was not compared (docs/formats.md). Any other reason is a stack's failure.
LOG_REASONS = frozenset(
    {
        "missing_field",
        "no_candidates",
        "duplicate_ad_id",
        "duplicate_request_id",
        "wrong_date",
        "invalid_text",
        "invalid_label",
    }
)


# Why a replay that was asked to stop early did so.
STOPPED_BECAUSE: Mapping[StopDecision, str] = MappingProxyType(
    {
        "few_differ": "fewer requests of the day differ than the tested rate",
        "many_differ": "more requests of the day differ than the tested rate",
        "metrics": "every judged metric is decided, or one is worse",
        "undecided": "nothing was decided",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One finding, and the verdict that it would be if it were alone.

    Attributes:
        verdict: "PARITY" for what speaks for it, or only has to be said.
        code: For programs, such as "cause" or "canary_missed".
        text: For people, one sentence.
    """

    verdict: VerdictName
    code: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The conclusion, with every reason for it, the decisive ones first, and by which rules."""

    verdict: VerdictName
    exit_code: int
    reasons: tuple[Reason, ...]
    policy: Policy


def decide(report: Report, policy: Policy) -> Verdict:
    """Weigh everything that was found: BROKEN > DIVERGED > INCONCLUSIVE > PARITY.

    Parity is concluded only from evidence: requests compared, outputs among what was
    compared, coverage as the plan asks, a canary that was not missed, and, where outputs
    are compared statistically, every judged metric no worse.
    """
    reasons = [
        *_broken(report),
        *_differences(report, policy),
        *_fidelity(report, policy),
        *_evidence(report, policy),
        *_canary(report),
        *_metrics(report),
        *_slices(report),
        *_conditions(report),
    ]
    reasons.sort(key=lambda reason: PRECEDENCE.index(reason.verdict))
    if not reasons or reasons[0].verdict == "PARITY":
        reasons.insert(0, _agreement(report))
    name = reasons[0].verdict
    return Verdict(verdict=name, exit_code=EXIT_CODES[name], reasons=tuple(reasons), policy=policy)


def coverage_share(report: Report) -> float | None:
    """The share of the reference's checkpoints that was compared; None when it has none.

    What the plan leaves out, with its reason, is not asked for. What only the challenger has
    is listed: it can not have been carried over wrongly.
    """
    compared = set(report.coverage.compared)
    asked = compared | {
        name
        for name in report.coverage.unmatched_reference
        if not any(fnmatchcase(name, pattern) for pattern in report.coverage.left_out)
    }
    return len(compared) / len(asked) if asked else None


def _broken(report: Report) -> Iterator[Reason]:
    counts = report.requests
    accounted = counts.compared + sum(counts.rejected.values())
    if counts.read != accounted:
        yield Reason(
            verdict="BROKEN",
            code="totals",
            text=f"{counts.read} requests were read, but {counts.compared} compared and "
            f"{accounted - counts.compared} rejected make {accounted}.",
        )
    for figures in report.checkpoints:
        if not 0 <= figures.differing <= figures.rows:
            yield Reason(
                verdict="BROKEN",
                code="totals",
                text=f"{figures.checkpoint}: {figures.differing} of {figures.rows} rows differ.",
            )
    for reason, number in counts.rejected.items():
        if reason not in LOG_REASONS and number:
            yield Reason(
                verdict="BROKEN",
                code="stack_failed",
                text=f"a stack failed on {number} requests ({reason}).",
            )


def _differences(report: Report, policy: Policy) -> Iterator[Reason]:
    for cause in report.causes:
        text = (
            f"{cause.checkpoint} differs by itself: {cause.local.differing} of "
            f"{cause.local.rows} probed rows beyond the tolerance ({cause.tolerance})"
        )
        if policy.diverges_on == "material" and cause.material is False:
            yield Reason(
                verdict="PARITY",
                code="not_material",
                text=f"{text}; it moves rank, probability and money by less than the plan allows.",
            )
            continue
        yield Reason(verdict="DIVERGED", code="cause", text=f"{text}.")
    for name in report.unexplained:
        yield Reason(
            verdict="DIVERGED",
            code="unexplained",
            text=f"{name} differs, and no cause that was found explains it.",
        )


def _fidelity(report: Report, policy: Policy) -> Iterator[Reason]:
    status = report.fidelity.status
    if status == "differs":
        parted = ", ".join(
            f"{name} on {differing} of {rows}"
            for name, (rows, differing) in report.fidelity.fields.items()
            if differing
        )
        yield Reason(
            verdict="INCONCLUSIVE",
            code="fidelity_differs",
            text="replaying the reference does not reproduce what was served "
            f"({parted}): the replay, the log or the artifact is not production's.",
        )
    elif status == "not_logged":
        yield Reason(
            verdict="INCONCLUSIVE" if policy.fidelity == "require" else "PARITY",
            code="fidelity_not_logged",
            text="the log does not hold what was served, so the replay itself is unchecked.",
        )


def _evidence(report: Report, policy: Policy) -> Iterator[Reason]:
    counts = report.requests
    if counts.compared == 0 or report.candidates == 0:
        yield _lacking("nothing_compared", "not one request was compared.")
    elif counts.compared < policy.min_requests:
        yield _lacking(
            "too_few_requests",
            f"{counts.compared} requests were compared, the policy asks for {policy.min_requests}.",
        )
    if counts.read and counts.compared / counts.read < policy.min_compared_share:
        yield _lacking(
            "too_many_rejected",
            f"only {counts.compared} of {counts.read} requests could be compared, the policy "
            f"asks for {policy.min_compared_share:.0%}.",
        )
    # Between two models outputs are judged by metrics, which are asked for below.
    if report.outputs == "bounded" and not any(
        figures.stage == "output" and figures.rows for figures in report.checkpoints
    ):
        yield _lacking("no_output", "no output was compared.")
    share = coverage_share(report)
    if share is None or share < policy.min_coverage:
        yield _lacking(
            "coverage",
            f"{len(report.coverage.compared)} checkpoints were compared, "
            f"{len(report.coverage.unmatched_reference)} of the reference are unmatched: "
            f"coverage {share or 0.0:.1%}, the plan asks for {policy.min_coverage:.1%}.",
        )


def _canary(report: Report) -> Iterator[Reason]:
    canary = report.canary
    if canary.planted is None:
        yield Reason(
            verdict="PARITY",
            code="canary_not_run",
            text="no canary was planted: nothing shows that this replay could see a bug.",
        )
    elif not canary.caught:
        yield _lacking(
            "canary_missed",
            f"the canary {canary.planted} was planted and not caught: a real bug "
            "might have been missed too.",
        )


def _metrics(report: Report) -> Iterator[Reason]:
    if report.outputs == "bounded":
        return  # equal within rounding: stronger than any metric, which can not fail it or pass it
    judged = [metric for metric in report.metrics if metric.decision != "informative"]
    if not judged:
        yield _lacking(
            "no_metric", f"outputs are judged as {report.outputs} and no metric is judged."
        )
    for metric in judged:
        measured = (
            f"{metric.name} {_signed(metric.difference)} "
            f"[{_signed(metric.low)}, {_signed(metric.high)}], margin {metric.margin:g}"
            if metric.low is not None and metric.margin is not None
            else f"{metric.name} could not be measured ({metric.note})"
        )
        if metric.decision == "worse":
            how = "beyond it" if report.outputs == "envelope" else "significantly worse"
            yield Reason(verdict="DIVERGED", code="metric_worse", text=f"{measured}: {how}.")
        elif metric.decision == "undecided":
            yield _lacking("metric_undecided", f"{measured}: too little evidence.")
        else:
            yield Reason(verdict="PARITY", code="metric_no_worse", text=f"{measured}: no worse.")


def _slices(report: Report) -> Iterator[Reason]:
    """A slice in which calibration is significantly worse, where the policy sets a margin.

    One that is not significantly worse says nothing: a small slice could never be shown to be
    no worse, and the overall metrics stand for all of them together.
    """
    slices = report.slices
    if report.outputs == "bounded" or slices is None or slices.margin is None:
        return
    for one in slices.figures:
        if one.worse:
            yield Reason(
                verdict="DIVERGED",
                code="slice_worse",
                text=f"where {one.field} is {one.value} calibration goes from {one.reference:.4g} "
                f"to {one.challenger:.4g}, beyond the margin {slices.margin:g} "
                f"(p = {one.corrected_p:.2g}, {slices.correction} over {slices.tried} slices).",
            )


def _conditions(report: Report) -> Iterator[Reason]:
    stopping = report.stopping
    if stopping is not None and stopping.stopped:
        yield Reason(
            verdict="PARITY",
            code="stopped_early",
            text=f"stopped early after {report.requests.compared} of {stopping.requests} requests: "
            f"{STOPPED_BECAUSE[stopping.decision]} (rate {stopping.rate:g}, level "
            f"{stopping.level:g} whenever one looks; {len(stopping.looks)} looks).",
        )
    if report.sample < 1:
        yield Reason(
            verdict="PARITY",
            code="sampled",
            text=f"a sample of {report.sample:g} of the requests was replayed.",
        )
    for plant in report.plants:
        yield Reason(
            verdict="PARITY", code="planted", text=f"{plant} was planted in the challenger."
        )


def _agreement(report: Report) -> Reason:
    outputs = "within their tolerances" if report.outputs == "bounded" else "no worse"
    return Reason(
        verdict="PARITY",
        code="agreement",
        text=f"{report.requests.compared} requests and {len(report.coverage.compared)} "
        f"checkpoints compared: no cause of a difference, outputs {outputs}.",
    )


def _lacking(code: str, text: str) -> Reason:
    return Reason(verdict="INCONCLUSIVE", code=code, text=text)


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.4g}"
