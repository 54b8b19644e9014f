"""`parity calibrate`: how far honest arithmetic moves each checkpoint, measured and put into the plan."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.cli.options import PATH, config_option, format_option

if TYPE_CHECKING:  # they bring in numpy and pyarrow, which --help does not need
    from parity.calibrate import Calibration

REQUESTS = 64
# `\b` keeps click from filling the lines of a table.
EXIT_CODES = """\b
Exit codes:
  0  measured
  2  wrong use: no such stack, plan or day
  4  a stack failed
"""


@click.command(epilog=EXIT_CODES)
@click.option("--reference", required=True, metavar="STACK", help="Its steps are measured.")
@click.option("--challenger", required=True, metavar="STACK", help="Run against itself only.")
@click.option(
    "--date", "date_", metavar="YYYY-MM-DD", help="A logged day to measure on.  [default: the last]"
)
@click.option("--requests", type=click.IntRange(2, 512), default=REQUESTS, show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="What the challenger computes in.",
)
@click.option(
    "--write", is_flag=True, help="Keep the figures beside parity.yaml, named in the plan."
)
@config_option
@click.option("--logs", type=PATH, metavar="DIR", help="Logged days, in place of the configured.")
@format_option
def calibrate(
    *,
    reference: str,
    challenger: str,
    date_: str | None,
    requests: int,
    precision: str,
    write: bool,
    config: Path | None,
    logs: Path | None,
    format_: str,
) -> int:
    """Measure what rounding makes of each step, so that less than a fault is allowed.

    The reference's steps are disturbed by single roundings and recomputed in float64 where the
    stack can; both sides run again in other orders, sizes and threads. The challenger's difference
    from the reference is not looked at. The figures count once the plan names them: --write.
    """
    from parity.calibrate import PRECISIONS, alignment_to_measure
    from parity.calibrate import calibrate as measure
    from parity.calibrate.file import write_calibration
    from parity.cli.main import BROKEN, say
    from parity.cli.requests import few_requests
    from parity.config import DEFAULT_PATH, load_config
    from parity.plan_write import put_into_plan
    from replay.engine.process import StackProcess
    from replay.errors import StackError, WorkerError

    loaded = load_config(config)
    entry = loaded.plan_entry(reference, challenger)
    batch = few_requests(loaded, date_, logs, requests)
    path = DEFAULT_PATH if config is None else config
    name = f"{reference}-{challenger}".replace(":", ".").replace("/", ".")
    target = Path("calibration") / f"{name}.json"
    with (
        StackProcess(loaded.spec(reference)) as ours,
        StackProcess(loaded.spec(challenger)) as theirs,
    ):
        plan = entry.to_plan(measured=False)
        alignment = alignment_to_measure(ours.checkpoints, theirs.checkpoints, plan)
        try:
            found = measure(ours, theirs, batch, alignment, precision=PRECISIONS[precision])
        except (StackError, WorkerError) as error:
            say(error)
            return BROKEN
        if write:
            digest = write_calibration(
                path.resolve().parent / target,
                found,
                reference=ours.identity(),
                challenger=theirs.identity(),
            )
            place = next(k for k, one in enumerate(loaded.plans) if one is entry)
            values = {"file": target.as_posix(), "digest": digest}
            put_into_plan(path, place, "calibration", values, pair=(reference, challenger))
    _show(found, target if write else None, format_=format_)
    return 0


def _show(found: Calibration, written: Path | None, *, format_: str) -> None:
    from parity.render.json import json_text
    from parity.render.visible import visible

    if format_ == "json":
        click.echo(json_text(_content(found, written)), nl=False)
        return
    for line in _lines(found, written):
        click.echo(visible(line))


def _content(found: Calibration, written: Path | None) -> dict[str, Any]:
    from parity.noise import sampled_json

    return {
        "schema": "parity.calibration/1",
        "exit_code": 0,
        "precision": found.precision,
        "requests": found.requests,
        "candidates": found.candidates,
        "floors": {
            change: {"checkpoint": name, "units_of_noise": units}
            for change, (name, units) in found.floors.items()
        },
        "notes": list(found.notes),
        "tolerances": {name: sampled_json(entry) for name, entry in found.tolerances.items()},
        "written": None if written is None else written.as_posix(),
    }


def _lines(found: Calibration, written: Path | None) -> Iterator[str]:
    from parity.noise import Envelope

    yield (
        f"CALIBRATED  {len(found.tolerances)} checkpoints for {found.precision}, on "
        f"{found.requests} requests, {found.candidates:,} candidates"
    )
    for name, entry in found.tolerances.items():
        if isinstance(entry, Envelope):
            yield f"  {name:28} rms {entry.rms:.3g}, 99 % {entry.p99:.3g}, most {entry.most:.3g}"
            continue
        low, high = min(entry.noise), max(entry.noise)
        channels = len(entry.noise)
        shown = f"{high:.3g}" if channels == 1 else f"{low:.3g} to {high:.3g}, {channels} channels"
        yield f"  {name:28} {entry.margin:g} x {shown}"
    for change, (name, units) in found.floors.items():
        yield f"  floor      {change}: {name} moves by {units:.2g} x its noise"
    if not found.floors:
        yield "  floor      no bit moves under any harmless change"
    for note in found.notes:
        yield f"  note       {note}"
    if written is None:
        yield "  to count, they have to stand in the plan: --write puts them there"
    else:
        yield f"  written    {written.as_posix()}, named in the plan with its digest"
