"""Frozen dataclasses to plain JSON values and back, strictly in both directions."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from replay.errors import ConfigError

T = TypeVar("T")

# JSON has no infinity: a field that holds one is null, and a field beside it says which.
TEXT = "_text"


def plain_from(value: object) -> Any:
    """A value of dataclasses, mappings and tuples as JSON values; numpy scalars become Python's.

    A float that is not finite becomes null; inside an object the field `<name>_text` beside
    it says "inf", "-inf" or "nan".
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain_from({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        plain: dict[str, Any] = {}
        for key, item in value.items():
            number = _number(item)
            if isinstance(number, float) and not math.isfinite(number):
                plain[str(key)] = None
                plain[f"{key}{TEXT}"] = str(number)
            else:
                plain[str(key)] = plain_from(number)
        return plain
    if isinstance(value, list | tuple):
        return [plain_from(item) for item in value]
    number = _number(value)
    if isinstance(number, float) and not math.isfinite(number):
        return None
    return number


def from_plain(kind: type[T], value: object, *, where: str) -> T:
    """The dataclass that `plain_from` was given; nothing missing, unknown or of another type.

    Raises:
        ConfigError: Naming the field, what was found and what is expected.
    """
    read: T = _read(kind, value, where)
    return read


def _number(value: object) -> object:
    """Python's own number for a numpy scalar, without importing numpy to ask."""
    item = getattr(value, "item", None)
    return item() if item is not None and getattr(value, "shape", None) == () else value


def _read(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if kind is Any:
        return value
    if origin is Literal:
        _expect(value in get_args(kind), value, " or ".join(map(repr, get_args(kind))), where)
        return value
    if origin in {Union, types.UnionType}:
        return _read_union(get_args(kind), value, where)
    if origin is tuple:
        return _read_tuple(get_args(kind), value, where)
    if origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, dict), value, "an object", where)
        return {key: _read(get_args(kind)[1], v, f"{where}.{key}") for key, v in value.items()}
    if kind is float:
        _expect(
            isinstance(value, int | float) and not isinstance(value, bool), value, "a number", where
        )
        return float(value)
    _expect(type(value) is kind, value, kind.__name__, where)
    return value


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", where)
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    allowed = known.keys() | {f"{name}{TEXT}" for name in known}
    _expect(value.keys() <= allowed, sorted(value.keys() - allowed), "no further field", where)
    arguments: dict[str, Any] = {}
    for name, field in known.items():
        at = f"{where}.{name}"
        if value.get(name) is None and f"{name}{TEXT}" in value:
            text = value[f"{name}{TEXT}"]
            _expect(text in {"inf", "-inf", "nan"}, text, "inf, -inf or nan", f"{at}{TEXT}")
            arguments[name] = float(text)
        elif name in value:
            arguments[name] = _read(hints[name], value[name], at)
        else:
            optional = field.default is not MISSING or field.default_factory is not MISSING
            _expect(optional, "nothing", "a value", at)
    return kind(**arguments)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    # An int stays an int where both are allowed: 1 and 1.0 are different evidence.
    for kind in sorted(kinds, key=lambda k: k is float):
        if kind is type(None):
            continue
        try:
            return _read(kind, value, where)
        except ConfigError:
            continue
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise _unexpected(value, names, where)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(value, list), value, "a list", where)
    if kinds[-1] is Ellipsis:
        return tuple(_read(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    _expect(len(value) == len(kinds), value, f"{len(kinds)} items", where)
    return tuple(_read(k, item, where) for k, item in zip(kinds, value, strict=True))


def _expect(holds: bool, found: object, expected: str, where: str) -> None:  # noqa: FBT001 - an assertion
    if not holds:
        raise _unexpected(found, expected, where)


def _unexpected(found: object, expected: str, where: str) -> ConfigError:
    return ConfigError(
        f"found {found!r}, expected {expected}.",
        where=where,
        fix="the file is damaged or was written by another version: replay the day again",
    )
