"""`parity stacks`: what can be replayed here."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import click

from parity.cli.options import config_option


@click.command()
@config_option
def stacks(*, config: Path | None) -> int:
    """List the stacks of parity.yaml, then those installed packages offer.

    A configured name goes before an installed one.
    """
    from parity.config import load_config
    from parity.render.visible import visible
    from replay.registry import ENTRY_POINT_GROUP

    loaded = load_config(config)
    rows = []
    for name, spec in loaded.specs().items():
        if spec.artifact is None:
            artifact = "no artifact"
        else:
            artifact = f"{spec.artifact}{'' if spec.artifact.exists() else ' (not there yet)'}"
        rows.append((name, spec.opener, artifact))
    installed = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    rows.extend(
        (point.name, point.value, "installed, opened without an artifact")
        for point in installed
        if point.name not in loaded.stacks
    )
    if not rows:
        click.echo("no stack is configured or installed; 'stacks' in parity.yaml names them")
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, opener, artifact in rows:
        line = f"{name:{widths[0]}}  {opener:{widths[1]}}  {artifact}"
        click.echo(visible(line))
    return 0
