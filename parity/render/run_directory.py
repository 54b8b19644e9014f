"""The files of a finished run; verdict.json is last, so a run that has it has everything."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console

from parity.judge.report import Report
from parity.judge.verdict import Verdict
from parity.judge.verdict_json import RunFacts, verdict_json
from parity.render.html import html_text
from parity.render.json import json_text
from parity.render.tables import figures_table
from parity.render.terminal import print_report

# Wide enough that a summary's lines stay whole in an editor.
_SUMMARY_WIDTH = 100


def write_run(run_dir: Path, report: Report, verdict: Verdict, run: RunFacts) -> None:
    """Write every file of a run, each of them whole or not at all.

    `features.parquet` and `checkpoints.parquet` (columns: tables.SCHEMA), `summary.txt`,
    `report.html`, and `verdict.json` after all others.

    Args:
        run_dir: Its directory, made when there is none.
        report: What was found.
        verdict: What was concluded, and by which rules.
        run: How it was run; in verdict.json and report.html only.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    causes = [cause.checkpoint for cause in report.causes]
    features = [f for f in report.checkpoints if f.stage in {"log", "feature"}]
    for name, figures in (
        ("features.parquet", features),
        ("checkpoints.parquet", report.checkpoints),
    ):
        sink = io.BytesIO()
        pq.write_table(figures_table(figures, causes), sink, write_page_checksum=True)
        write_whole(run_dir / name, sink.getvalue())
    write_whole(run_dir / "summary.txt", summary_text(report, verdict).encode())
    content = verdict_json(report, verdict, run)
    write_whole(run_dir / "report.html", html_text(report, verdict, content).encode())
    write_whole(run_dir / "verdict.json", json_text(content).encode())


def summary_text(report: Report, verdict: Verdict) -> str:
    """The terminal's report without colours."""
    file = io.StringIO()
    console = Console(file=file, width=_SUMMARY_WIDTH, color_system=None, force_terminal=False)
    print_report(console, report, verdict, run_dir=None)
    return file.getvalue()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a power cut, finds all of it or the one before."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp's 0600 would hide a report from its readers
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
