"""A YAML file as plain values, and where in it each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from replay.errors import ConfigError

# A configuration is a page or two; something this long is another file.
MAX_BYTES = 1_000_000
# The deepest key is at six; aliases (`*name`) can nest and multiply without end.
MAX_DEPTH = 20
MAX_VALUES = 100_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ConfigFile:
    """What a file says, as plain values, with the places for messages.

    Attributes:
        path: The file.
        plain: dicts, lists, strings, numbers, booleans and null.
        tree: The same as ruamel.yaml's round-trip objects, which know their lines.
    """

    path: Path
    plain: Any
    tree: Any

    def where(self, place: Sequence[str | int], *, key: bool = False) -> str:
        """`file:line:column` of a value, or of its key; the nearest there is, from 1."""
        line, column = 0, 0
        node = self.tree
        for step, part in enumerate(place):
            name = _own_key(node, part)
            if name is None:
                break
            of_key = isinstance(node, CommentedMap) and (key and step == len(place) - 1)
            line, column = _mark(node, name, of_key=of_key)
            node = node[name]
        return f"{self.path}:{line + 1}:{column + 1}"


def read_config_file(path: Path) -> ConfigFile:
    """Read a YAML 1.2 file.

    Raises:
        ConfigError: No such file, no UTF-8, no YAML, or values that are not plain.
    """
    try:
        data = path.read_bytes()
        text = data[: MAX_BYTES + 1].decode("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            "the configuration file does not exist.",
            where=str(path),
            fix="run in the folder that holds parity.yaml, or name one with --config; "
            "the parity.yaml in the project's repository is an example to copy",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"the configuration can not be read: {error}.",
            where=str(path),
            fix="name a readable UTF-8 file",
        ) from error
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"the file is longer than {MAX_BYTES} bytes.", where=str(path), fix="name parity.yaml"
        )
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
        problem = " ".join(str(error.problem or error.context or "no YAML").split())
        raise ConfigError(
            f"the file is not valid YAML: {problem}.",
            where=f"{path}{at}",
            fix="correct it; indentation is by spaces, and each key stands once",
        ) from error
    except (YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(
            f"the file is not valid YAML: {' '.join(str(error).split())}.",
            where=str(path),
            fix="correct it",
        ) from error
    file = ConfigFile(path=path, plain=None, tree=tree)
    return ConfigFile(path=path, plain=_plain(file, tree, (), [MAX_VALUES]), tree=tree)


def _plain(file: ConfigFile, node: Any, place: tuple[str | int, ...], left: list[int]) -> Any:
    left[0] -= 1
    if len(place) > MAX_DEPTH or left[0] < 0:
        raise ConfigError(
            f"the file nests deeper than {MAX_DEPTH} levels or holds over {MAX_VALUES} values.",
            where=file.where(place[:1]),
            fix="unfold aliases that hold themselves; a configuration is a page or two",
        )
    if isinstance(node, CommentedMap):
        return {str(key): _plain(file, node[key], (*place, str(key)), left) for key in node}
    if isinstance(node, CommentedSeq):
        return [_plain(file, item, (*place, i), left) for i, item in enumerate(node)]
    for kind in (bool, int, float, str):  # ruamel's scalars derive from these
        if isinstance(node, kind):
            return kind(node)
    if node is None:
        return None
    raise ConfigError(
        f"a value is a {type(node).__name__} ({node}).",
        where=file.where(place),
        fix="write text in quotes; only text, numbers, true, false and null are read",
    )


def _own_key(node: Any, part: str | int) -> Any:
    """The key as the file spells it (`1:` is a number), or None where the file has none."""
    if isinstance(node, CommentedMap):
        return next((key for key in node if str(key) == str(part)), None)
    if isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
        return part
    return None


def _mark(node: Any, name: Any, *, of_key: bool) -> tuple[int, int]:
    try:
        found = node.lc.key(name) if of_key else node.lc.data[name][-2:]
    except (AttributeError, KeyError, TypeError):  # merged by `<<`: the anchor has the place
        found = (node.lc.line, node.lc.col)
    return int(found[0]), int(found[1])
