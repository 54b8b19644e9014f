"""What pydantic found wrong in a configuration, said with its line, its column and near names."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from parity.config_file import ConfigFile
from replay.errors import ConfigError


def error_in_file(
    file: ConfigFile,
    errors: Sequence[ErrorDetails],
    allowed: Callable[[Sequence[str | int]], Mapping[str, str]],
) -> ConfigError:
    """The first of pydantic's errors, with its line and column.

    Args:
        file: What was read.
        errors: As pydantic lists them.
        allowed: The keys that are allowed at a place, and what each is for.
    """
    # A misspelt key is also a missing one, and only the first of the two says what to do.
    details = min(errors, key=lambda error: error["type"] != "extra_forbidden")
    place = _in_file(file.plain, details["loc"])
    others = len({_in_file(file.plain, e["loc"]) for e in errors}) - 1
    also = f" ({others} more to mend after it.)" if others else ""
    name = ".".join(map(str, place)) or "the file"
    if details["type"] == "extra_forbidden":
        fields = list(allowed(place[:-1]))
        return ConfigError(
            f"{name!r} is no known key{near(str(place[-1]), fields) or '.'}{also}",
            where=file.where(place, key=True),
            fix=f"allowed here: {', '.join(fields)}",
        )
    if details["type"] == "missing":
        return ConfigError(
            f"{'.'.join(map(str, details['loc']))!r} is missing.{also}",
            where=file.where(place),
            fix=f"add the key {str(details['loc'][-1])!r}",
        )
    if details["type"] == "literal_error":
        found = details["input"]
        known = str(details.get("ctx", {}).get("expected", ""))
        options = [option.strip("'") for option in known.replace(" or ", ", ").split(", ")]
        return ConfigError(
            f"{name!r} is {shown(found)}{near(str(found), options) or '.'}{also}",
            where=file.where(place),
            fix=f"allowed: {', '.join(options)}",
        )
    message = details["msg"]
    meant = allowed(place[:-1]).get(str(place[-1]), "") if place else ""
    return ConfigError(
        f"{name!r} is {shown(details['input'])}: {message[:1].lower()}{message[1:]}.{also}",
        where=file.where(place),
        fix=" ".join(meant.split()) or "docs/config.schema.json lists what is allowed",
    )


def _in_file(plain: Any, loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """The part of an error's place that is in the file (pydantic adds union branches)."""
    place: list[str | int] = []
    node = plain
    for part in loc:
        if isinstance(node, dict) and str(part) in node:
            node = node[str(part)]
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        place.append(part)
    return tuple(place)


def near(name: str, known: Sequence[str]) -> str:
    """`, did you mean 'legacy'?` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """A value as the file would spell it, shortened."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return "a group of keys"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
