"""`parity replay`: a day, two stacks, a verdict."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from parity.cli.main import BROKEN, INTERRUPTED, WRONG_USE, say
from parity.cli.options import PATH, config_option, format_option
from parity.options import (
    EngineName,
    Listener,
    Progress,
    ReplayOptions,
    date_from_text,
    default_workers,
    plant_from_text,
)
from replay.errors import ConfigError, ToolkitError


def _share(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0 < value <= 1:  # also of NaN, which a range would let through
        raise click.BadParameter(f"{value} is not in 0 < F <= 1.")
    return value


@click.command()
@click.option("--date", "date_", metavar="YYYY-MM-DD", help="The day to replay, in UTC.")
@click.option("--reference", metavar="STACK", help="The side we trust.")
@click.option("--challenger", metavar="STACK", help="The side that wants to replace it.")
@config_option
@click.option("--logs", type=PATH, metavar="DIR", help="Logged days, in place of the configured.")
@click.option("--out", type=PATH, metavar="DIR", help="Where run directories go.")
@format_option
@click.option(
    "--plant",
    "plants",
    multiple=True,
    metavar="KIND:CHECKPOINT",
    help="Put a known bug into the challenger; repeatable. `list` shows what there is.",
)
@click.option(
    "--sample",
    type=float,
    default=1.0,
    metavar="F",
    callback=_share,
    help="Replay a share of the requests, 0 < F <= 1, chosen by request hash.",
)
@click.option(
    "--stop-early",
    is_flag=True,
    help="End as soon as the evidence decides, at a level that holds whenever one looks.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="A row that is not valid ends the replay; else it is rejected, counted and shown.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What runs the shards.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Lanes of two processes.  [default: cores / 2]"
)
@click.option("--no-canary", is_flag=True, help="Plant no canary; the verdict says so.")
@click.option("--no-cache", is_flag=True, help="Neither use nor keep the reference's traces.")
@click.option("--resume", type=PATH, metavar="RUN", help="Go on with an interrupted run.")
@click.option(
    "--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, help="Of all that is drawn."
)
def replay(
    *,
    date_: str | None,
    reference: str | None,
    challenger: str | None,
    config: Path | None,
    logs: Path | None,
    out: Path | None,
    format_: str,
    plants: tuple[str, ...],
    sample: float,
    stop_early: bool,
    strict: bool,
    engine: EngineName,
    workers: int | None,
    no_canary: bool,
    no_cache: bool,
    resume: Path | None,
    seed: int,
) -> int:
    """Replay a logged day through two stacks and name where they part.

    STACK is a name of parity.yaml, an installed one, or package.module:open_stack.
    """
    from parity.config import load_config

    loaded = load_config(config)
    if "list" in plants:
        from parity.cli.plants import list_plants

        return list_plants(loaded, challenger)
    if stop_early and sample < 1:
        raise ConfigError(
            "--stop-early and --sample are both given.",
            where="the command line",
            fix="choose one: --stop-early takes requests by hash itself, until they are enough",
        )
    known = f"a stack: {', '.join(loaded.stacks) or 'package.module:open_stack'}"
    options = ReplayOptions(
        config=loaded,
        date=date_from_text(_needed(date_, "--date", "a day, such as --date 2019-11-30")),
        reference=_needed(reference, "--reference", known),
        challenger=_needed(challenger, "--challenger", known),
        logs=loaded.logs if logs is None else logs,
        out=loaded.runs if out is None else out,
        cache=None if no_cache else loaded.cache,
        plants=tuple(plant_from_text(text) for text in plants),
        sample=sample,
        stop_early=stop_early,
        strict=strict,
        engine=engine,
        workers=default_workers() if workers is None else workers,
        canary=not no_canary,
        resume=resume,
        seed=seed,
        command=("parity", *sys.argv[1:]),
    )
    return _run(options, format_)


def _run(options: ReplayOptions, format_: str) -> int:
    """Replay, and tell apart what fails before the first request from what fails after."""
    from dataclasses import replace

    from parity.runner import replay_day

    heard = Progress(phase="open")
    with _progress() as shown:

        def listen(progress: Progress) -> None:
            nonlocal heard
            heard = progress
            shown(progress)

        try:
            report, verdict, run_dir = replay_day(replace(options, listener=listen))
        except (ToolkitError, OSError) as error:
            say(error)
            return WRONG_USE if heard.phase == "open" else BROKEN
        except KeyboardInterrupt:
            _say_interrupted(options, heard)
            return INTERRUPTED
    from rich.console import Console

    from parity.render.terminal import print_report

    print_report(Console(stderr=format_ == "json"), report, verdict, run_dir=run_dir)
    if format_ == "json":
        click.echo((run_dir / "verdict.json").read_text(encoding="utf-8"), nl=False)
    return verdict.exit_code


def _needed(value: str | None, option: str, example: str) -> str:
    if not value:
        raise ConfigError(f"{option} is missing.", where="the command line", fix=f"give {example}")
    return value


def _say_interrupted(options: ReplayOptions, heard: Progress) -> None:
    click.echo("interrupted.", err=True)
    if heard.run_dir is not None:
        command = [*options.command]
        if "--resume" not in command:
            command += ["--resume", str(heard.run_dir)]
        click.echo(f"  resumable: {shlex.join(command)}", err=True)


@contextmanager
def _progress() -> Iterator[Listener]:
    """A bar on standard error while it is a terminal; nothing otherwise."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("open", total=None)
        yield lambda progress: bar.update(
            task,
            description=progress.phase,
            completed=progress.done,
            total=progress.total or None,
        )
