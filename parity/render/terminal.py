"""The report on one screen: verdict, causes, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from parity.judge.report import Cause, Report
from parity.judge.verdict import Verdict, VerdictName
from parity.render import phrases
from parity.render.visible import visible

STYLES: dict[VerdictName, str] = {
    "PARITY": "bold green",
    "DIVERGED": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "BROKEN": "bold magenta",
}
# Three blocks of seven lines, and the rest, are a screen of 40; report.html has everything.
MOST_CAUSES = 3
MOST_REASONS = 3
MOST_NOTES = 3
MOST_SLICES = 3
# What the lines below the headline say anyway.
_SAID = frozenset(
    {"cause", "fidelity_not_logged", "metric_undecided", "metric_no_worse", "stopped_early"}
)
_LABEL = 10


def print_report(
    console: Console, report: Report, verdict: Verdict, *, run_dir: Path | None
) -> None:
    """Print the report; long lines wrap where the console ends."""
    for line in lines(report, verdict, run_dir=run_dir):
        console.print(line, soft_wrap=True, highlight=False)


def lines(report: Report, verdict: Verdict, *, run_dir: Path | None) -> Iterator[Text]:
    """The report's lines, most useful fact first."""
    if report.fidelity.status == "differs":
        # Said first: a comparison with a reference that is not production's misleads.
        text = Text("FIDELITY", style=STYLES["INCONCLUSIVE"])
        yield text.append(f"  {phrases.fidelity(report.fidelity)}", style="bold")
        yield Text()
    shown = report.causes[:MOST_CAUSES]
    for number, cause in enumerate(shown, 1):
        yield from _cause(cause, report, examples=len(shown) == 1)
        if run_dir is not None and any(run_dir.glob(f"causes/{number}-*/bundle.json")):
            yield _line("try", f"parity reproduce {visible(str(run_dir / 'causes' / str(number)))}")
        yield Text()
    if len(report.causes) > len(shown):
        rest = ", ".join(visible(c.checkpoint) for c in report.causes[len(shown) :][:8])
        yield _line("and", f"{len(report.causes) - len(shown)} causes more: {rest}")
        yield Text()
    yield _headline(report, verdict)
    yield from _reasons(verdict)
    yield _line("requests", phrases.requests(report.requests, report.candidates))
    yield _line("fidelity", phrases.fidelity(report.fidelity))
    yield _line("compared", phrases.coverage(report))
    yield _line("canary", phrases.canary(report.canary))
    yield _line("gap", phrases.gap(report))
    yield from _quality(report)
    for note in report.notes[:MOST_NOTES]:
        yield _line("note", visible(note))
    if run_dir is not None:
        yield _line("report", visible(str(run_dir / "report.html")))


def _headline(report: Report, verdict: Verdict) -> Text:
    sides = (
        f"challenger `{visible(report.challenger.name)}` against reference "
        f"`{visible(report.reference.name)}`, {', '.join(report.dates)}"
    )
    found = f"{len(report.causes)} independent cause{'' if len(report.causes) == 1 else 's'}"
    text = Text(verdict.verdict, style=STYLES[verdict.verdict])
    return text.append(f"  {sides}: {found}", style="bold")


def _reasons(verdict: Verdict) -> Iterator[Text]:
    said = [reason for reason in verdict.reasons if reason.code not in _SAID]
    for reason in said[:MOST_REASONS]:
        yield _line(
            "because" if reason.verdict == verdict.verdict else "also", visible(reason.text)
        )
    if len(said) > MOST_REASONS:
        yield _line("also", f"{len(said) - MOST_REASONS} reasons more, in verdict.json")


def _quality(report: Report) -> Iterator[Text]:
    """Metrics, those for whom calibration is worse, and whether the replay ended early."""
    unknown: dict[str, list[str]] = {}
    for metric in report.metrics:
        if metric.difference is None and metric.decision == "informative":
            unknown.setdefault(metric.note, []).append(metric.name)
            continue
        judged = "" if metric.decision == "informative" else f": {metric.decision}"
        yield _line("metric", f"{metric.name} {phrases.metric(metric)}{judged.replace('_', ' ')}")
    for note, names in unknown.items():
        yield _line("metric", f"{', '.join(names)} unknown: {visible(note)}")
    if report.slices is not None:
        yield _line("slices", phrases.slices(report.slices))
        worse = [one for one in report.slices.figures if one.worse]
        for one in sorted(worse, key=lambda one: one.corrected_p)[:MOST_SLICES]:
            yield _line("slice", phrases.slice_figures(one))
    if report.stopping is not None:
        yield _line("stopped", phrases.stopping(report.stopping, report.requests.compared))


def _cause(cause: Cause, report: Report, *, examples: bool) -> Iterator[Text]:
    text = Text("DIVERGED", style=STYLES["DIVERGED"])
    yield text.append(
        f"  {visible(cause.checkpoint)} is where challenger `{visible(report.challenger.name)}` "
        f"leaves reference `{visible(report.reference.name)}`",
        style="bold",
    )
    if cause.diagnosis is not None:
        yield _line("why", visible(cause.diagnosis))
    if cause.weights and cause.diagnosis != "; ".join(cause.weights[:3]):
        yield _line("weights", phrases.weights(cause))
    if cause.segment:
        yield _line("within", ", ".join(visible(name) for name in cause.segment))
    yield _line("costs", phrases.costs(cause))
    yield _line("who", phrases.affected(cause, report))
    yield _line("allowed", phrases.allowed(cause))
    yield _line("inherits", phrases.inherits(cause))
    for example in cause.examples[: int(examples)]:
        yield _line("example", phrases.example(example))


def _line(label: str, text: str) -> Text:
    return Text("  ").append(label.ljust(_LABEL), style="dim").append(text)
