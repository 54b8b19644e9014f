"""`parity reproduce`: one cause's request once more; is the cause still there?"""

from __future__ import annotations

from pathlib import Path

import click

from parity.cli.main import BROKEN, say
from parity.cli.options import PATH, config_option, format_option
from replay.errors import ToolkitError
from replay.registry import StackSpec, find_spec


@click.command()
@click.argument("bundle", type=PATH)
@click.option(
    "--challenger", metavar="STACK", help="Try this stack in place of the bundle's challenger."
)
@click.option("--reference", metavar="STACK", help="The same of the reference.")
@config_option
@format_option
def reproduce(
    *,
    bundle: Path,
    challenger: str | None,
    reference: str | None,
    config: Path | None,
    format_: str,
) -> int:
    """Replay the one request of BUNDLE and say whether its cause is still there.

    BUNDLE is a folder of a run's causes, such as runs/2019-11-30-port-a1b2c3/causes/1. Exit code 1:
    it is still there; 0: it is mended; 3: nobody can tell, since the reference has changed. STACK
    is a name of the configuration, an installed one, or package.module:open_stack.

    A bundle names code that is imported and run: use those of runs you trust.
    """
    from parity.explain.reproduce import examine, open_bundle

    specs = {
        side: None if name is None else _spec(name, config)
        for side, name in (("challenger", challenger), ("reference", reference))
    }
    with open_bundle(
        bundle, challenger=specs["challenger"], reference=specs["reference"]
    ) as opened:
        try:
            outcome = examine(opened)
        except ToolkitError as error:
            say(error)
            return BROKEN
    if format_ == "json":
        from parity.judge.plain import plain_from
        from parity.render.json import json_text

        click.echo(json_text({**plain_from(outcome), "exit_code": outcome.exit_code}), nl=False)
    else:
        click.echo(outcome.text)
    return outcome.exit_code


def _spec(name: str, config: Path | None) -> StackSpec:
    """A stack by its configured name; without a configuration, an installed one or an opener."""
    from parity.config import DEFAULT_PATH, load_config

    if config is None and not DEFAULT_PATH.exists():
        return find_spec(name, {})
    return load_config(config).spec(name)
