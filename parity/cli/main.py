"""The `parity` command: thread counts first, then one command, then an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from parity.cli.lazy import LazyGroup
from replay.errors import ConfigError, ToolkitError
from replay.threads import fix_threads

WRONG_USE = 2  # found before the first request
BROKEN = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells say it

COMMANDS = {
    "replay": (
        "parity.cli.replay:replay",
        "Replay a logged day through two stacks and name where they part.",
    ),
    "ladder": (
        "parity.cli.ladder:ladder",
        "Climb a migration's rungs on one day, each judged by its own plan.",
    ),
    "gate": ("parity.cli.gate:gate", "May this artifact ship, on the evidence of a run?"),
    "reproduce": (
        "parity.cli.reproduce:reproduce",
        "Replay a cause's one request: is it still there?",
    ),
    "prove": (
        "parity.cli.prove:prove",
        "Prove two sides' trees equal on every input, or find one that tells them apart.",
    ),
    "drill": (
        "parity.cli.drill:drill",
        "Would a mistake in this challenger be named, and nothing else?",
    ),
    "align": (
        "parity.cli.align:align",
        "Propose which checkpoints of two stacks are the same.",
    ),
    "calibrate": (
        "parity.cli.calibrate:calibrate",
        "Measure how far honest arithmetic moves each checkpoint, for the plan.",
    ),
    "logs": ("parity.cli.logs:logs", "Import logged days."),
    "stacks": ("parity.cli.stacks:stacks", "List the stacks that can be replayed."),
    "conform": ("parity.cli.conform:conform", "Does a stack keep the contract of a stack?"),
}


# `\b` keeps click from filling the lines of a table.
EXIT_CODES = """\b
Exit codes:
  0    parity; the gate is open
  1    diverged; the gate refuses
  2    wrong use, found before the first request; nothing was written
  3    inconclusive: too little evidence
  4    a stack, the log or the tool failed
  130  interrupted, resumable
"""


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's signature
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"parity {version('parity-replay')}")
        except PackageNotFoundError:
            click.echo("parity, from a checkout that is not installed")
        context.exit()


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Replay logged requests through two ranking stacks, and name every place they part."""


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
    except OSError as error:
        say(error)
        return WRONG_USE
    except Exception:  # noqa: BLE001 - the last resort: Python's own exit code would read as DIVERGED
        import traceback

        traceback.print_exc()
        click.echo("parity itself failed; the lines above are for its authors.", err=True)
        return BROKEN
    return code if isinstance(code, int) else 0


def say(error: ToolkitError | OSError) -> None:
    """Print an error's what, where and fix to standard error, nothing in it acting."""
    from parity.render.visible import visible

    known = error if isinstance(error, ToolkitError) else _unusable(error)
    lines = str(known).split("\n")
    name = type(known).__name__
    click.echo(f"{name}: " + "\n".join(visible(line) for line in lines), err=True)


def _unusable(error: OSError) -> ConfigError:
    return ConfigError(
        f"the file system refuses: {error.strerror or error}.",
        where=str(error.filename or "a file of this command"),
        fix="check that the path exists, may be written, and that the disk has room",
    )
