"""Figures in words, the same in every rendering."""

from __future__ import annotations

from parity.judge.report import (
    Canary,
    Cause,
    Closed,
    Example,
    Fidelity,
    Metric,
    Report,
    RequestCounts,
    SliceFigures,
    Slices,
    Stopping,
)
from parity.judge.verdict import STOPPED_BECAUSE, coverage_share
from parity.render.visible import visible


def number(value: float | None) -> str:
    """A figure to four digits; a whole one in full, with thousands; unknown where there is none."""
    if value is None:
        return "unknown"
    if isinstance(value, int):
        return f"{value:,}"
    return "0" if value == 0 else f"{value:.4g}"


def percent(share: float | None) -> str:
    """A share in per cent, never rounded to 100 % or 0 % when it is not."""
    if share is None:
        return "unknown"
    if share < 0:
        text = percent(-share)
        turned = {"<": ">", ">": "<"}.get(text[0])
        return f"-{text}" if turned is None else f"{turned} -{text[2:]}"
    shown = f"{100 * share:.1f}"
    if shown == "100.0" and share < 1:
        return "> 99.9 %"
    if shown == "0.0" and share > 0:
        return "< 0.1 %"
    return f"{shown.removesuffix('.0')} %"


def recorded(value: float | None) -> str:
    """A recorded value with every digit that tells it from its neighbours."""
    return "missing" if value is None else visible(repr(value))


def example(of: Example) -> str:
    """Whose value differs, and both values."""
    whose = f"request {visible(of.request_id)}"
    if of.ad_id is not None:
        whose += f", ad {visible(of.ad_id)}"
    return f"{whose}: reference {recorded(of.reference)}, challenger {recorded(of.challenger)}"


def requests(counts: RequestCounts, candidates: int) -> str:
    """How read = compared + rejected adds up, with the reasons."""
    rejected = sum(counts.rejected.values())
    text = f"{counts.read:,} read = {counts.compared:,} compared + {rejected:,} rejected"
    if rejected:
        named = ", ".join(
            f"{visible(why)} {count:,}" for why, count in counts.rejected.items() if count
        )
        text += f" ({named})"
    if counts.not_sampled:
        text += f"; {counts.not_sampled:,} not in the sample"
    return f"{text}; {candidates:,} candidates"


def fidelity(of: Fidelity) -> str:
    """Whether the replay reproduces what was served."""
    if of.status == "not_logged":
        return "not logged: the log does not hold what was served"
    rows = sum(compared for compared, _ in of.fields.values())
    parted = {name: counts for name, counts in of.fields.items() if counts[1]}
    if of.status == "reproduced":
        return f"reproduced: {len(of.fields)} served fields, {rows:,} values"
    named = ", ".join(
        f"{visible(name)} on {differing:,} of {compared:,}"
        for name, (compared, differing) in parted.items()
    )
    return f"DIFFERS from what was served: {named}"


def coverage(report: Report) -> str:
    """What was compared and what was not."""
    of = report.coverage
    text = f"{len(of.compared)} checkpoints, coverage {percent(coverage_share(report))}"
    for side, names in (
        ("reference", of.unmatched_reference),
        ("challenger", of.unmatched_challenger),
    ):
        if names:
            text += f"; {len(names)} only in the {side} ({_few(names)})"
    if of.left_out:
        text += f"; {len(of.left_out)} left out by the plan"
    return text


def canary(of: Canary) -> str:
    """Whether the replay showed that it can see a bug."""
    if of.planted is None:
        return "not planted"
    caught = "and caught there" if of.caught else "and NOT CAUGHT"
    return f"{visible(of.planted)} planted {caught}"


def gap(report: Report) -> str:
    """How far the outputs part."""
    of = report.gap
    text = (
        f"pctr {number(of.pctr)}, logit {number(of.logit)} (mean |difference|), "
        f"{of.rank_flips:,} rank flips"
    )
    if of.near_ties:
        text += f", {of.near_ties:,} near ties"
    if of.remainder is not None:
        text += f"; {percent(of.remainder)} left when every cause is repaired"
    if of.linear_remainder is not None:
        text += f", {percent(of.linear_remainder)} by one backward pass"
    return text


