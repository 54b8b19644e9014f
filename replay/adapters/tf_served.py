"""A Keras model or a SavedModel as one frozen graph, its layers' outputs marked in it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tensorflow.python.util import nest

from replay.adapters.tf_graph import in_order
from replay.adapters.tf_marks import LayerMarks, layers_marked
from replay.adapters.tf_names import own_names, scopes_by_name
from replay.errors import ArtifactError, ConfigError
from replay.trace import Array

RETURNED = "return"


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A model as it answers, and as a graph.

    Attributes:
        graph: The GraphDef, in order, without variables.
        inputs: Input's name to its tensor.
        shapes: Input's name to the shape that the model declares, None where any size fits.
        outputs: What the model returns, as "return" or "return.<name>", to its tensor.
        places: Tensor to the checkpoint's name, of the layers' outputs.
        own: Node to what it is called otherwise.
        layers: Paths of the scopes that nodes stand in.
        variables: Constant to the name of the variable it was.
        settings: What is set rather than learned, by layer.
        skipped: Layers without an output of their own, with the reason.
        answer: The model as it would be served, from inputs as declared to what it returns.
        owner: What holds the variables that `answer` reads.
    """

    graph: Any = field(repr=False)
    inputs: Mapping[str, str]
    shapes: Mapping[str, tuple[int | None, ...]]
    outputs: Mapping[str, str]
    places: Mapping[str, str] = field(repr=False)
    own: Mapping[str, str] = field(repr=False)
    layers: Collection[str] = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str] = field(repr=False)
    skipped: Mapping[str, str] = field(repr=False)
    answer: Callable[[Mapping[str, Array]], dict[str, Array]] = field(repr=False)
    owner: object = field(repr=False)

    def as_declared(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs of the model: one number a row is a column where it declares one."""
        return {
            name: inputs[name][:, np.newaxis]
            if len(shape) == 2 and shape[1] == 1 and inputs[name].ndim == 1
            else inputs[name]
            for name, shape in self.shapes.items()
        }


def open_served(path: Path, signature: str) -> Served:
    """Read a `.keras` file, or a SavedModel's folder.

    Args:
        path: The file or folder.
        signature: Which of a SavedModel's signatures.

    Raises:
        ArtifactError: It is neither, is damaged, or holds what is no part of a graph.
        ConfigError: It has no such signature.
    """
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return _from_saved_model(path, signature)
    if path.is_file() and path.suffix == ".keras":
        return _from_keras(path)
    raise ArtifactError(
        "there is no SavedModel and no .keras file."
        + (" HDF5 files are not opened: they may run code." if path.suffix == ".h5" else ""),
        where=str(path),
        fix="name the folder of model.export(...) or tf.saved_model.save(...), or a file of "
        'model.save("ranker.keras")',
    )


def _from_saved_model(path: Path, signature: str) -> Served:
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # tensorflow's readers share no base
        raise _damaged(path, error) from error
    if signature not in loaded.signatures:
        raise ConfigError(
            f"the model has no signature {signature!r} (known: {', '.join(loaded.signatures)}).",
            where=f"{path}, the option 'signature' of a stack",
            fix="name one of them",
        )
    function = loaded.signatures[signature]
    names = [(variable.handle, variable.name) for variable in function.variables]
    served = _frozen(function, names, path, loaded)
    owners = {name.split("/")[0] for name in served.variables.values() if "/" in name}
    nodes = [node.name for node in served.graph.node]
    scopes = scopes_by_name(nodes, owners)
    graph, places = layers_marked(served.graph, scopes, set(served.outputs.values()))
    return replace(
        served,
        graph=graph,
        places=places,
        own=own_names(nodes, scopes),
        layers={path for paths in scopes for path in paths},
    )


def _from_keras(path: Path) -> Served:
    import keras

    try:
        model = keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:  # keras raises whatever a layer raises
        raise _damaged(path, error) from error
    entries = list(getattr(model, "inputs", None) or ())
    if not entries:
        raise ArtifactError(
            f"{type(model).__name__} does not say what its inputs are.",
            where=str(path),
            fix="export it as a SavedModel: model.export(folder)",
        )
    specs = {
        entry.name: tf.TensorSpec([None, *entry.shape[1:]], entry.dtype, name=entry.name)
        for entry in entries
    }
    with LayerMarks(model) as marks:
        function = tf.function(
            lambda **given: model(_packed(model, given), training=False), autograph=False
        ).get_concrete_function(**specs)
    names = [(variable.value.handle, variable.path) for variable in model.variables]
    served = _frozen(function, names, path, model)
    nodes = [node.name for node in served.graph.node]
    scopes = scopes_by_name(nodes, marks.owners)
    return replace(
        served,
        places=marks.places(nodes),
        own=own_names(nodes, scopes),
        layers={path for paths in scopes for path in paths},
        settings=marks.settings,
        skipped=marks.skipped,
    )


def _packed(model: Any, given: Mapping[str, Any]) -> Any:
    """The inputs, in the structure that the model is called with."""
    import keras

    struct = getattr(model, "_inputs_struct", None)
    if struct is None:  # a Sequential model has one input
        return next(iter(given.values()))
    entries = keras.tree.flatten(struct)
    return keras.tree.pack_sequence_as(struct, [given[entry.name] for entry in entries])


def _frozen(
    function: Any, variables: Sequence[tuple[Any, str]], path: Path, owner: object
) -> Served:
    """The graph of a traced function, its variables turned into constants."""
    if any(one.dtype == tf.string for one in function.inputs):
        raise ArtifactError(
            "the model reads text: serialised examples, or strings to look up.",
            where=f"{path}, inputs {', '.join(one.name for one in function.inputs)}",
            fix="name a signature of numbers, or export one that starts behind the parsing",
        )
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    held = [one.name for one in frozen.inputs if one.dtype in {tf.resource, tf.variant}]
    if held:
        raise ArtifactError(
            f"the model keeps {held[0]!r} outside of its graph: a lookup table, or other state.",
            where=str(path),
            fix="look ids up in the inputs function, and export the model behind that",
        )
    arguments = {spec.name: name for name, spec in function.structured_input_signature[1].items()}
    inputs = {arguments.get(one.op.name, one.op.name): one.name for one in frozen.inputs}
    shapes = {name: tuple(one.shape) for name, one in zip(inputs, frozen.inputs, strict=True)}
    outputs = dict(
        zip(_labels(function.structured_outputs), [o.name for o in frozen.outputs], strict=True)
    )

    def answer(given: Mapping[str, Array]) -> dict[str, Array]:
        fed = {name: tf.constant(given[name]) for name in inputs}
        found = nest.flatten(function(**fed))
        return {name: one.numpy() for name, one in zip(outputs, found, strict=True)}

    return Served(
        graph=in_order(frozen.graph.as_graph_def()),
        inputs=inputs,
        shapes=shapes,
        outputs=outputs,
        places={},
        own={},
        layers=(),
        variables={
            inner.name.split(":")[0]: name
            for held, inner in function.graph.captures
            for handle, name in variables
            if handle is held
        },
        settings={},
        skipped={},
        answer=answer,
        owner=owner,
    )


def _labels(structure: Any) -> list[str]:
    """`return`, or `return.<key>` of each tensor in what a function returns."""
    found = []
    for keys, _ in nest.flatten_with_tuple_paths(structure):
        label = ".".join(str(key) for key in keys)
        found.append(f"{RETURNED}.{label}" if label else RETURNED)
    return found


def _damaged(path: Path, error: Exception) -> ArtifactError:
    says = " ".join(str(error).split())[:300].rstrip(".")
    return ArtifactError(
        f"TensorFlow can not read the model: {type(error).__name__}: {says}.",
        where=str(path),
        fix="save it again; a model with layers of your own needs model.export(folder), which "
        "holds their graph",
    )
