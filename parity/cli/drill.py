"""`parity drill`: would a mistake in this challenger be named, and nothing else?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from parity.cli.main import BROKEN, say
from parity.cli.options import PATH, config_option, format_option
from replay.errors import ConfigError, LogError, ToolkitError

# `\b` keeps click from filling the lines of a table.
EXIT_CODES = """\b
Exit codes:
  0  every mistake above the noise floor is named, and nothing else; none is explained wrongly
  1  one is missed or explained wrongly, a wrong place is named, or a benign variation raises an alarm
  2  wrong use
  3  no mistake could be planted above the floor
  4  a stack failed with nothing planted
"""


@click.command(epilog=EXIT_CODES)
@click.option("--date", "date_", required=True, metavar="YYYY-MM-DD", help="A logged day, in UTC.")
@click.option("--reference", required=True, metavar="STACK", help="The side we trust.")
@click.option("--challenger", required=True, metavar="STACK", help="The side that is drilled.")
@config_option
@click.option("--logs", type=PATH, metavar="DIR", help="Logged days, in place of the configured.")
@format_option
@click.option(
    "--requests",
    type=click.IntRange(min=8),
    default=128,
    show_default=True,
    help="Sampled requests.",
)
@click.option(
    "--places",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Places a real mistake.",
)
@click.option(
    "--pairs", type=click.IntRange(min=0), default=40, show_default=True, help="Planted together."
)
@click.option(
    "--triples", type=click.IntRange(min=0), default=30, show_default=True, help="Planted together."
)
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, help="Of all that is drawn."
)
def drill(
    *,
    date_: str,
    reference: str,
    challenger: str,
    config: Path | None,
    logs: Path | None,
    format_: str,
    requests: int,
    places: int,
    pairs: int,
    triples: int,
    seed: int,
) -> int:
    """Plant a catalogue of mistakes into the challenger, and count what is named of them.

    Mistakes are planted one by one, then two and three at a time: as the challenger's own faults
    in code, configuration or artifact, as a misread log, and as changed values. Changes that must
    not matter (batch size, order, padding, threads) are tried as well.
    """
    from parity.config import load_config
    from parity.drill.counts import exit_code
    from parity.drill.drill import DrillOptions, run_drill
    from parity.drill.table import content, lines
    from parity.options import date_from_text
    from parity.render.json import json_text
    from parity.render.visible import visible

    loaded = load_config(config)
    options = DrillOptions(
        config=loaded,
        date=date_from_text(date_),
        reference=reference,
        challenger=challenger,
        logs=loaded.logs if logs is None else logs,
        requests=requests,
        places=places,
        pairs=pairs,
        triples=triples,
        seed=seed,
    )
    try:
        drilled = run_drill(options, say=_progress())
    except (ConfigError, LogError):
        raise
    except ToolkitError as error:
        say(error)
        return BROKEN
    if format_ == "json":
        click.echo(json_text(content(drilled)), nl=False)
    else:
        for line in lines(drilled):
            click.echo(visible(line))
    return exit_code(drilled)


def _progress() -> Callable[[str], None]:
    """One line on standard error while it is a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda text: click.echo(f"\r\x1b[K{text[:100]}", nl=False, err=True)
