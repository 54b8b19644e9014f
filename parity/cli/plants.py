"""`parity replay --plant list`: which known bugs can be put where."""

from __future__ import annotations

from collections.abc import Iterable

import click

from parity.config import Config
from parity.log_plants import LOG_KINDS
from parity.planting import AvailableKind, available
from parity.render.visible import visible
from parity.value_plants import VALUE_KINDS
from replay.engine.process import StackProcess

# Feature kinds can go into dozens of places; a screen shows the first ones and how many more.
SHOWN = 4


def list_plants(config: Config, challenger: str | None) -> int:
    """Print the kinds of a challenger with their places; without one, the kinds of any stack.

    Raises:
        ToolkitError: No such stack, or it can not be opened.
    """
    if challenger is None:
        for name, kind in VALUE_KINDS.items():
            click.echo(f"{name:20} value          {visible(kind.says)}")
        for name, misread in LOG_KINDS.items():
            click.echo(f"{name:20} log            {visible(misread.says)}; at log.<field>")
        click.echo("with --challenger STACK: where each can go, and the real faults of that stack")
        return 0
    with StackProcess(config.spec(challenger)) as stack:
        for line in lines(available(stack.checkpoints, stack.faults())):
            click.echo(line)
    return 0


def lines(kinds: Iterable[AvailableKind]) -> Iterable[str]:
    """Two lines a kind: what it does, and where it can be planted."""
    for kind in kinds:
        places = ", ".join(visible(name) for name in kind.checkpoints[:SHOWN])
        more = len(kind.checkpoints) - SHOWN
        yield f"{visible(kind.kind):20} {kind.where:14} {visible(kind.says)}"
        yield f"{'':20} at {places}{f' and {more} more' if more > 0 else ''}"
