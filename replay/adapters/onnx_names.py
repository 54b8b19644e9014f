"""Which tensor of an exported graph is which module's output, from what the exporter noted.

torch.onnx.export leaves each node's module path in its metadata (`pkg.torch.onnx.name_scopes`,
or `namespace`); its older exporter leaves it in the node's name (`/layers.0/norm/Add`). The last
tensor of a call that something outside the module reads is the module's output.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.adapters.program import checkpoint_name

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

# Module paths a node stands in, outermost first; None where nothing was noted.
Scopes = tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleOutput:
    """A tensor that one call of a module gives.

    Attributes:
        name: The checkpoint's name: the path, of later calls `path:1`.
        path: The module's path.
        tensor: The graph's name for it.
    """

    name: str
    path: str
    tensor: str


def scopes_of(graph: GraphProto) -> list[Scopes]:
    """Of each node of the graph, the modules it stands in."""
    found = [_noted(node) for node in graph.node]
    if any(scopes is not None for scopes in found):
        return found
    return _from_node_names(graph)


def module_outputs(
    gives: Sequence[Sequence[str]],
    scopes: Sequence[Scopes],
    reads: Sequence[Collection[str]],
    recordable: Collection[str],
    returned: Collection[str],
) -> list[ModuleOutput]:
    """What the modules of a graph give, in execution order; of one tensor the innermost module first.

    Args:
        gives: Of each node, in order, the tensors it gives.
        scopes: Of each node.
        reads: Of each node, every tensor it reads, its subgraphs' too.
        recordable: Tensors that can be checkpoints: others are no module's output.
        returned: Tensors that the graph returns.
    """
    readers: dict[str, list[int]] = {}
    for place, names in enumerate(reads):
        for name in names:
            readers.setdefault(name, []).append(place)
    found: list[tuple[int, int, ModuleOutput]] = []
    for path, calls in _calls(gives, scopes, recordable).items():
        for call, nodes in enumerate(calls):
            given = [
                (place, tensor)
                for place in nodes
                for tensor in gives[place]
                if tensor in recordable
                and (
                    tensor in returned
                    or any(path not in (scopes[at] or ()) for at in readers.get(tensor, ()))
                )
            ]
            if given:
                place, tensor = given[-1]
                name = checkpoint_name(path) + (f":{call}" if call else "")
                output = ModuleOutput(name=name, path=path, tensor=tensor)
                found.append((place, -path.count("."), output))
    return [output for *_, output in sorted(found, key=lambda one: one[:2])]


def _calls(
    gives: Sequence[Sequence[str]], scopes: Sequence[Scopes], recordable: Collection[str]
) -> dict[str, list[list[int]]]:
    """Module path to its calls, each the nodes it ran: calls are apart where others come between."""
    calls: dict[str, list[list[int]]] = {}
    current: set[str] = set()
    for place, (tensors, here) in enumerate(zip(gives, scopes, strict=True)):
        if here is None or not any(tensor in recordable for tensor in tensors):
            continue
        for path in here:
            if path in current:
                calls[path][-1].append(place)
            else:
                calls.setdefault(path, []).append([place])
        current = set(here)
    return calls


def _noted(node: NodeProto) -> Scopes:
    notes = {entry.key: entry.value for entry in node.metadata_props}
    parts: list[str] | None = None
    if "pkg.torch.onnx.name_scopes" in notes:
        parts = _list_of_texts(notes["pkg.torch.onnx.name_scopes"])
    elif "namespace" in notes:
        parts = [part.split(": ")[0] for part in notes["namespace"].split("/")]
    if not parts:
        return None
    # The first is the model itself, the last the operation.
    return tuple(part for part in parts[:-1] if part)


def _list_of_texts(text: str) -> list[str] | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return [str(one) for one in value] if isinstance(value, list) else None


def _from_node_names(graph: GraphProto) -> list[Scopes]:
    """`/layers.0/mlp/mlp.2/Gemm` stands in layers.0, layers.0.mlp and layers.0.mlp.2."""
    weights = {initializer.name for initializer in graph.initializer}
    parts = [node.name.split("/") for node in graph.node]
    known = {tuple(one[1:end]) for one in parts for end in range(2, len(one)) if one[0] == ""}
    found: list[Scopes] = []
    for one in parts:
        if one[0] != "" or len(one) < 2:
            found.append(None)
            continue
        paths: list[str] = []
        for end in range(2, len(one)):
            paths.append(
                _joined(paths[-1] if paths else "", _first_call(one[1:end], known, weights, paths))
            )
        found.append(tuple(paths))
    return found


def _joined(path: str, part: str) -> str:
    """A module's path from its parent's: within a list the part repeats the list's own name."""
    components = path.split(".") if path else []
    for length in range(len(components), 0, -1):
        if part.startswith(".".join(components[-length:]) + "."):
            return ".".join([*components[:-length], part])
    return f"{path}.{part}" if path else part


def _first_call(
    scope: Sequence[str],
    known: Collection[tuple[str, ...]],
    weights: Collection[str],
    paths: Sequence[str],
) -> str:
    """A later call is noted as `relu_1`: where `relu` is there too and `relu_1` has no weights."""
    part = scope[-1]
    base, _, number = part.rpartition("_")
    if not base or not number.isdigit() or (*scope[:-1], base) not in known:
        return part
    own = _joined(paths[-1] if paths else "", part)
    return part if any(weight.startswith(f"{own}.") for weight in weights) else base


def operators_by_module(graph: GraphProto) -> dict[str, list[str]]:
    """Module path to the operators of its own code, its submodules' apart, in the graph's order."""
    found: dict[str, list[str]] = {}
    for node, scopes in zip(graph.node, scopes_of(graph), strict=True):
        if scopes:
            found.setdefault(scopes[-1], []).append(node.op_type)
    return found


def names_of(
    tensors: Sequence[str], outputs: Sequence[ModuleOutput], scopes: Sequence[Scopes]
) -> Mapping[str, tuple[ModuleOutput, ...]]:
    """Tensor to what it is called: the modules it is the output of, else its own name."""
    modules = {path for paths in scopes for path in paths or ()}
    by_tensor: dict[str, list[ModuleOutput]] = {}
    for output in outputs:
        by_tensor.setdefault(output.tensor, []).append(output)
    taken = {output.name for output in outputs} | modules
    named: dict[str, tuple[ModuleOutput, ...]] = {}
    for tensor in tensors:
        if tensor in by_tensor:
            named[tensor] = tuple(by_tensor[tensor])
        else:
            # A tensor may be called as a module is, and be something else.
            own = checkpoint_name(tensor)
            own = f"{own} (tensor)" if own in taken else own
            named[tensor] = (ModuleOutput(name=own, path="", tensor=tensor),)
    return named
