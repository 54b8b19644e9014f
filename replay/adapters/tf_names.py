"""Which layer a node of a TensorFlow graph stands in, read from its name.

`StatefulPartitionedCall/ranker/block_1/dense/BiasAdd` stands in `block`, `block.dense`: calls of whole
functions are left out, and so is the scope that all nodes share. Keras adds a number to a scope whose name was
taken by an earlier trace of the same layer, so `block_1` is `block` where no `block` stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

# `StatefulPartitionedCall_1`: the call of a traced function, which is no layer.
_CALL = re.compile(r"(Stateful)?PartitionedCall(_\d+)?$")
_NUMBER = re.compile(r"(.+)_\d+$")


def scopes_by_name(names: Sequence[str], owners: Collection[str]) -> list[tuple[str, ...]]:
    """Of each node, the layers it stands in, outermost first, as dotted paths.

    Args:
        names: Of the nodes.
        owners: First parts of the variables' names, where they are known: a layer of such a name
            is called so, whatever number it ends with.
    """
    parts = [parts_of(name) for name in names]
    shared = _shared([one[:-1] for one in parts if len(one) > 1])
    beside: dict[tuple[str, ...], dict[str, None]] = {}
    for one in parts:
        for end in range(shared, len(one) - 1):
            beside.setdefault(one[:end], {})[one[end]] = None
    paths: dict[tuple[str, ...], str] = {}
    for parent in sorted(beside, key=len):
        for scope, layer in _layers(list(beside[parent]), owners).items():
            paths[*parent, scope] = f"{paths[parent]}.{layer}" if parent in paths else layer
    named = _calls_numbered(paths)
    return [tuple(named[one[: end + 1]] for end in range(shared, len(one) - 1)) for one in parts]


def parts_of(name: str) -> tuple[str, ...]:
    """A node's name by its scopes, calls of functions and what carries their arguments left out."""
    if name.startswith("Func/"):
        return (name,)
    return tuple(part for part in name.split("/") if not _CALL.match(part))


def own_names(names: Sequence[str], scopes: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """Node to what it is called where no layer's output is meant: `block.dense/BiasAdd`."""
    found: dict[str, str] = {}
    taken: dict[str, int] = {}
    for name, paths in zip(names, scopes, strict=True):
        last = parts_of(name)[-1] if parts_of(name) else name
        own = f"{paths[-1]}/{last}" if paths else last
        taken[own] = taken.get(own, 0) + 1
        found[name] = own if taken[own] == 1 else f"{own} ({taken[own]})"
    return found


def weight_names(variables: Mapping[str, str], layers: Collection[str]) -> dict[str, str]:
    """Constant to its variable, `up/kernel:0` as `mlp.up.kernel`; its own name where two share one.

    Args:
        variables: Constant to the variable's name, in which outer layers may be left out.
        layers: Paths of the layers that are known.
    """
    plain = {one: name.split(":")[0].replace("/", ".") for one, name in variables.items()}
    for one, name in plain.items():
        owner, _, last = name.rpartition(".")
        inside = [path for path in layers if owner and path.endswith(f".{owner}")]
        if owner not in layers and len(inside) == 1:
            plain[one] = f"{inside[0]}.{last}"
    several = {name for name in plain.values() if list(plain.values()).count(name) > 1}
    return {one: one if name in several else name for one, name in plain.items()}


def _shared(scopes: Sequence[tuple[str, ...]]) -> int:
    """How many outermost scopes all nodes share: the model itself, with its layers below."""
    count = 0
    while len({one[: count + 1] for one in scopes}) == 1 and max(map(len, scopes)) > count + 1:
        count += 1
    return count


def _layers(scopes: Sequence[str], owners: Collection[str]) -> dict[str, str]:
    """Scopes that stand side by side to the layers' own names."""
    found: dict[str, str] = {}
    for scope in scopes:
        numbered = _NUMBER.match(scope)
        plain = numbered is None or numbered[1] in scopes or scope in owners
        found[scope] = scope if plain or numbered is None else numbered[1]
    return found


def _calls_numbered(paths: Mapping[tuple[str, ...], str]) -> dict[tuple[str, ...], str]:
    """Of several scopes of one layer, the later ones with the number of the call: `mlp.up:1`."""
    calls: dict[str, int] = {}
    found: dict[tuple[str, ...], str] = {}
    for scope in sorted(paths, key=lambda scope: [_number(part) for part in scope]):
        path = paths[scope]
        call = calls[path] = calls.get(path, -1) + 1
        found[scope] = f"{path}:{call}" if call else path
    return found


def _number(scope: str) -> int:
    numbered = _NUMBER.match(scope)
    return int(scope[len(numbered[1]) + 1 :]) if numbered else 0
