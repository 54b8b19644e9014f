"""Changing a graph so that its tensors can be seen, given and disturbed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TypeProto, ValueInfoProto, helper

from replay.adapters.onnx_names import ModuleOutput, Scopes

USED = "__used"
NOISE = "__noise"
RETURNED = "return."


def reads_of(node: NodeProto) -> tuple[str, ...]:
    """Every tensor a node reads, its subgraphs' outer ones too."""
    inner = [name for graph in subgraphs(node) for name in _outer_reads(graph)]
    return tuple(dict.fromkeys([*(name for name in node.input if name), *inner]))


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """The bodies of a node: of If, Loop, Scan."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def with_outputs(model: ModelProto, names: Collection[str]) -> ModelProto:
    """A copy that also returns these tensors, whatever their types."""
    changed = ModelProto()
    changed.CopyFrom(model)
    known = {output.name for output in changed.graph.output}
    changed.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in known)
    return changed


def with_names(
    model: ModelProto, named: Mapping[str, tuple[ModuleOutput, ...]], scopes: Sequence[Scopes]
) -> tuple[ModelProto, dict[str, str]]:
    """A copy in which every checkpoint has a tensor of its own.

    A tensor that is the output of several modules, one inside the other, gets one Identity for
    each outer one, which is what reads from outside that module read. What the model returns
    gets one, too: nothing is computed from it.

    Returns:
        The model, and checkpoint to tensor.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    tensors: dict[str, str] = {}
    identities: dict[str, list[NodeProto]] = {}
    renamed: list[dict[str, str]] = [{} for _ in graph.node]
    finally_called: dict[str, str] = {}
    for tensor, outputs in named.items():
        tensors[outputs[0].name] = before = tensor
        for output in outputs[1:]:
            after = f"{tensor}::{output.name}"
            tensors[output.name] = after
            identities.setdefault(tensor, []).append(_identity(before, after))
            for place, names in enumerate(renamed):
                if output.path not in (scopes[place] or ()):
                    names[tensor] = after
            before = after
        finally_called[tensor] = before
    nodes: list[NodeProto] = []
    for node, names in zip(graph.node, renamed, strict=True):
        _rename_reads(node, names)
        nodes.append(node)
        nodes += [one for tensor in node.output for one in identities.get(tensor, ())]
    returned = []
    for output in graph.output:
        name = f"{RETURNED}{output.name}"
        nodes.append(_identity(finally_called.get(output.name, output.name), name))
        copied = ValueInfoProto()
        copied.CopyFrom(output)
        copied.name = name
        returned.append(copied)
        tensors[name] = name
    copies = [_copied(node) for node in nodes]
    del graph.node[:], graph.output[:]
    graph.node.extend(copies)
    graph.output.extend(returned)
    return changed, tensors


def split(
    model: ModelProto, given: Mapping[str, int], noise: Mapping[str, int], ranks: Mapping[str, int]
) -> ModelProto:
    """A copy in which these tensors are produced as before, and read as what they are given.

    Args:
        model: The model.
        given: Tensor to its ONNX element type: read from the new input `<tensor>__used`.
        noise: The same of tensors to which the new input `<tensor>__noise` is added.
        ranks: Number of axes of each.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    names = {tensor: f"{tensor}{USED}" for tensor in (*given, *noise)}
    for node in graph.node:
        _rename_reads(node, names)
    for tensor, kind in given.items():
        graph.input.append(_input(f"{tensor}{USED}", kind, ranks[tensor]))
    added: dict[str, NodeProto] = {}
    for tensor, kind in noise.items():
        graph.input.append(_input(f"{tensor}{NOISE}", kind, ranks[tensor]))
        added[tensor] = helper.make_node(
            "Add", [tensor, f"{tensor}{NOISE}"], [f"{tensor}{USED}"], name=f"{tensor}{USED}"
        )
    if added:
        nodes = []
        for node in graph.node:
            nodes.append(_copied(node))
            nodes += [added[tensor] for tensor in node.output if tensor in added]
        del graph.node[:]
        graph.node.extend(nodes)
    return changed


def _outer_reads(graph: GraphProto) -> Iterator[str]:
    own = {value.name for value in (*graph.input, *graph.initializer)}
    for node in graph.node:
        yield from (name for name in reads_of(node) if name not in own)
        own.update(node.output)
    yield from (output.name for output in graph.output if output.name not in own)


def _rename_reads(node: NodeProto, names: Mapping[str, str]) -> None:
    """Names are unique across a graph and its subgraphs, so a read is what it says."""
    if not names:
        return
    for place, name in enumerate(node.input):
        if name in names:
            node.input[place] = names[name]
    for graph in subgraphs(node):
        produced = {tensor for inner in graph.node for tensor in inner.output}
        for inner in graph.node:
            _rename_reads(inner, names)
        for output in graph.output:
            if output.name in names and output.name not in produced:
                fresh = f"{output.name}::inner"
                graph.node.append(_identity(names[output.name], fresh))
                output.name = fresh


def _identity(before: str, after: str) -> NodeProto:
    return helper.make_node("Identity", [before], [after], name=f"identity of {after}")


def _copied(node: NodeProto) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy


def _input(name: str, kind: int, rank: int) -> ValueInfoProto:
    shape: list[str | int | None] = [None] * rank
    found: ValueInfoProto = helper.make_tensor_value_info(name, kind, shape)
    assert isinstance(found.type, TypeProto), "made with a type"
    return found
