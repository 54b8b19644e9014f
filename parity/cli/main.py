"""The `parity` command: thread counts first, then one command, then an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from parity.cli.lazy import LazyGroup
from replay.errors import ToolkitError
from replay.threads import fix_threads

WRONG_USE = 2  # found before the first request
BROKEN = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells say it

COMMANDS = {
    "replay": (
        "parity.cli.replay:replay",
        "Replay a logged day through two stacks and name where they part.",
    ),
    "gate": ("parity.cli.gate:gate", "May this artifact ship, on the evidence of a run?"),
    "logs": ("parity.cli.logs:logs", "Import logged days."),
    "stacks": ("parity.cli.stacks:stacks", "List the stacks that can be replayed."),
}


@click.group(
    cls=LazyGroup, places=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="parity-replay", prog_name="parity")
def cli() -> None:
    r"""Replay logged requests through two ranking stacks, and name every place they part.

    \b
    Exit codes: 0 parity, 1 diverged or refused, 2 wrong use (nothing was replayed),
    3 inconclusive, 4 a stack, the log or the tool failed, 130 interrupted, resumable.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; errors are said, not traced."""
    fix_threads()
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="parity",
            standalone_mode=False,
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except ToolkitError as error:
        say(error)
        return WRONG_USE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) is gone: there is nobody to tell, and the exit must not try to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG_USE
    return code if isinstance(code, int) else 0


def say(error: ToolkitError) -> None:
    """Print an error's what, where and fix to standard error, nothing in it acting."""
    from parity.render.visible import visible

    lines = str(error).split("\n")
    name = type(error).__name__
    click.echo(f"{name}: " + "\n".join(visible(line) for line in lines), err=True)
