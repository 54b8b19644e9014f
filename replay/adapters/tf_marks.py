"""Where a layer's output stands in a graph: marked while Keras traces it, or told by the nodes' scopes."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Self

import tensorflow as tf
from tensorflow.python.util import nest

from replay.adapters.onnx_names import ModuleOutput, module_outputs
from replay.adapters.program import checkpoint_name
from replay.adapters.tf_graph import PASSING, VALUE_FREE, node_of, reads_of, with_nodes_after

# Settings of a layer that matter while it is trained, and its name.
_OF_TRAINING = re.compile(
    r"name|trainable|dtype|seed|rate|momentum|renorm.*|synchronized|.*_(initializer|regularizer|constraint|config)"
)
_MARK = re.compile(r"(?:^|/)parity_mark_(\d+)(?:_\d+)?$")


class LayerMarks:
    """While entered, what each layer of a Keras model gives passes through a node of a known name.

    Attributes:
        skipped: Layers without a tensor of their own, with the reason.
        settings: What is set rather than learned, as `<layer>.<setting>`.
        owners: The layers' names.
    """

    def __init__(self, model: Any) -> None:
        self.skipped: dict[str, str] = {}
        self.settings: dict[str, str] = {}
        self.owners: set[str] = set()
        self._layers = list(_layers_of(model))
        self._calls: dict[str, int] = {}
        self._names: list[str] = []

    def __enter__(self) -> Self:
        for path, layer in self._layers:
            self.owners.add(layer.name)
            self.settings |= _settings(path, layer)
            self.skipped[checkpoint_name(path)] = "it is never called"
            layer.call = self._marking(path, layer.call)
        return self

    def __exit__(self, *exception: object) -> None:
        for _, layer in self._layers:
            del layer.call  # the class's own stands again

    def places(self, nodes: Collection[str]) -> dict[str, str]:
        """Tensor to the checkpoint that it was marked as."""
        marks = ((node, _MARK.search(node)) for node in nodes)
        return {f"{node}:0": self._names[int(mark[1])] for node, mark in marks if mark}

    def _marking(self, path: str, call: Any) -> Any:
        @functools.wraps(call)
        def marked(*args: Any, **kwargs: Any) -> Any:
            read = {id(one) for one in nest.flatten((args, kwargs))}
            found = call(*args, **kwargs)
            number = self._calls.get(path, 0)
            self._calls[path] = number + 1
            base = checkpoint_name(path) + (f":{number}" if number else "")
            if not number:
                del self.skipped[base]
            several = len(nest.flatten(found)) > 1

            def one(keys: tuple[Any, ...], tensor: Any) -> Any:
                if not tf.is_tensor(tensor):
                    return tensor
                if id(tensor) in read:
                    self.skipped[base] = "it passes on what it is given"
                    return tensor
                self._names.append(".".join([base, *map(str, keys)]) if several else base)
                return tf.identity(tensor, name=f"parity_mark_{len(self._names) - 1}")

            return nest.map_structure_with_tuple_paths(one, found)

        return marked


def layers_marked(
    graph: Any, scopes: Sequence[tuple[str, ...]], returned: Collection[str]
) -> tuple[Any, dict[str, str]]:
    """A graph with a tensor of its own for each layer's output, told by the scopes of its nodes.

    Where a tensor is the output of several layers, one inside the other, each outer one gets an
    Identity, which is what nodes outside of that layer read.

    Args:
        graph: In order.
        scopes: Of each node, its layers' paths.
        returned: Tensors that the model returns.

    Returns:
        The graph, and tensor to checkpoint.
    """
    kinds = kinds_of(graph)
    chains: dict[str, list[ModuleOutput]] = {}
    for output in _outputs(graph, kinds, scopes, returned):
        chains.setdefault(output.tensor, []).append(output)
    places: dict[str, str] = {}
    made: dict[str, list[Any]] = {}
    for tensor, outputs in chains.items():
        places[tensor] = outputs[0].name
        before = tensor
        for number, output in enumerate(outputs[1:]):
            node = f"parity_layer/{tensor.replace(':', '_')}/{number}"
            made.setdefault(tensor, []).append(node_of(node, "Identity", [before], T=kinds[tensor]))
            before = f"{node}:0"
            places[before] = output.name
    paths_of = {node.name: paths for node, paths in zip(graph.node, scopes, strict=True)}

    def read_as(node: Any) -> dict[str, str]:
        outside = {}
        for tensor in set(reads_of(node)) & made.keys():
            for one, output in zip(made[tensor], chains[tensor][1:], strict=True):
                if output.path not in paths_of[node.name]:
                    outside[tensor] = f"{one.name}:0"
        return outside

    return with_nodes_after(graph, made, read_as), places


def tensors_by_node(kinds: Iterable[str]) -> dict[str, list[str]]:
    """Node to the tensors it gives, of tensors in order."""
    found: dict[str, list[str]] = {}
    for tensor in kinds:
        found.setdefault(tensor.split(":")[0], []).append(tensor)
    return found


def kinds_of(graph: Any) -> dict[str, int]:
    """Every tensor of a graph, in its order, to its element type."""
    opened = tf.Graph()
    with opened.as_default():
        tf.import_graph_def(graph, name="")
    operations = {one.name: one for one in opened.get_operations()}
    return {
        one.name: one.dtype.as_datatype_enum
        for node in graph.node
        for one in operations[node.name].outputs
    }


def _outputs(
    graph: Any,
    kinds: Iterable[str],
    scopes: Sequence[tuple[str, ...]],
    returned: Collection[str],
) -> list[ModuleOutput]:
    """What the layers give, as for a graph that torch.onnx.export wrote."""
    given = tensors_by_node(kinds)
    varying = {f"{node.name}:0" for node in graph.node if node.op == "Placeholder"}
    for node in graph.node:
        if node.op not in VALUE_FREE and varying & set(reads_of(node)):
            varying.update(given.get(node.name, ()))
    passing = {f"{node.name}:0" for node in graph.node if node.op in PASSING}
    gives = [given.get(node.name, []) for node in graph.node]
    reads = [reads_of(node) for node in graph.node]
    return module_outputs(gives, scopes, reads, varying - passing, returned)


def _layers_of(
    model: Any, path: str = "", seen: set[int] | None = None
) -> Iterator[tuple[str, Any]]:
    """Every layer below a model once, by its names from the outermost in."""
    seen = set() if seen is None else seen
    for layer in model._flatten_layers(include_self=False, recursive=False):  # noqa: SLF001  # Keras lists sublayers nowhere else
        if id(layer) in seen or type(layer).__name__ == "InputLayer":
            continue
        seen.add(id(layer))
        own = f"{path}.{layer.name}" if path else layer.name
        yield own, layer
        yield from _layers_of(layer, own, seen)


def _settings(path: str, layer: Any) -> dict[str, str]:
    """A layer's class and its plain settings, as Keras would save them."""
    try:
        config = layer.get_config()
    except NotImplementedError:  # a layer of somebody's own
        config = {}
    plain = {
        key: value
        for key, value in config.items()
        if (value is None or isinstance(value, bool | int | float | str))
        and not _OF_TRAINING.fullmatch(key)
    }
    plain["class"] = type(layer).__name__
    return {f"{path}.{key}": str(value) for key, value in plain.items()}
