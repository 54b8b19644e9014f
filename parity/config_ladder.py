"""The rungs of a migration in parity.yaml, and that each can be judged as it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from pydantic import Field

from parity.config_file import ConfigFile
from parity.config_plan import Entry, PlanEntry, Why
from replay.errors import ConfigError

# The reference of a rung that asks whether replaying reproduces what production answered.
SERVED = "served"


class NeedEntry(Entry):
    """What a machine must have for a rung; without it the rung is not run, and says so."""

    command: Annotated[list[str], Field(min_length=1, examples=[["python", "-c", "import onnx"]])]
    """Succeeds where the machine has it; `python` is the interpreter that runs parity."""
    why: Why


class RungEntry(Entry):
    """One step of a migration: one thing changed, and how that is judged."""

    rung: Annotated[int, Field(ge=0)]
    """Its number; several entries may share one, such as the same change in three precisions."""
    title: str = ""
    """What changes."""
    reference: Annotated[str, Field(min_length=1)]
    """A stack, or `served`: what production answered, as logged."""
    challenger: Annotated[str, Field(min_length=1)]
    """A stack."""
    kind: Literal["fidelity", "exact", "bounded", "statistical", "envelope"] | None = None
    """What the pair's plan compares, repeated where the reader of the ladder should see it: it has
    to be the plan's. `exact` is bounded without any allowance; `fidelity` is of `served` alone."""
    needs: list[NeedEntry] = Field(default_factory=list)
    """What the machine must have beside the stacks' artifacts."""


def check_ladder(
    file: ConfigFile,
    ladder: Sequence[RungEntry],
    spec: Callable[[str], object],
    plan_entry: Callable[[str, str], PlanEntry],
) -> None:
    """Refuse a rung that no plan can judge, or that another plan judges than it says."""
    for index, rung in enumerate(ladder):
        served = rung.reference == SERVED
        if rung.kind is not None and served != (rung.kind == "fidelity"):
            raise ConfigError(
                f"rung {rung.rung} compares {rung.reference!r} by {rung.kind}.",
                where=file.where(("ladder", index, "kind")),
                fix=f"`{SERVED}` is compared by fidelity, and nothing else is",
            )
        try:
            for name in sorted({rung.reference, rung.challenger} - {SERVED}):
                spec(name)
            entry = None if served else plan_entry(rung.reference, rung.challenger)
        except ConfigError as error:
            raise ConfigError(
                error.what, where=file.where(("ladder", index)), fix=error.fix
            ) from None
        asked = "bounded" if rung.kind == "exact" else rung.kind
        everything = None if entry is None else entry.tolerances.get("*")
        if rung.kind == "exact" and (everything is None or everything.kind != "exact"):
            raise ConfigError(
                f"rung {rung.rung} says exact, its plan allows what the stacks declare.",
                where=file.where(("ladder", index, "kind")),
                fix='give the plan `tolerances: {"*": {kind: exact, why: ...}}`, or say bounded',
            )
        if entry is not None and asked is not None and asked != entry.outputs:
            raise ConfigError(
                f"rung {rung.rung} says {rung.kind}, its plan compares {entry.outputs}.",
                where=file.where(("ladder", index, "kind")),
                fix="correct the rung, or give the pair a plan of its own before the others",
            )
