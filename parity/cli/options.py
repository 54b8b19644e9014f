"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)

config_option = click.option(
    "--config", type=PATH, metavar="FILE", help="Configuration.  [default: parity.yaml]"
)
format_option = click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json prints the result alone on standard output.",
)
