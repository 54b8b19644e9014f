"""An entry put into a plan of parity.yaml, its comments and the order of its keys kept."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from parity.config_file import read_config_file
from replay.engine.durable import write_durably
from replay.errors import ConfigError

# Module paths are long; ruamel.yaml would break them across lines at 80.
WIDTH = 4096
SIDES = ("reference", "challenger")


def put_into_plan(
    path: Path, plan: int, entry: str, values: Mapping[str, Any], *, pair: tuple[str, str]
) -> None:
    """Add keys to an entry of a pair's plan; the file is replaced whole, or stays as it was.

    A plan that speaks of other pairs as well is left alone, since the values are not theirs: the
    pair gets a copy of it, right before it.

    Args:
        path: parity.yaml.
        plan: The plan's place in `plans`, from 0.
        entry: The plan's key, such as "renames", that holds a mapping.
        values: Added to that mapping.
        pair: The reference's and the challenger's name.

    Raises:
        ConfigError: The file can not be read, holds no such plan, or shares it by an alias.
        OSError: The file can not be written.
    """
    file = read_config_file(path)
    text = path.read_bytes().decode("utf-8")
    yaml = _round_trip(text)
    tree = yaml.load(text)
    plans = tree.get("plans") if isinstance(tree, CommentedMap) else None
    if not isinstance(plans, CommentedSeq) or plan >= len(plans):
        raise ConfigError(
            f"the file has no plan number {plan + 1}.",
            where=str(path),
            fix="add the plan, then run this again",
        )
    plain = file.plain["plans"][plan]
    if any(plain[side] not in (name, [name]) for side, name in zip(SIDES, pair, strict=True)):
        own = plain | dict(zip(SIDES, pair, strict=True))
        existing = CommentedMap(own.pop(entry, {}))
        plans.insert(plan, CommentedMap(own))
        _insert(plans[plan], entry, existing)
    chosen = plans[plan]
    existing = chosen.get(entry)
    if existing is not None and getattr(existing, "anchor", None) and existing.anchor.value:
        raise ConfigError(
            f"the plan's {entry} are shared with others as &{existing.anchor.value}.",
            where=f"{path}, plan {plan + 1}",
            fix=f"write the plan's {entry} out, or add these by hand: "
            + yaml_lines(entry, values).replace("\n", " "),
        )
    if not isinstance(existing, CommentedMap):
        existing = CommentedMap()
        _insert(chosen, entry, existing)
    for key, value in values.items():
        existing[key] = value
    out = io.StringIO()
    yaml.dump(tree, out)
    written = out.getvalue()
    if "\r\n" in text:
        written = written.replace("\r\n", "\n").replace("\n", "\r\n")
    target = path.resolve()  # a link stays a link
    mode = target.stat().st_mode & 0o7777
    write_durably(target, [written.encode("utf-8")])
    target.chmod(mode)


def yaml_lines(entry: str, values: Mapping[str, Any]) -> str:
    """An entry of a plan as YAML, names quoted where they need it."""
    yaml = YAML(typ="rt")
    yaml.width = WIDTH
    out = io.StringIO()
    yaml.dump({entry: dict(values)}, out)
    return out.getvalue()


def _insert(plan: Any, entry: str, values: CommentedMap) -> None:
    """Put an entry after the keys that say what the plan is about.

    At the end it would stand below the comments that belong to what follows the plan.
    """
    if entry in plan:
        plan[entry] = values
        return
    places = [k for k, key in enumerate(plan) if key in {"reference", "challenger", "outputs"}]
    plan.insert(max(places) + 1, entry, values)


def _round_trip(text: str) -> YAML:
    """Reads and writes with the indentation that the file has."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDTH
    lines = [line for line in text.splitlines() if line.lstrip().startswith("- ")]
    indented = bool(lines) and lines[0].startswith("  ")
    # `sequence` counts to the text after the dash, `offset` to the dash.
    yaml.indent(mapping=2, sequence=4 if indented else 2, offset=2 if indented else 0)
    return yaml
