"""The report as one HTML file that opens offline: no script, style or picture from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from parity.judge.report import CheckpointFigures, Metric, Report
from parity.judge.verdict import Verdict
from parity.render import phrases
from parity.render.json import json_text
from parity.render.visible import visible

# The axis of a metric's picture: its interval and margin take this part of the width.
_SPAN = 0.9


def html_text(report: Report, verdict: Verdict, content: Mapping[str, Any]) -> str:
    """The whole page.

    Args:
        report: What was found.
        verdict: What was concluded.
        content: verdict.json's values; those of `run` stand at the end of the page.
    """
    causes = {cause.checkpoint for cause in report.causes}
    return _template().render(
        report=report,
        verdict=verdict,
        figures=[_figures(of, is_cause=of.checkpoint in causes) for of in report.checkpoints],
        metrics=[{"of": of, "picture": _picture(of)} for of in report.metrics],
        slices=_slices(report),
        report_digest=content["report_digest"],
        run=json_text(content["run"]),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("parity.render"),
        autoescape=True,  # Jinja2's default is off, and everything shown comes from logs
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.globals["say"] = phrases
    return environment.get_template("report.html.j2")


def _figures(of: CheckpointFigures, *, is_cause: bool) -> dict[str, Any]:
    """A row of the table: what is shown, and the numbers it is sorted by."""
    return {
        "of": of,
        "is_cause": is_cause,
        "share": of.differing / of.rows if of.rows else None,
        # On a square root a difference in one row of a thousand can still be seen.
        "width": round(100 * math.sqrt(of.differing / of.rows), 1) if of.rows else 0,
        "missing_reference": of.missing_reference / of.rows if of.rows else None,
        "missing_challenger": of.missing_challenger / of.rows if of.rows else None,
    }


def _slices(report: Report) -> list[dict[str, Any]]:
    """Fields with their slices; where both sides' calibration stands on one line from 0.5 to 2."""
    found: dict[str, list[dict[str, Any]]] = {}
    for of in report.slices.figures if report.slices is not None else ():
        found.setdefault(of.field, []).append(
            {"of": of, "reference": _place(of.reference), "challenger": _place(of.challenger)}
        )
    return [{"field": name, "rows": rows} for name, rows in found.items()]


def _place(calibration: float) -> float:
    """0 to 100 for half to twice the clicks, on a logarithm: over and under look alike."""
    if not calibration > 0:
        return 0.0
    return round(50 + 50 * min(1.0, max(-1.0, math.log2(calibration))), 2)


def _picture(of: Metric) -> dict[str, float] | None:
    """Where interval, difference and margin lie on a line from -1 to 1 around zero."""
    if of.difference is None or of.low is None or of.high is None:
        return None
    margin = of.margin or 0.0
    farthest = max(abs(of.low), abs(of.high), abs(of.difference), margin)
    scale = 50 * _SPAN / farthest if farthest > 0 else 0.0
    return {
        "low": round(50 + scale * of.low, 2),
        "high": round(50 + scale * of.high, 2),
        "difference": round(50 + scale * of.difference, 2),
        "margin": round(scale * margin, 2),
    }
