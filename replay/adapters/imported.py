"""Functions of the user's own, named in a configuration as `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replay.digests import digest_of_file
from replay.errors import ConfigError


def imported(path: str, *, option: str) -> Callable[..., Any]:
    """The function that an option names.

    Raises:
        ConfigError: It can not be imported, or can not be called.
    """
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{path!r} can not be imported: {error}.",
            where=f"the option '{option}' of a stack",
            fix="name an importable function as package.module:function; the folder that parity "
            "is started in is searched too",
        ) from error
    if not callable(found):
        raise ConfigError(
            f"{path!r} is a {type(found).__name__}, not a function.",
            where=f"the option '{option}' of a stack",
            fix="name a function",
        )
    function: Callable[..., Any] = found
    return function


def digest_of_source(function: Callable[..., Any]) -> str:
    """The digest of the file a function stands in; its name where there is none."""
    try:
        source = inspect.getsourcefile(function)
    except TypeError:  # built in, or an object that can be called
        source = inspect.getsourcefile(type(function))
    return digest_of_file(Path(source)) if source else repr(function)
