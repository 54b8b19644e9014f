"""parity.yaml: logs, stacks, and a plan for each pair of them, typed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from parity.config_errors import error_in_file, near, shown
from parity.config_file import ConfigFile, read_config_file
from parity.config_ladder import NeedEntry, RungEntry, check_ladder
from parity.config_plan import (
    CalibrationEntry,
    Entry,
    MarginEntry,
    MaterialEntry,
    Patterns,
    PlanEntry,
    PolicyEntry,
    ToleranceEntry,
)
from parity.judge.policy import Policy
from parity.plan import Plan
from replay.errors import ConfigError
from replay.registry import StackSpec, find_spec

DEFAULT_PATH = Path("parity.yaml")


class StackEntry(Entry):
    """How a stack is opened."""

    open: Annotated[str, Field(pattern=r"^[\w.]+:\w+$", examples=["my_team.serving:open_stack"])]
    """`package.module:function`, called as `function(artifact, **options)`."""
    artifact: Path | None = None
    """The file or folder it is opened from, relative to this file."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further keyword arguments of the function."""


class Config(Entry):
    """The configuration of `parity`: what is replayed, through which stacks, judged how."""

    logs: Path = Path("logs")
    """Folder of logged days (`date=2019-11-30/part-*.parquet`), relative to this file."""
    runs: Path = Path("runs")
    """Folder that run directories are written to."""
    cache: Path | None = Path(".cache/parity")
    """Folder where the reference's traces are kept for the next replay; null keeps none."""
    stacks: dict[str, StackEntry] = Field(default_factory=dict)
    """Name to stack."""
    plans: list[PlanEntry] = Field(default_factory=list)
    """The first that speaks of a pair is its plan."""
    ladder: list[RungEntry] = Field(default_factory=list)
    """A migration's steps, for `parity ladder`."""

    def specs(self) -> dict[str, StackSpec]:
        """Name to the configured stack."""
        return {
            name: StackSpec(
                name=name, opener=entry.open, artifact=entry.artifact, options=entry.options
            )
            for name, entry in self.stacks.items()
        }

    def spec(self, name: str) -> StackSpec:
        """The stack a user means by a name, or by `package.module:open_stack`.

        Raises:
            ConfigError: Nothing is known by that name; it offers what is.
        """
        return find_spec(name, self.specs())

    def plan_entry(self, reference: str, challenger: str) -> PlanEntry:
        """The first plan that speaks of a pair.

        Raises:
            ConfigError: None does; it offers the pairs there are.
        """
        for entry in self.plans:
            if entry.speaks_of(reference, challenger):
                return entry
        pairs = "; ".join(f"{_listed(e.reference)} -> {_listed(e.challenger)}" for e in self.plans)
        raise ConfigError(
            f"no plan speaks of {reference} -> {challenger} (known: {pairs or 'none'}).",
            where="'plans' in parity.yaml",
            fix=f"add an entry: {{reference: {json.dumps(reference)}, "
            f"challenger: {json.dumps(challenger)}, outputs: bounded}}",
        )

    def plan(self, reference: str, challenger: str) -> Plan:
        """What to compare between a pair, and how tightly."""
        return self.plan_entry(reference, challenger).to_plan()

    def policy(self, reference: str, challenger: str) -> Policy:
        """What to ask of a pair's result."""
        return self.plan_entry(reference, challenger).to_policy()


def load_config(path: Path | None = None) -> Config:
    """Read a configuration; its paths are taken relative to its file.

    Args:
        path: The file; None means parity.yaml in the current folder.

    Raises:
        ConfigError: Naming file, line and column, what was found and what is allowed.
    """
    file = read_config_file(DEFAULT_PATH if path is None else path)
    if not isinstance(file.plain, dict):
        raise ConfigError(
            f"the file holds {shown(file.plain)}, not keys with values.",
            where=file.where(()),
            fix=f"start with one of: {', '.join(Config.model_fields)}",
        )
    try:
        # As JSON, where pydantic's strict types take a list for a tuple and text for a path.
        config = Config.model_validate_json(json.dumps(file.plain))
    except ValidationError as error:
        raise error_in_file(file, error.errors(include_url=False), _fields_at) from None
    _check_stack_names(file, config)
    check_ladder(file, config.ladder, config.spec, config.plan_entry)
    return _resolved(config, file.path.parent)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of parity.yaml, as committed in docs/config.schema.json."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _resolved(config: Config, folder: Path) -> Config:
    stacks = {
        name: entry.model_copy(
            update={"artifact": None if entry.artifact is None else folder / entry.artifact}
        )
        for name, entry in config.stacks.items()
    }
    return config.model_copy(
        update={
            "logs": folder / config.logs,
            "runs": folder / config.runs,
            "cache": None if config.cache is None else folder / config.cache,
            "stacks": stacks,
            "plans": [_beside(plan, folder) for plan in config.plans],
        }
    )


def _beside(plan: PlanEntry, folder: Path) -> PlanEntry:
    if plan.calibration is None:
        return plan
    named = plan.calibration.model_copy(update={"file": folder / plan.calibration.file})
    return plan.model_copy(update={"calibration": named})


def _check_stack_names(file: ConfigFile, config: Config) -> None:
    """Refuse a plan that names a stack which nothing defines: it would never be used."""
    for index, entry in enumerate(config.plans):
        for side in ("reference", "challenger"):
            patterns: Patterns = getattr(entry, side)
            listed = [patterns] if isinstance(patterns, str) else patterns
            for place, name in enumerate(listed):
                if any(c in name for c in "*?[:"):
                    continue
                try:
                    config.spec(name)
                except ConfigError as error:
                    at = [] if isinstance(patterns, str) else [place]
                    raise ConfigError(
                        f"{error.what.rstrip('.')}{near(name, list(config.stacks)) or '.'}",
                        where=file.where(("plans", index, side, *at)),
                        fix="name a stack of 'stacks', an installed one, or a glob",
                    ) from None


def _fields_at(place: Sequence[str | int]) -> dict[str, str]:
    """The keys that are allowed at a place, and what each is for."""
    models: dict[tuple[str, ...], type[BaseModel]] = {
        (): Config,
        ("stacks", "*"): StackEntry,
        ("plans", "*"): PlanEntry,
        ("plans", "*", "tolerances", "*"): ToleranceEntry,
        ("plans", "*", "calibration"): CalibrationEntry,
        ("plans", "*", "material"): MaterialEntry,
        ("plans", "*", "policy"): PolicyEntry,
        ("plans", "*", "policy", "*"): MarginEntry,
        ("ladder", "*"): RungEntry,
        ("ladder", "*", "needs", "*"): NeedEntry,
    }
    for shape, model in models.items():
        if len(shape) == len(place) and all(
            s in {"*", p} for s, p in zip(shape, place, strict=True)
        ):
            return {name: of.description or "" for name, of in model.model_fields.items()}
    return {}


def _listed(patterns: Patterns) -> str:
    return patterns if isinstance(patterns, str) else ", ".join(patterns)


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
