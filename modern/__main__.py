"""`python -m modern train`, `train-bridge`, `export`, `serve` and more: outside of a replay."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from modern.bench.command import add_bench
from modern.bridge.command import add_train_bridge
from modern.export.command import add_export
from modern.serve.command import add_serve
from modern.transformer.precompute_command import add_precompute
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
    from modern.training.job import Running, plan_job, run_job
    from modern.training.outcome import table_of
    from modern.transformer.training_config import load_variant  # numpy and torch come with these

    config = load_variant(options.variant)
    asked = {
        "seed": options.seed,
        "epochs": options.epochs,
        "negative_rates": options.negative_rate and tuple(options.negative_rate),
        "frozen": options.freeze and tuple(options.freeze),
        "frozen_epochs": options.freeze_epochs,
    }
    changed = {name: value for name, value in asked.items() if value is not None}
    config = replace(config, training=replace(config.training, **changed))
    if options.tasks is not None:
        config = replace(config, transformer=replace(config.transformer, tasks=options.tasks))
    job = plan_job(
        options.logs,
        options.features,
        config,
        train=options.days,
        held_out=options.held_out,
        history=options.history,
        init_from=options.init_from,
    )
    outcome = run_job(
        job,
        options.out,
        say=lambda line: print(line, flush=True),
        running=Running(device=options.device, save_every_s=options.save_every),
    )
    if outcome.trained:
        print(f"{options.out} holds training {outcome.training_id}")
    else:
        print(f"{options.out} holds training {outcome.training_id} of these inputs: nothing to do")
    print(table_of(outcome))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from modern.training.predictions import write_predictions

    rows = write_predictions(
        options.artifact,
        options.logs,
        options.out,
        days=options.days,
        histories=options.histories,
        seed=options.seed,
    )
    print(f"{options.out}: {rows:,} labelled candidates")
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
        "--days", type=_days, metavar="A:B", help="train on these days (all before those held out)"
    )
    train.add_argument(
        "--held-out", type=_days, metavar="A:B", help="judge on these (the last day but one)"
    )
    train.add_argument("--seed", type=int, help="instead of the variant's (7)")
    train.add_argument("--epochs", type=int, help="at most so many, instead of the variant's (20)")
    train.add_argument(
        "--tasks", type=lambda text: tuple(text.split(",")), metavar="A,B", help="heads to train"
    )
    train.add_argument(
        "--negative-rate",
        type=float,
        action="append",
        help="learn from this share of the negatives; repeated, one a task in their order",
    )
    train.add_argument("--init-from", type=Path, help="artifact whose weights to start from")
    train.add_argument(
        "--freeze", action="append", metavar="MODULE", help="keep these loaded weights ..."
    )
    train.add_argument("--freeze-epochs", type=int, help="... for the first so many epochs")
    train.add_argument("--device", default="cpu", help="of torch (cpu)")
    train.add_argument(
        "--save-every", type=float, default=30.0, metavar="S", help="of a training killed (30)"
    )
    add_precompute(commands, day=_day)
    predict = commands.add_parser(
        "predict", help="write what an artifact predicts for labelled candidates"
    )
    predict.set_defaults(run=_predict)
    predict.add_argument("--artifact", type=Path, required=True, help="the transformer's folder")
    predict.add_argument("--logs", type=Path, required=True, help="folder with date=YYYY-MM-DD")
    predict.add_argument("--days", type=_days, required=True, metavar="A:B", help="of the log")
    predict.add_argument("--out", type=Path, required=True, help="a Parquet file")
    predict.add_argument(
        "--histories",
        default="own",
        help="own; others: another request's; shuffled: in other order",
    )
    predict.add_argument("--seed", type=int, default=0, help="of what is dealt out (0)")
    add_train_bridge(commands, days=_days)
    add_export(commands)
    add_serve(commands)
    add_bench(commands)
    return parser


def _days(text: str) -> tuple[date, date]:
    first, _, last = text.partition(":")
    return _day(first), _day(last or first)


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