def affected(cause: Cause, report: Report) -> str:
    """For whom: how many of all requests, and the slice in which they concentrate."""
    compared = report.requests.compared
    if cause.requests_affected is None and cause.slice == "every request":
        return f"every one of the {report.probed:,} probed requests"
    if cause.requests_affected is None:
        text = f"unknown beyond the {report.probed:,} probed requests"
    elif cause.requests_affected == compared:
        text = "every request"
    else:
        share = percent(cause.requests_affected / max(compared, 1))
        text = f"{cause.requests_affected:,} of {compared:,} requests ({share})"
    if cause.slice is None or cause.slice == text:
        return text
    return f"{text}; {visible(cause.slice)}"


def allowed(cause: Cause) -> str:
    """The tolerance, and how often it is exceeded."""
    if cause.rows_affected is None:
        differs = f"differs on {cause.local.differing:,} of {cause.local.rows:,} rows, sampled"
    else:
        differs = f"differs on {cause.rows_affected:,} rows"
    most = cause.local.max_difference
    by = f"by {number(most)} at most" if most > 0 else "in what is missing or not finite"
    return f"{visible(cause.tolerance)}; {differs}, {by}"


def costs(cause: Cause) -> str:
    """What repairing it takes off each gap, and whether that matters."""
    if cause.share_of_gap is None and not cause.costs:
        return "not computed"
    parts = [_closed(one) for one in cause.costs]
    text = ", ".join(parts) if parts else f"{percent(cause.share_of_gap)} of the gap"
    if cause.linear_share is not None:
        text += f"; by one backward pass {percent(cause.linear_share)} of the logit's"
    return f"{text}; different, not material" if cause.material is False else text


def _closed(of: Closed) -> str:
    if of.unit == "rank_flips":
        return f"{of.closed:,.0f} of {of.before:,.0f} rank flips"
    unit = {"logit": "of the gap in logit", "pctr": "in pctr", "ecpm_micros": "in eCPM"}[of.unit]
    return f"{percent(of.closed / of.before)} {unit}" if of.before else f"none {unit}"


def weights(cause: Cause) -> str:
    """How both sides' weights and configuration differ in its modules."""
    shown = "; ".join(visible(one) for one in cause.weights[:3])
    return shown if len(cause.weights) <= 3 else f"{shown}; {len(cause.weights) - 3} more"


def inherits(cause: Cause) -> str:
    """What differs because of it."""
    if not cause.inherited:
        return "nothing after it differs"
    return f"{len(cause.inherited)} checkpoints after it ({_few(cause.inherited)})"


def metric(of: Metric) -> str:
    """Both sides, the difference with its interval, and what the policy makes of it."""
    if of.difference is None:
        return f"unknown: {visible(of.note)}"
    text = f"{number(of.reference)} -> {number(of.challenger)}, {of.difference:+.4g}"
    if of.low is None:
        text += " [no interval]"
    elif of.low != of.high or of.low != of.difference:
        text += f" [{of.low:+.4g}, {of.high:+.4g}]"
    return text if of.margin is None else f"{text}, margin {of.margin:g}"


def slices(of: Slices) -> str:
    """How many slices were tried, and in how many calibration is worse."""
    worse = sum(one.worse for one in of.figures)
    against = "" if of.margin is None else f" by more than {of.margin:g}"
    text = f"calibration significantly worse{against} in {worse} of {of.tried} slices"
    text += f" ({of.correction.replace('_', '-')} over {of.tried}, level {of.level:.4g})"
    return f"{text}; {of.too_few} with too few clicks to say" if of.too_few else text


def slice_figures(of: SliceFigures) -> str:
    """One slice: who, both sides' calibration, and how sure it is."""
    return (
        f"{visible(of.field)} is {visible(of.value)}: calibration {number(of.reference)} -> "
        f"{number(of.challenger)}, {of.difference:+.4g} [{of.low:+.4g}, {of.high:+.4g}], "
        f"p = {of.corrected_p:.2g}; {of.clicks:,} clicks"
    )


def stopping(of: Stopping, compared: int) -> str:
    """How much was read of a replay that was asked to stop early, and why no more."""
    tested = f"rate {of.rate:g} at level {of.level:g}, {len(of.looks)} looks"
    if not of.stopped:
        return f"not early: all {compared:,} requests were read before anything was sure ({tested})"
    return (
        f"early, after {compared:,} of {of.requests:,} requests: "
        f"{STOPPED_BECAUSE[of.decision]} ({tested})"
    )


def _few(names: tuple[str, ...], limit: int = 3) -> str:
    shown = ", ".join(visible(name) for name in names[:limit])
    return shown if len(names) <= limit else f"{shown}, ..."
