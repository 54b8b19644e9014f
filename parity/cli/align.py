"""`parity align`: which checkpoints of two stacks that share no names are probably the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parity.cli.options import PATH, config_option, format_option

if TYPE_CHECKING:  # they bring in numpy and pyarrow, which --help does not need
    from parity.compare.match_stacks import Aligned
    from parity.compare.matching import Match, Proposal

INCOMPLETE = 3
# `\b` keeps click from filling the lines of a table.
EXIT_CODES = """\b
Exit codes:
  0  everything is matched, or explained
  2  wrong use: no such stack, plan or day
  3  something stays unmatched, or unsure
  4  a stack failed
"""
REQUESTS = 32
# Names on a line; --format json has them all.
SHOWN = 6


@click.command(epilog=EXIT_CODES)
@click.option("--reference", required=True, metavar="STACK", help="The side whose names are kept.")
@click.option("--challenger", required=True, metavar="STACK", help="The side to be matched.")
@click.option(
    "--date",
    "date_",
    metavar="YYYY-MM-DD",
    help="A logged day; values of up to 32 of its requests are the witness.  [default: the last]",
)
@click.option("--no-values", is_flag=True, help="Use graphs and names only; no log is read.")
@click.option("--write", is_flag=True, help="Put the renames into the plan of parity.yaml.")
@click.option("--include-unsure", is_flag=True, help="Write and count unsure proposals as well.")
@config_option
@click.option("--logs", type=PATH, metavar="DIR", help="Logged days, in place of the configured.")
@format_option
def align(
    *,
    reference: str,
    challenger: str,
    date_: str | None,
    no_values: bool,
    write: bool,
    include_unsure: bool,
    config: Path | None,
    logs: Path | None,
    format_: str,
) -> int:
    """Propose which checkpoints of two stacks are the same, and say why.

    Equal names and the plan's renames are taken as they are. The rest is matched by structure,
    by names, and by the values that both sides record for a few logged requests. A proposal counts
    once it stands in the plan's renames: --write puts the sure ones there. docs/align.md has more.
    """
    from parity.cli.main import BROKEN, say
    from parity.cli.requests import few_requests
    from parity.compare.match_stacks import align_stacks
    from parity.config import DEFAULT_PATH, load_config
    from parity.plan_write import put_into_plan
    from replay.engine.process import StackProcess
    from replay.errors import StackError, WorkerError

    loaded = load_config(config)
    entry = loaded.plan_entry(reference, challenger)
    batch = None if no_values else few_requests(loaded, date_, logs, REQUESTS)
    with (
        StackProcess(loaded.spec(reference)) as ours,
        StackProcess(loaded.spec(challenger)) as theirs,
    ):
        try:
            found = align_stacks(ours, theirs, batch, entry.to_plan())
        except (StackError, WorkerError) as error:
            say(error)
            return BROKEN
    proposal = found.proposal
    renames = proposal.renames(include_unsure=include_unsure)
    if write and renames:
        place = next(k for k, one in enumerate(loaded.plans) if one is entry)
        path = DEFAULT_PATH if config is None else config
        put_into_plan(path, place, "renames", renames, pair=(reference, challenger))
    is_complete = proposal.is_complete(include_unsure=include_unsure)
    _show(found, renames, is_written=write, is_complete=is_complete, format_=format_)
    return 0 if is_complete else INCOMPLETE


def _show(
    found: Aligned, renames: dict[str, str], *, is_written: bool, is_complete: bool, format_: str
) -> None:
    from parity.render.json import json_text
    from parity.render.visible import visible

    if format_ == "json":
        content = _content(found, renames, is_written=is_written, is_complete=is_complete)
        click.echo(json_text(content), nl=False)
        return
    for line in _lines(found, renames, is_written=is_written, is_complete=is_complete):
        click.echo(visible(line))


def _content(
    found: Aligned, renames: dict[str, str], *, is_written: bool, is_complete: bool
) -> dict[str, Any]:
    from parity.judge.plain import plain_from

    proposal = found.proposal
    return {
        "schema": "parity.alignment/1",
        "exit_code": 0 if is_complete else INCOMPLETE,
        "requests": found.requests,
        "fixed": dict(proposal.fixed),
        "matches": [plain_from(match) for match in proposal.matches],
        "unmatched": [plain_from(one) for one in proposal.unmatched],
        "renames": renames,
        "needs_tolerance": list(found.needs_tolerance),
        "written": is_written and bool(renames),
    }


def _lines(
    found: Aligned, renames: dict[str, str], *, is_written: bool, is_complete: bool
) -> Iterator[str]:
    from parity.plan_write import yaml_lines

    proposal = found.proposal
    sure = [match for match in proposal.matches if match.sure]
    unsure = [match for match in proposal.matches if not match.sure]
    yield (
        f"{'ALIGNED' if is_complete else 'INCOMPLETE'}  {len(proposal.fixed)} matched already, "
        f"{len(sure)} proposed, {len(unsure)} unsure, {_unmatched(proposal)}"
    )
    for title, matches in (("sure", sure), ("unsure", unsure)):
        for match in matches:
            yield from _match_lines(title, match)
    yield from _unmatched_lines(proposal)
    for name in found.needs_tolerance:
        yield f"  tolerance  {name} has none yet: neither side declares its rounding, state one in the plan"
    if renames and is_written:
        yield f"  written    {len(renames)} renames into the plan"
    elif renames:
        yield "  to count, they have to stand in the plan (--write puts them there):"
        yield from (f"    {line}" for line in yaml_lines("renames", renames).splitlines())
    if unsure and len(renames) < len(proposal.matches):
        yield "  unsure ones are written with --include-unsure; check them first"


def _match_lines(title: str, match: Match) -> Iterator[str]:
    yield f"  {title:10} {match.challenger} is {match.reference} ({match.score:.2f})"
    yield f"             {match.values}"
    yield f"             {match.structure}; {match.name}"


def _unmatched_lines(proposal: Proposal) -> Iterator[str]:
    """One line a reason."""
    names: dict[tuple[bool, str, str], list[str]] = {}
    for one in proposal.unmatched:
        names.setdefault((one.explained, one.side, one.reason), []).append(one.name)
    for (explained, side, reason), found in sorted(names.items(), key=lambda item: item[0][0]):
        title = "explained" if explained else "unmatched"
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield f"  {title:10} {side} {', '.join(found[:SHOWN])}{more}: {reason}"
    alone = (u for u in proposal.unmatched if u.side == "reference" and not u.by_plan)
    if any(one.explained for one in alone):
        yield (
            "  what the reference alone has is not compared and lowers coverage, unless the "
            "plan's left_out says why"
        )


def _unmatched(proposal: Proposal) -> str:
    explained = sum(one.explained for one in proposal.unmatched)
    return f"{len(proposal.unmatched) - explained} unmatched, {explained} explained"
