"""A TensorFlow graph as a program: any of its tensors can be read, given or disturbed."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from tensorflow.python.framework import tensor_util

from replay.adapters.tf_faults import tf_faults, with_tf_fault
from replay.adapters.tf_graph import PASSING, in_float64, reads_of
from replay.adapters.tf_marks import kinds_of
from replay.adapters.tf_names import weight_names
from replay.adapters.tf_served import Served
from replay.adapters.tf_session import (
    noise_of,
    numpy_kind,
    plain,
    session_of,
    settable,
    used_of,
)
from replay.adapters.tf_trace import TfTrace
from replay.capabilities import Fault
from replay.trace import EMPTY, Array


class TfProgram:
    """A graph whose tensors can be recorded and given; see `replay.adapters.program.Program`.

    Args:
        served: The model.
        inputs: Some rows of every input, to trace it with.
        threads: Of TensorFlow.
    """

    def __init__(self, served: Served, inputs: Mapping[str, Array], *, threads: int = 1) -> None:
        self._served = served
        self._threads = threads
        self._is_planted = False
        self._graph = served.graph
        self._kinds = kinds_of(self._graph)
        trace = TfTrace(served, session_of(self._graph, threads), self._fed(inputs))
        self.tensors = trace.tensors
        self.skipped = {**served.skipped, **trace.skipped}
        self._tensor = {one.name: tensor for tensor, one in trace.seen.items()}
        self._axis = {one.name: one.axis for one in trace.seen.values()}
        self._returned = [tensor.name for tensor in self.tensors if tensor.returned]

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        record: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """Run all rows once; what is given is read in place of what was produced."""
        feed = self._fed(inputs)
        for fed_as, values in ((used_of, given), (noise_of, noise)):
            for name, array in values.items():
                tensor = self._tensor[name]
                if name in self._returned:  # nothing reads it
                    continue
                moved = np.moveaxis(array, 0, self._axis[name])
                feed[fed_as(tensor)] = moved.astype(numpy_kind(self._kinds[tensor]))
        names = list(record)
        session = self._noisy if noise else self._session
        found = session.run([self._tensor[name] for name in names], feed) if names else []
        return {
            name: self._rows_first(name, array) for name, array in zip(names, found, strict=True)
        }

    def run_bare(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the model returns as it would be served; a planted one with every optimisation."""
        if self._is_planted:
            session = session_of(self._graph, self._threads, optimised=True)
            tensors = [self._served.outputs[name] for name in self._returned]
            found = dict(zip(self._returned, session.run(tensors, self._fed(inputs)), strict=True))
        else:
            found = self._served.answer(self._served.as_declared(inputs))
        return {name: self._rows_first(name, found[name]) for name in self._returned}

    def in_float64(self) -> TfProgram:
        """The same graph in float64.

        Raises:
            StackError: It computes in a half precision.
        """
        return self._twin(_graph=in_float64(self._graph))

    def with_threads(self, threads: int) -> TfProgram:
        """The same graph on another number of TensorFlow's threads."""
        return self._twin(_threads=threads)

    def faults(self) -> tuple[Fault, ...]:
        """The real faults that its nodes have room for."""
        return tf_faults(self._graph, self._place_of)

    def planted(self, fault: Fault) -> TfProgram:
        """A program of a copy of the graph, with the fault in it."""
        return self._twin(
            _graph=with_tf_fault(self._graph, self._place_of, fault), _is_planted=True
        )

    def weights(self) -> dict[str, Array]:
        """What were variables, by their names: `dense.kernel`.

        One that is no layer's stands under the checkpoint that reads it.
        """
        layers = self._served.layers
        names = weight_names(self._served.variables, layers)
        found = {}
        for node in self._graph.node:
            if node.name in names:
                name = names[node.name]
                place = self._readers.get(node.name)
                if place is not None and name.rpartition(".")[0] not in layers:
                    name = f"{place}.{name}"
                found[name] = plain(tensor_util.MakeNdarray(node.attr["value"].tensor))
        return found

    def configuration(self) -> dict[str, str]:
        """Keras's own settings; each operator's type, and constants that are single numbers."""
        found = dict(self._served.settings)
        for node in self._graph.node:
            if node.op == "Const" and node.name not in self._served.variables:
                values = tensor_util.MakeNdarray(node.attr["value"].tensor)
                if values.ndim == 0 and values.dtype.kind in "fiub":
                    found[self._served.own.get(node.name, node.name)] = str(values)
            elif node.name in self._place_of and node.op not in PASSING:
                found.setdefault(f"{self._place_of[node.name]}.class", node.op)
        return found

    @cached_property
    def _place_of(self) -> dict[str, str]:
        """Node to the checkpoint of what it gives: the mark's, where only that reads it."""
        names = {tensor: name for name, tensor in self._tensor.items()}
        found: dict[str, str] = {}
        for node in list(self._graph.node)[::-1]:
            name = names.get(f"{node.name}:0") or found.get(node.name)
            if name is not None:
                found[node.name] = name
                if node.op in PASSING:
                    found.update({one.split(":")[0]: name for one in reads_of(node)})
        return found

    @cached_property
    def _readers(self) -> dict[str, str]:
        """Node to the first checkpoint computed from it, also where it is passed on before."""
        found: dict[str, str] = {}
        for node in list(self._graph.node)[::-1]:
            place = self._place_of.get(node.name) or found.get(node.name)
            if place is not None and (node.op in PASSING or node.name in self._place_of):
                found.update({one.split(":")[0]: place for one in reads_of(node)})
        return found

    @cached_property
    def _session(self) -> Any:
        return session_of(self._settable(noisy=False), self._threads)

    @cached_property
    def _noisy(self) -> Any:
        return session_of(self._settable(noisy=True), self._threads)

    def _settable(self, *, noisy: bool) -> Any:
        inner = [self._tensor[one.name] for one in self.tensors if not one.returned]
        return settable(self._graph, [(one, self._kinds[one]) for one in inner], noisy=noisy)

    def _fed(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        declared = self._served.as_declared(inputs)
        return {
            tensor: declared[name].astype(numpy_kind(self._kinds[tensor]))
            for name, tensor in self._served.inputs.items()
        }

    def _rows_first(self, name: str, array: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(plain(array), self._axis[name], 0))

    def _twin(self, **changed: Any) -> TfProgram:
        twin = copy.copy(self)
        for name in ("_session", "_noisy"):
            vars(twin).pop(name, None)
        vars(twin).update(changed)
        twin._kinds = kinds_of(twin._graph)  # noqa: SLF001  # its own class
        return twin
