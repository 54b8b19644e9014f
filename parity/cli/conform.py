"""`parity conform`: does a stack keep the contract that everything else relies on?"""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli.options import PATH, config_option
from parity.options import date_from_text
from replay.errors import ConfigError


@click.command()
@click.argument("stack")
@click.option(
    "--date", "date_", required=True, metavar="YYYY-MM-DD", help="A logged day to try it on."
)
@click.option(
    "--requests", type=click.IntRange(min=2), default=24, show_default=True, help="How many."
)
@config_option
@click.option("--logs", type=PATH, metavar="DIR", help="Logged days, in place of the configured.")
def conform(
    *, stack: str, date_: str, requests: int, config: Path | None, logs: Path | None
) -> int:
    """Run every claim of the stack contract against STACK, on a few requests of a day.

    Exit code 0 when it keeps them all, 1 when it breaks one: a replay through it would mislead.
    """
    from parity.config import load_config
    from parity.render.visible import visible
    from replay.conformance import CLAIMS
    from replay.engine.process import StackProcess
    from replay.logs.parquet import open_day, read_shard

    loaded = load_config(config)
    spec = loaded.spec(stack)
    day = open_day(loaded.logs if logs is None else logs, date_from_text(date_))
    valid = (read_shard(shard).batch for shard in day.shards)
    batch = next((batch for batch in valid if batch.num_requests >= requests), None)
    if batch is None:
        raise ConfigError(
            f"no shard of {date_} holds {requests} valid requests.",
            where=str(day.root),
            fix="ask for fewer with --requests, or name another day",
        )
    broken = 0
    with StackProcess(spec) as opened:
        for claim in CLAIMS:
            violations = claim(opened, batch.slice(0, requests))
            broken += bool(violations)
            click.echo(f"{'BROKEN' if violations else 'kept':8}{claim.__name__.replace('_', ' ')}")
            for violation in violations:
                click.echo(f"        {visible(violation)}")
    return 1 if broken else 0
