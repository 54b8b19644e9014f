"""`python -m legacy`: train the stack, and export it for the C++ scorer."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replay.threads import fix_threads

fix_threads()

import click  # noqa: E402  # after the threads are fixed: what follows loads numpy

from replay.errors import ConfigError, ToolkitError  # noqa: E402  # as above

if TYPE_CHECKING:
    from legacy.train import Span


@click.group()
def main() -> None:
    """The stack to leave: XGBoost leaves into a TensorFlow logistic regression."""


@main.command("train")
@click.option("--logs", type=click.Path(path_type=Path), required=True, help="Logged days.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The artifact.")
@click.option(
    "--features",
    default="open_bandit",
    show_default=True,
    help="A feature set of this package (open_bandit, movielens, synthetic), or a JSON file.",
)
@click.option("--days", help="FIRST:LAST, as YYYY-MM-DD. Default: all before the held-out day.")
@click.option("--held-out", help="YYYY-MM-DD, or FIRST:LAST. Default: the last day but one.")
@click.option("--seed", default=7, show_default=True, help="Of the trees and the split.")
def train_command(
    *, logs: Path, out: Path, features: str, days: str | None, held_out: str | None, seed: int
) -> None:
    """Train on logged days; the last day is left for replay."""
    from legacy.train import Training, choose_days, text_of_days, train

    chosen, kept = choose_days(
        logs,
        None if days is None else _span(days, option="--days"),
        None if held_out is None else _span(held_out, option="--held-out"),
    )
    click.echo(f"training on {text_of_days(chosen)}, holding out {text_of_days(kept)}")
    trained = train(
        Training(logs=logs, out=out, features=features, days=chosen, held_out=kept, seed=seed),
        say=click.echo,
    )
    click.echo(_table(trained.metrics))


@main.command("export")
@click.option("--artifact", type=click.Path(path_type=Path), required=True, help="Its folder.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The scorer's file.")
def export_command(artifact: Path, out: Path) -> None:
    """Write the one file that the C++ scorer maps."""
    from legacy.export import export

    export(artifact, out)
    click.echo(f"wrote {out}")


@main.command("export-onnx")
@click.option("--artifact", type=click.Path(path_type=Path), required=True, help="Its folder.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The ONNX file.")
def export_onnx_command(artifact: Path, out: Path) -> None:
    """Write the trees and their leaves' weights as an ONNX graph."""
    from legacy.export_onnx import export_onnx

    export_onnx(artifact, out)
    click.echo(f"wrote {out}")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not a day.", where="the command line", fix="write YYYY-MM-DD"
        ) from error


def _span(text: str, *, option: str) -> Span:
    from legacy.train import Span

    first, _, last = text.partition(":")
    span = Span(_day(first), _day(last or first))
    if span.last < span.first:
        raise ConfigError(f"{text!r} ends before it starts.", where=option, fix="write FIRST:LAST")
    return span


def _table(metrics: dict[str, Any]) -> str:
    lines = [f"held out {metrics['held_out']}     NE      AUC  calibration"]
    for name in ("prior", "legacy"):
        own = metrics[name]
        shown = [
            "-" if own[key] is None else f"{own[key]:.4f}" for key in ("ne", "auc", "calibration")
        ]
        lines.append(f"{name:<19}{shown[0]:>7}  {shown[1]:>7}  {shown[2]:>11}")
    lines.append(f"{metrics['legacy']['rows']:,} rows, {metrics['legacy']['clicks']:,} clicks")
    return "\n".join(lines)


def run() -> None:
    """Run the command line; errors are printed, not traced."""
    try:
        main(prog_name="python -m legacy")
    except ToolkitError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    run()
