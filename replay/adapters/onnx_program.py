"""An ONNX graph as a program: sessions of the graph cut open where tensors are given."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Collection, Mapping
from math import prod
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]  # it comes without types
from onnx import AttributeProto, ModelProto, helper, numpy_helper

from replay.adapters import onnx_surgery as surgery
from replay.adapters.dataflow import Seen, Step, checkpoint_tensors
from replay.adapters.onnx_double import NARROW, WIDE, in_float64
from replay.adapters.onnx_faults import onnx_faults, with_onnx_fault
from replay.adapters.onnx_names import module_outputs, names_of, operators_by_module, scopes_of
from replay.adapters.onnx_terms import terms_of
from replay.adapters.program import Tensor, row_axis
from replay.capabilities import Fault
from replay.layer_functions import settings_of_operators
from replay.trace import EMPTY, Array

# As for torch: two unequal numbers of rows, to tell which axis holds them.
TRACED_ROWS = (7, 5)
# Open sessions: the bare graph, all given, and a few repairs. Each holds the weights once.
SESSIONS = 8
# These give the shape of what they read, or something of that shape, and none of its values.
_VALUE_FREE = frozenset(
    {"Shape", "Size", "EyeLike", "RandomNormalLike", "RandomUniformLike", "ConstantOfShape"}
)


class OnnxProgram:
    """A graph whose tensors can be recorded and given; see `replay.adapters.program.Program`.

    Args:
        model: A checked model in one file, without functions.
        inputs: Some rows of every input of the graph, to trace it with.
        threads: Of ONNX Runtime.
    """

    def __init__(self, model: ModelProto, inputs: Mapping[str, Array], *, threads: int = 1) -> None:
        self._threads = threads
        self._is_wide = False
        self._bare = self._open(model, optimised=True)
        self._returned = [output.name for output in model.graph.output]
        self.inputs = tuple(entry.name for entry in self._bare.get_inputs())
        axes, self.skipped, traced = self._trace(model, inputs)
        scopes = scopes_of(model.graph)
        reads = [surgery.reads_of(node) for node in model.graph.node]
        gives = [tuple(node.output) for node in model.graph.node]
        outputs = module_outputs(gives, scopes, reads, axes, self._returned)
        read = {name for names in reads for name in names}
        labelled = {output.tensor for output in outputs}
        # What is only returned has its checkpoint as what the model returns.
        seen = [
            name
            for node in model.graph.node
            for name in node.output
            if name in axes and (name in read or name in labelled)
        ]
        named = names_of(seen, outputs, scopes)
        self._model, self._tensor = surgery.with_names(model, named, scopes)
        source = {
            self._tensor[output.name]: tensor
            for tensor, all_of in named.items()
            for output in all_of
        } | {f"{surgery.RETURNED}{name}": name for name in self._returned}
        self._axis = {
            name: axes[source[tensor]]
            for name, tensor in self._tensor.items()
            if source[tensor] in axes
        }
        shown = {name: traced[source[self._tensor[name]]] for name in self._axis}
        self._kinds = {n: helper.np_dtype_to_tensor_dtype(a.dtype) for n, a in shown.items()}
        self._ranks = {name: array.ndim for name, array in shown.items()}
        self.tensors = self._tensors(shown, traced)
        self._sessions: OrderedDict[tuple[frozenset[str], frozenset[str]], Any] = OrderedDict()

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        record: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """Run all rows once, in a session in which what is given is fed."""
        session = self._session(frozenset(given), frozenset(noise))
        feed = {name: inputs[name] for name in self.inputs}
        for suffix, values in ((surgery.USED, given), (surgery.NOISE, noise)):
            feed |= {
                f"{self._tensor[name]}{suffix}": np.ascontiguousarray(
                    np.moveaxis(array, 0, self._axis[name]) if self._axis[name] else array
                )
                for name, array in values.items()
            }
        if self._is_wide:
            feed = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in feed.items()}
        names = list(record)
        found = session.run([self._tensor[name] for name in names], feed) if names else []
        return {
            name: self._rows_first(name, array) for name, array in zip(names, found, strict=True)
        }

    def run_bare(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the graph returns as it would be served, with every optimisation."""
        # A planted graph's outputs are called as its checkpoints are; their order is kept.
        outputs = [output.name for output in self._bare.get_outputs()]
        found = self._bare.run(outputs, {name: inputs[name] for name in self.inputs})
        return {
            f"{surgery.RETURNED}{name}": self._rows_first(f"{surgery.RETURNED}{name}", array)
            for name, array in zip(self._returned, found, strict=True)
            if f"{surgery.RETURNED}{name}" in self._axis
        }

    def with_threads(self, threads: int) -> OnnxProgram:
        """The same graph on another number of ONNX Runtime's threads."""
        return self._twin(_threads=threads)

    def in_float64(self) -> OnnxProgram:
        """The same graph in float64, run by ONNX's own reference evaluator in numpy.

        Raises:
            StackError: It holds what has no float64 form.
        """
        kinds = {name: WIDE if kind == NARROW else kind for name, kind in self._kinds.items()}
        return self._twin(_model=in_float64(self._model), _kinds=kinds, _is_wide=True)

    def faults(self) -> tuple[Fault, ...]:
        """The real faults that its nodes have room for."""
        return onnx_faults(self._model, {tensor: name for name, tensor in self._tensor.items()})

    def planted(self, fault: Fault) -> OnnxProgram:
        """A program of a copy of the graph, with the fault in it."""
        model = with_onnx_fault(self._model, self._tensor[fault.checkpoint], fault)
        return self._twin(_model=model, _bare=self._open(model, optimised=True))

    def weights(self) -> dict[str, Array]:
        """The initializers that an operator reads: others are no part of what is computed.

        One whose name has no module's path stands under the checkpoint that reads it.
        """
        graph = self._model.graph
        places = {tensor: name for name, tensor in self._tensor.items()}
        readers: dict[str, set[str | None]] = {output.name: {None} for output in graph.output}
        for node in graph.node:
            for name in surgery.reads_of(node):
                readers.setdefault(name, set()).add(places.get(node.output[0]))

        def named(name: str) -> str:
            own = [place for place in readers[name] if place is not None]
            return (
                f"{own[0]}.{name}"
                if "." not in name and len(readers[name]) == len(own) == 1
                else name
            )

        return {
            named(one.name): numpy_helper.to_array(one)
            for one in graph.initializer
            if one.name in readers
        }

    def configuration(self) -> dict[str, str]:
        """Each operator's type and plain attributes, by the checkpoint it produces; by module, which
        activation and norm its operators compute.
        """
        names = {tensor: name for name, tensor in self._tensor.items()}
        plain = {AttributeProto.INT, AttributeProto.FLOAT, AttributeProto.STRING,
                 AttributeProto.INTS, AttributeProto.FLOATS}  # fmt: skip
        found: dict[str, str] = {}
        for node in self._model.graph.node:
            place = names.get(node.output[0])
            if place is None or node.op_type == "Identity":
                continue
            found[f"{place}.class"] = node.op_type
            for attribute in node.attribute:
                if attribute.type in plain:
                    value = helper.get_attribute_value(attribute)
                    text = value.decode(errors="replace") if isinstance(value, bytes) else value
                    found[f"{place}.{attribute.name}"] = str(text)
        for path, operators in operators_by_module(self._model.graph).items():
            for name, word in settings_of_operators(operators).items():
                found.setdefault(f"{path}.{name}", word)
        return found

    def _rows_first(self, name: str, array: Array) -> Array:
        axis = self._axis[name]
        return np.moveaxis(array, axis, 0) if axis else array

    def _twin(self, **changed: object) -> OnnxProgram:
        twin = copy.copy(self)
        vars(twin).update(changed, _sessions=OrderedDict())
        return twin

    def _trace(
        self, model: ModelProto, inputs: Mapping[str, Array]
    ) -> tuple[dict[str, int], dict[str, str], dict[str, Array]]:
        """Tensor to the axis of its rows; what depends on inputs and has none; all values."""
        names = [name for node in model.graph.node for name in node.output if name]
        session = self._open(surgery.with_outputs(model, names))
        rows = len(next(iter(inputs.values())))
        sizes = tuple(min(rows, size) for size in TRACED_ROWS)
        sizes = sizes if sizes[0] != sizes[1] else (sizes[0], sizes[0] - 1)
        runs = [
            dict(
                zip(
                    names,
                    session.run(names, {name: inputs[name][:size] for name in self.inputs}),
                    strict=True,
                )
            )
            for size in sizes
        ]
        varying = _varying(model, self.inputs)
        axes: dict[str, int] = {}
        skipped: dict[str, str] = {}
        for name in names:
            first = runs[0][name]
            if not isinstance(first, np.ndarray) or first.dtype.kind not in "fiub":
                found: int | str = "it is no array of numbers"
            else:
                found = row_axis([run[name].shape for run in runs], sizes)
            if isinstance(found, int):
                axes[name] = found
            elif name in varying:
                skipped[name] = found
        return axes, skipped, {**inputs, **runs[0]}

    def _tensors(self, shown: Mapping[str, Array], traced: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """The checkpoints' tensors, with what they are computed from."""
        by_tensor = {self._tensor[name]: name for name in shown}
        shapes = {name: a.shape for name, a in traced.items() if isinstance(a, np.ndarray)}
        shapes |= {one.name: tuple(one.dims) for one in self._model.graph.initializer}
        seen = {
            tensor: Seen(
                name=name,
                values=shown[name],
                axis=self._axis[name],
                unit=_unit(shown[name]),
                returned=tensor.startswith(surgery.RETURNED),
            )
            for tensor, name in by_tensor.items()
        }
        steps = []
        for node in self._model.graph.node:
            results = sum(prod(shapes.get(name, ())) for name in node.output[:1])
            steps.append(
                Step(
                    reads=() if node.op_type in _VALUE_FREE else surgery.reads_of(node),
                    gives=tuple(node.output),
                    terms=terms_of(node.op_type, [shapes.get(n, ()) for n in node.input], results),
                )
            )
        return checkpoint_tensors(steps, seen, self.inputs)

    def _session(self, given: frozenset[str], noise: frozenset[str]) -> Any:
        key = given, noise
        if key not in self._sessions:
            model = surgery.with_outputs(self._model, list(self._tensor.values()))
            if given or noise:
                model = surgery.split(
                    model,
                    {self._tensor[name]: self._kinds[name] for name in sorted(given)},
                    {self._tensor[name]: self._kinds[name] for name in sorted(noise)},
                    {self._tensor[name]: self._ranks[name] for name in given | noise},
                )
            self._sessions[key] = self._open(model)
            while len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        return self._sessions[key]

    def _open(self, model: ModelProto, *, optimised: bool = False) -> Any:
        if self._is_wide:
            from onnx.reference import ReferenceEvaluator  # heavy, and seldom needed

            return ReferenceEvaluator(model)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self._threads
        options.log_severity_level = 4  # errors come as exceptions; stderr is the user's
        if not optimised:
            # Fused operators would hide the tensors between them.
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _varying(model: ModelProto, inputs: Collection[str]) -> set[str]:
    """Tensors that some input's values reach."""
    found = set(inputs)
    for node in model.graph.node:
        if node.op_type not in _VALUE_FREE and found & set(surgery.reads_of(node)):
            found.update(node.output)
    return found


def _unit(array: Array) -> float:
    return float(np.finfo(array.dtype).eps / 2) if array.dtype.kind == "f" else 0.0
