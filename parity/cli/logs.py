"""`parity logs`: bring a log in, and see which days it has."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from replay.logs.imports import Counts, ImportedDay

_OUT = click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The log's folder; made where it is missing.",
)


class _Day(click.ParamType[date]):
    """A calendar day, YYYY-MM-DD and nothing else."""

    name = "YYYY-MM-DD"

    def convert(
        self, value: str | date, param: click.Parameter | None, ctx: click.Context | None
    ) -> date:
        if isinstance(value, date):
            return value
        try:
            day = date.fromisoformat(value)
        except ValueError:
            day = None
        if day is None or day.isoformat() != value:
            self.fail(f"{value!r} is not a day YYYY-MM-DD, such as 2026-01-05.", param, ctx)
        return day


@click.group()
def logs() -> None:
    """Import logs, and list their days."""


@logs.group("import")
def import_group() -> None:
    """Write a log as Parquet, a folder a day; a day that stands already is left alone."""


@import_group.command("obd")
@_OUT
def import_obd(out: Path) -> None:
    """Seven real days of the Open Bandit Dataset, 2019-11-24 to 30.

    Needs: pip install --no-deps obp==0.4.1
    """
    from replay.logs.open_bandit import import_open_bandit

    _print_imported(import_open_bandit(out))


@import_group.command("movielens")
@_OUT
def import_movielens_log(out: Path) -> None:
    """Real rating histories of MovieLens 100k, 1997-09-20 to 1998-04-22.

    Needs: pip install --no-deps recbole==1.2.1
    """
    from replay.logs.movielens import import_movielens

    _print_imported(import_movielens(out))


@import_group.command("synthetic")
@_OUT
@click.option("--days", default=7, show_default=True, help="Number of days.")
@click.option("--requests", default=2000, show_default=True, help="Requests a day.")
@click.option("--candidates", default=20, show_default=True, help="Candidates a request.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same log.")
@click.option("--start", type=_Day(), default="2026-01-05", show_default=True, help="First day.")
def import_synthetic_log(
    *, out: Path, days: int, requests: int, candidates: int, seed: int, start: date
) -> None:
    """A seeded ad log whose true click probabilities are known."""
    from replay.logs.synthetic import SyntheticLog, import_synthetic

    log = SyntheticLog(days=days, requests=requests, candidates=candidates, seed=seed, start=start)
    _print_imported(import_synthetic(out, log))


@logs.command("days")
@click.argument("folder", type=click.Path(path_type=Path))
def list_logged_days(folder: Path) -> None:
    """List the days of the log in FOLDER, with what they hold."""
    from replay.logs.imports import count_day
    from replay.logs.parquet import list_days

    counted = []
    for day in list_days(folder):
        counts = count_day(folder, day)
        click.echo(_line(day.isoformat(), counts))
        counted.append(counts)
    _print_total(counted)


def _print_imported(days: Iterable[ImportedDay]) -> None:
    counted = []
    for imported in days:
        line = _line(imported.day.isoformat(), imported.counts)
        click.echo(line if imported.written else f"{line}  (stood already)")
        counted.append(imported.counts)
    _print_total(counted)


def _print_total(counted: list[Counts]) -> None:
    from replay.logs.imports import total

    click.echo(_line("total", total(counted)) if counted else "no days")


def _line(label: str, counts: Counts) -> str:
    clicks = "no" if counts.clicks is None else f"{counts.clicks:,}"
    return (
        f"{label:<10}  {counts.requests:>9,} requests"
        f"  {counts.candidates:>12,} candidates  {clicks:>9} clicks"
    )
