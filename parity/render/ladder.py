"""The ladder as one table, and the same as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from parity.judge.plain import plain_from
from parity.judge.report import Metric, Report
from parity.judge.verdict import coverage_share
from parity.ladder import Climbed, exit_code
from parity.render import phrases
from parity.render.terminal import STYLES
from parity.render.visible import visible

SCHEMA = "parity.ladder/1"
MOST_CAUSES = 2


def ladder_table(climbed: Sequence[Climbed]) -> Table:
    """One line a rung: what changed, the verdict, and the figures it rests on."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="dim")
    for title in ("rung", "reference -> challenger", "kind", "verdict", "figures"):
        table.add_column(title, overflow="fold", no_wrap=title != "figures")
    for one in climbed:
        name = one.name
        verdict = Text("not run", style="dim") if name is None else Text(name, style=STYLES[name])
        table.add_row(
            str(one.rung.rung),
            f"{visible(one.rung.reference)} -> {visible(one.rung.challenger)}",
            one.kind,
            verdict,
            Text(figures_text(one)),
        )
    return table


def figures_text(of: Climbed) -> str:
    """The figures of a rung in a line, most useful first."""
    if of.not_run:
        return visible(of.not_run)
    if of.report is None:
        return visible("" if of.error is None else of.error.what)
    report = of.report
    if of.kind == "fidelity":
        return phrases.fidelity(report.fidelity)
    parts = []
    if report.causes:
        named = ", ".join(visible(cause.checkpoint) for cause in report.causes[:MOST_CAUSES])
        more = "" if len(report.causes) <= MOST_CAUSES else ", ..."
        parts.append(f"{len(report.causes)} cause{'s' * (len(report.causes) > 1)}: {named}{more}")
    parts.append(
        f"{len(report.coverage.compared)} checkpoints, {report.requests.compared:,} requests"
    )
    judged = [metric for metric in report.metrics if metric.decision != "informative"]
    if judged:
        parts += [_metric(metric) for metric in judged]
    else:
        parts.append(
            f"mean |dp| {phrases.number(report.gap.pctr)}, {report.gap.rank_flips:,} rank flips"
        )
        if report.gap.near_ties:
            parts[-1] += f", {report.gap.near_ties:,} near ties"
    return "; ".join(parts)


def ladder_json(climbed: Sequence[Climbed], *, date: str) -> dict[str, Any]:
    """What `--format json` prints; docs/ladder.md describes it."""
    return {
        "schema": SCHEMA,
        "date": date,
        "exit_code": exit_code(climbed),
        "rungs": [_rung(one) for one in climbed],
    }


def _rung(of: Climbed) -> dict[str, Any]:
    return {
        "rung": of.rung.rung,
        "title": of.rung.title,
        "reference": of.rung.reference,
        "challenger": of.rung.challenger,
        "kind": of.kind,
        "verdict": of.name,
        "not_run": of.not_run or None,
        "reasons": []
        if of.verdict is None
        else [plain_from(reason) for reason in of.verdict.reasons],
        "error": None if of.error is None else str(of.error),
        "figures": None if of.report is None else _figures(of.report),
        "run": None if of.run_dir is None else str(of.run_dir),
    }


def _figures(report: Report) -> dict[str, Any]:
    figures: dict[str, Any] = plain_from(
        {
            "requests": report.requests.compared,
            "candidates": report.candidates,
            "checkpoints": len(report.coverage.compared),
            "coverage": coverage_share(report),
            "fidelity": report.fidelity.status,
            "causes": tuple(cause.checkpoint for cause in report.causes),
            "gap": report.gap,
            "metrics": {
                metric.name: metric for metric in report.metrics if metric.difference is not None
            },
        }
    )
    return figures


def _metric(of: Metric) -> str:
    if of.difference is None:
        return f"{of.name} unknown"
    interval = "" if of.low in {None, of.difference} else f" [{of.low:+.3g}, {of.high:+.3g}]"
    return f"{of.name} {of.difference:+.3g}{interval} {of.decision.replace('_', ' ')}"
