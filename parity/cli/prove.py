"""`parity prove`: are two sides' trees equal on every input, logged or not?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parity.cli.main import BROKEN, say
from parity.cli.options import config_option, format_option
from replay.errors import ConfigError, ToolkitError

if TYPE_CHECKING:  # they bring in numpy and pyarrow, which --help does not need
    from parity.config import Config
    from parity.explain.prove import Proof
    from parity.options import PlantOption
    from replay.engine.process import StackProcess
    from replay.registry import StackSpec


# `\b` keeps click from filling the lines of a table.
EXIT_CODES = """\b
Exit codes:
  0  equal on every input
  1  a counterexample was found
  2  wrong use: such as a stack that shows no trees
  3  undecided
  4  a stack failed
"""


@click.command(epilog=EXIT_CODES)
@click.option("--reference", required=True, metavar="STACK", help="The side we trust.")
@click.option("--challenger", required=True, metavar="STACK", help="The side to be proven equal.")
@config_option
@format_option
@click.option(
    "--plant",
    "plants",
    multiple=True,
    metavar="KIND:CHECKPOINT",
    help="Put a known bug into the challenger's trees; repeatable. `list` shows what there is.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Pairs of nodes after which two trees of other splits are undecided.  [default: 1000000]",
)
def prove(
    *,
    reference: str,
    challenger: str,
    config: Path | None,
    format_: str,
    plants: tuple[str, ...],
    limit: int | None,
) -> int:
    """Prove that two sides' trees give the same leaves on every input, or find one that tells.

    Both sides' trees are compared cell by cell, and both sides' own code is run at every
    threshold, one ulp either side of it, and every missing branch: in time that grows with the
    number of nodes, without any log. docs/prove.md says what is proven, and what assumed.
    """
    from parity.config import load_config
    from parity.explain.prove import prove as prove_trees
    from parity.explain.prove_cells import MAX_PAIRS
    from parity.options import plant_from_text
    from replay.engine.process import StackProcess

    loaded = load_config(config)
    if "list" in plants:
        return _list_plants(loaded, challenger)
    planted = tuple(plant_from_text(text) for text in plants)
    with ExitStack() as opened:
        specs = loaded.spec(reference), _planted(loaded.spec(challenger), planted)
        sides = [opened.enter_context(StackProcess(spec)) for spec in specs]
        _check_plants(sides[1], planted)
        for stack in sides:
            _check_trees(stack)
        try:
            proof = prove_trees(
                *sides,
                renames=_renames(loaded, reference, challenger),
                limit=MAX_PAIRS if limit is None else limit,
            )
        except ConfigError:
            raise
        except ToolkitError as error:
            say(error)
            return BROKEN
    _show(proof, sides, plants, format_)
    return proof.exit_code


def _show(
    proof: Proof, sides: Sequence[StackProcess], plants: tuple[str, ...], format_: str
) -> None:
    from parity.explain.prove_words import HEADLINES, headline, lines
    from parity.judge.plain import plain_from
    from parity.render.json import json_text
    from parity.render.visible import visible

    if format_ == "json":
        content = {
            "schema": "parity.proof/1",
            "exit_code": proof.exit_code,
            "plants": list(plants),
            "identities": {
                role: stack.identity().to_json()
                for role, stack in zip(("reference", "challenger"), sides, strict=True)
            },
            **plain_from(proof),
        }
        click.echo(json_text(content), nl=False)
        return
    colour = {"equal": "green", "counterexample": "red", "undecided": "yellow"}[proof.outcome]
    click.secho(HEADLINES[proof.outcome], fg=colour, bold=True, nl=False)
    click.echo(f"  {visible(headline(proof))}")
    for line in lines(proof):
        click.echo(visible(line))
    if plants:
        click.echo(f"  planted    {visible(', '.join(plants))}")


def _planted(spec: StackSpec, plants: Sequence[PlantOption]) -> StackSpec:
    from parity.opening import PLANTING
    from replay.registry import Wrapper

    if not plants:
        return spec
    listed = [{"kind": plant.kind, "checkpoint": plant.checkpoint} for plant in plants]
    wrapper = Wrapper(function=PLANTING, arguments={"plants": listed})
    return replace(spec, wrappers=(*spec.wrappers, wrapper))


def _check_trees(stack: StackProcess) -> None:
    if not stack.exposes_trees:
        raise ConfigError(
            f"stack {stack.name!r} shows no trees: there is nothing to prove.",
            where="replay.capabilities.ExposesTrees",
            fix="give it tree_features, split_points, leaves and tree_structure, or compare it on "
            "a logged day: parity replay",
        )


def _check_plants(stack: StackProcess, plants: Sequence[PlantOption]) -> None:
    """Refuse bugs that the proof would not meet: it runs from the trees' features to their leaves."""
    for plant in plants:
        real = {(fault.kind, fault.checkpoint) for fault in stack.faults()}
        # A value plant wraps the stack, and the wrapper has neither faults nor trees.
        in_trees = stack.checkpoints[plant.checkpoint].stage == "tree"
        if not in_trees or (plant.kind, plant.checkpoint) not in real:
            why = "lies outside the trees" if not in_trees else "changes recorded values only"
            raise ConfigError(
                f"{plant} can not be met by a proof about trees: it {why}.",
                where="--plant",
                fix="plant a real fault of the trees (--plant list), or use parity replay",
            )


def _list_plants(config: Config, challenger: str) -> int:
    from parity.cli.plants import lines
    from parity.planting import available
    from replay.engine.process import StackProcess

    with StackProcess(config.spec(challenger)) as stack:
        _check_trees(stack)
        faults = [f for f in stack.faults() if stack.checkpoints[f.checkpoint].stage == "tree"]
        real = [kind for kind in available(stack.checkpoints, faults) if kind.where != "value"]
        for line in lines(real):
            click.echo(line)
        if not real:
            click.echo(f"{challenger} can put no real fault into its trees")
    return 0


def _renames(config: Config, reference: str, challenger: str) -> dict[str, str]:
    """Those of the first plan that speaks of the pair; a proof needs no plan."""
    for entry in config.plans:
        if entry.speaks_of(reference, challenger):
            return dict(entry.renames)
    return {}
