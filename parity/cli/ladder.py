"""`parity ladder`: every rung of a migration on one day, in one table."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from parity.cli.options import PATH, config_option, format_option
from parity.options import ReplayOptions, date_from_text, default_workers

WIDTH = 160


@click.command()
@click.option("--date", "date_", required=True, metavar="YYYY-MM-DD", help="The day, in UTC.")
@click.option("--rungs", metavar="RANGE", help="Such as 0-7, 3 or 1,4-6.  [default: all]")
@config_option
@click.option("--logs", type=PATH, metavar="DIR", help="Logged days, in place of the configured.")
@click.option("--out", type=PATH, metavar="DIR", help="Where run directories go.")
@format_option
@click.option(
    "--sample",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=1.0,
    metavar="F",
    help="Replay a share of the requests on each rung, 0 < F <= 1, chosen by request hash.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Lanes of two processes.  [default: cores / 2]"
)
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, help="Of all that is drawn."
)
def ladder(
    *,
    date_: str,
    rungs: str | None,
    config: Path | None,
    logs: Path | None,
    out: Path | None,
    format_: str,
    sample: float,
    workers: int | None,
    seed: int,
) -> int:
    """Climb the rungs of parity.yaml on one logged day: one change each, each by its own plan.

    A rung that this machine can not run is listed with the reason, and decides nothing.
    """
    from rich.console import Console

    from parity.config import load_config
    from parity.ladder import Climbed, chosen, climb, exit_code
    from parity.render.json import json_text
    from parity.render.ladder import ladder_json, ladder_table

    loaded = load_config(config)
    day = date_from_text(date_)
    options = ReplayOptions(
        config=loaded,
        date=day,
        reference="",
        challenger="",
        logs=loaded.logs if logs is None else logs,
        out=loaded.runs if out is None else out,
        cache=loaded.cache,
        sample=sample,
        workers=default_workers() if workers is None else workers,
        seed=seed,
        command=("parity", *sys.argv[1:]),
    )

    def said(one: Climbed) -> None:
        sides = f"{one.rung.reference} -> {one.rung.challenger}"
        click.echo(f"rung {one.rung.rung}  {sides}: {one.name or 'not run'}", err=True)

    climbed = climb(options, chosen(loaded, rungs), said)
    if format_ == "json":
        click.echo(json_text(ladder_json(climbed, date=day.isoformat())), nl=False)
    else:
        # Where nobody's window limits it, a line holds a rung.
        console = Console()
        if not console.is_terminal:
            console = Console(width=WIDTH)
        console.print(ladder_table(climbed))
    return exit_code(climbed)
