"""Functions of the user's own, named in a configuration as `package.module:function`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replay.digests import digest_of_file
from replay.errors import ArtifactError, ConfigError, ToolkitError


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


def made(factory: Callable[..., Any], artifact: Path | None, *, what: str, where: str) -> Any:
    """What a user's factory makes of an artifact, or of nothing.

    Args:
        factory: The user's.
        artifact: What it loads; None calls it without an argument.
        what: "module" or "function", for errors.
        where: Its name.

    Raises:
        ArtifactError: There is no such artifact, or the factory failed.
    """
    if artifact is not None and not artifact.exists():
        raise ArtifactError(
            "there is no such file or folder.",
            where=str(artifact),
            fix=f"name what the {what} is loaded from, or leave the artifact out",
        )
    try:
        return factory() if artifact is None else factory(artifact)
    except ToolkitError:
        raise
    except Exception as error:
        raise ArtifactError(
            f"the {what} could not be built: {type(error).__name__}: {error}.",
            where=f"{where}, artifact {artifact}",
            fix="call the factory by hand; what it loads and its code have to fit",
        ) from error


def digest_of_source(function: Callable[..., Any]) -> str:
    """The digest of the file a function stands in; its name where there is none."""
    try:
        source = inspect.getsourcefile(function)
    except TypeError:  # built in, or an object that can be called
        source = inspect.getsourcefile(type(function))
    return digest_of_file(Path(source)) if source else repr(function)
