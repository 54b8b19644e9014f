"""From a stack's name, or `package.module:open_stack`, to an open stack."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from replay.errors import ConfigError
from replay.stack import Stack

ENTRY_POINT_GROUP = "replay.stacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """A function that stands around an open stack, named so that a worker can import it.

    Attributes:
        function: "package.module:function", called as `function(stack, **arguments)`.
        arguments: Plain JSON values.
    """

    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSpec:
    """How to open a stack, as plain values that travel to a worker process.

    Attributes:
        name: What reports call it.
        opener: "package.module:open_stack".
        artifact: The folder or file it is opened from; None for a stack without one.
        options: Further keyword arguments of the opener, plain JSON values.
        wrappers: Applied after opening, first one innermost.
    """

    name: str
    opener: str
    artifact: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    wrappers: tuple[Wrapper, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values; `spec_from_json` is its inverse."""
        return {
            "name": self.name,
            "opener": self.opener,
            "artifact": None if self.artifact is None else str(self.artifact),
            "options": dict(self.options),
            "wrappers": [
                {"function": w.function, "arguments": dict(w.arguments)} for w in self.wrappers
            ],
        }


def spec_from_json(value: Mapping[str, Any]) -> StackSpec:
    """The spec that `StackSpec.to_json` wrote."""
    return StackSpec(
        name=value["name"],
        opener=value["opener"],
        artifact=None if value["artifact"] is None else Path(value["artifact"]),
        options=value["options"],
        wrappers=tuple(Wrapper(**wrapper) for wrapper in value["wrappers"]),
    )


def find_spec(name: str, configured: Mapping[str, StackSpec]) -> StackSpec:
    """The stack a user means: a configured name, an installed entry point, or a module path.

    Raises:
        ConfigError: Nothing is known by that name; it offers what is.
    """
    if name in configured:
        return configured[name]
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name in installed:
        return StackSpec(name=name, opener=installed[name])
    if ":" in name:
        return StackSpec(name=name, opener=name)
    known = ", ".join(sorted({*configured, *installed})) or "none"
    raise ConfigError(
        f"no stack is called {name!r} (known: {known}).",
        where="the command line, or 'stacks' in parity.yaml",
        fix="use a known name, or package.module:open_stack for a stack of your own",
    )


def open_stack(spec: StackSpec) -> Stack:
    """Import the opener, open the stack and put its wrappers around it.

    Raises:
        ConfigError: The opener can not be imported, or what it returned is no stack.
    """
    options = {} if spec.artifact is None else {"artifact": spec.artifact}
    stack = wrapped(_load(spec.opener)(**options, **spec.options), spec.wrappers)
    if not isinstance(stack, Stack):
        raise ConfigError(
            f"{spec.opener} returned a {type(stack).__name__}, which is no stack.",
            where=f"stack {spec.name!r}",
            fix="return an object with name, checkpoints, identity() and score()",
        )
    return stack


def wrapped(stack: Stack, wrappers: Iterable[Wrapper]) -> Stack:
    """The stack with wrappers around it, the first one innermost.

    Raises:
        ConfigError: A wrapper's function can not be imported.
    """
    for wrapper in wrappers:
        stack = _load(wrapper.function)(stack, **wrapper.arguments)
    return stack


def _load(path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{path!r} can not be imported: {error}.",
            where="'open' of a stack in parity.yaml, or the command line",
            fix="name an importable function as package.module:function, "
            "and install the extra its framework needs",
        ) from error
