"""`python -m modern precompute`: the old part of every user's history, encoded before a day begins."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date
from pathlib import Path


def add_precompute(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], *, day: Callable[[str], date]
) -> None:
    """Add the command; `day` reads one from the command line."""
    kept = commands.add_parser(
        "precompute", help="encode the old part of every user's history before a day begins"
    )
    kept.set_defaults(run=_precompute)
    kept.add_argument("--logs", type=Path, required=True, help="folder with date=YYYY-MM-DD")
    kept.add_argument("--date", type=day, required=True, help="day of the requests it is for")
    kept.add_argument("--artifact", type=Path, default=Path("artifacts/modern"))
    kept.add_argument("--out", type=Path, required=True, help="the store's folder, new")
    kept.add_argument("--user", default="user.user_id", help="logged field of the user's id")


def _precompute(options: argparse.Namespace) -> int:
    from modern.transformer.artifact import load_artifact
    from modern.transformer.precompute import precompute  # numpy and torch come with these

    artifact = load_artifact(options.artifact)
    done = precompute(artifact, options.logs, options.date, options.out, user_path=options.user)
    print(f"{done.users:,} users are known from before {options.date}")  # noqa: T201
    print(  # noqa: T201  # the command's own output
        f"{options.out} holds {done.steps:,} old steps of {done.entries:,} users for requests of "
        f"{options.date}"
    )
    return 0
