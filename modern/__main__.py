"""`python -m modern train`, `serve`, `bench`: what is done with the transformer outside of a replay."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from modern.bench.command import add_bench
from modern.serve.command import add_serve
from replay.errors import ToolkitError
from replay.threads import fix_threads


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0, or 2 for wrong use and what can not be read (one error: what, where, fix), or 130.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except ToolkitError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written.", file=sys.stderr)
        return 130


def _train(options: argparse.Namespace) -> int:
    from modern.config import load_variant  # numpy and torch come with these
    from modern.train import plan_job, run_job, table_of

    first, last = options.days or (None, None)
    config = load_variant(options.variant)
    config = replace(
        config, training=replace(config.training, seed=options.seed, epochs=options.epochs)
    )
    job = plan_job(
        options.logs,
        options.features,
        config,
        first=first,
        last=last,
        held_out=options.held_out,
        history=options.history,
    )
    outcome = run_job(job, options.out, say=lambda line: print(line, flush=True))
    if outcome.trained:
        print(f"{options.out} holds training {outcome.training_id}")
    else:
        print(f"{options.out} holds training {outcome.training_id} of these inputs: nothing to do")
    print(table_of(outcome))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m modern", description=__doc__)
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser(
        "train", help="fit the transformer to logged days and write its artifact"
    )
    train.set_defaults(run=_train)
    train.add_argument("--logs", type=Path, required=True, help="folder with date=YYYY-MM-DD")
    train.add_argument("--features", type=Path, required=True, help="features.json to read by")
    train.add_argument(
        "--history", type=Path, help="step features that extend it (modern/feature_sets/*.json)"
    )
    train.add_argument(
        "--variant", default="shared", help="name in modern/variants, or a JSON file (shared)"
    )
    train.add_argument("--out", type=Path, required=True, help="the artifact's folder")
    train.add_argument(
        "--days", type=_days, metavar="A:B", help="train on these days (all before the held-out)"
    )
    train.add_argument(
        "--held-out", type=_day, metavar="D", help="judge on this day (the last but one)"
    )
    train.add_argument("--seed", type=int, default=7)
    train.add_argument("--epochs", type=int, default=20, help="at most so many (20)")
    add_serve(commands)
    add_bench(commands)
    return parser


def _days(text: str) -> tuple[date, date]:
    first, separator, last = text.partition(":")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not A:B, such as 2019-11-24:2019-11-28")
    return _day(first), _day(last)


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # Python reads 20191124 too; only the round trip proves YYYY-MM-DD.
    if day is None or day.isoformat() != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no day, such as 2019-11-29")
    return day


if __name__ == "__main__":
    fix_threads()
    sys.exit(main())
