"""`python -m modern train-bridge`: the legacy model with a transformer beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path


def add_train_bridge(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    *,
    days: Callable[[str], tuple[date, date]],
) -> None:
    """Add the command to a command line; `days` reads A:B."""
    bridge = commands.add_parser(
        "train-bridge", help="the legacy model, and a transformer that adds to its log-odds"
    )
    bridge.set_defaults(run=_train_bridge)
    bridge.add_argument("--logs", type=Path, required=True, help="folder with date=YYYY-MM-DD")
    bridge.add_argument("--legacy", type=Path, default=Path("artifacts/legacy"))
    bridge.add_argument(
        "--history", type=Path, help="step features to read besides (modern/feature_sets/*.json)"
    )
    bridge.add_argument("--out", type=Path, required=True, help="the bridge's folder")
    bridge.add_argument("--variant", default="shared", help="sizes of what is added (shared)")
    bridge.add_argument(
        "--days", type=days, metavar="A:B", help="train on these days (all before those held out)"
    )
    bridge.add_argument(
        "--held-out", type=days, metavar="A:B", help="judge on these (the last day but one)"
    )
    bridge.add_argument("--seed", type=int, help="instead of the variant's")
    bridge.add_argument("--epochs", type=int, help="at most so many, instead of the variant's")
    bridge.add_argument(
        "--untrained", action="store_true", help="as it is before: the port, bit for bit"
    )


def _train_bridge(options: argparse.Namespace) -> int:
    from modern.bridge.train import train_bridge  # numpy and torch come with it
    from modern.transformer.training_config import load_variant

    config = load_variant(options.variant)
    asked = {n: getattr(options, n) for n in ("seed", "epochs") if getattr(options, n) is not None}
    config = replace(config, training=replace(config.training, **asked))
    outcome = train_bridge(
        options.logs,
        options.legacy,
        config,
        options.out,
        train=options.days,
        held_out=options.held_out,
        history=options.history,
        untrained=options.untrained,
        say=_say,
    )
    lines = [f"held out {outcome.held_out}: {outcome.port.rows:,} labelled candidates"]
    for name, found in (("port", outcome.port), ("bridge", outcome.bridge)):
        shown = ("undefined" if f is None else f"{f:.4f}" for f in (found.ne, found.auc))
        lines.append(f"{name:8} NE {next(shown)}  AUC {next(shown)}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
