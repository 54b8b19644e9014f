"""The transformer as an ONNX graph on ONNX Runtime, cut open where a module's output is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]  # it comes without types
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram

from modern.export.run import Ran
from modern.export.torch_graph import quiet
from replay.adapters import onnx_surgery as surgery
from replay.adapters.onnx_names import module_outputs, operators_by_module, scopes_of
from replay.errors import ArtifactError
from replay.layer_functions import settings_of_operators

INPUTS = (
    *("request_real", "request_code", "step_real", "step_code", "step_age", "step_old"),
    *("step_weight", "candidate_real", "candidate_code"),
)
LOGITS = "logits"
OPSET = 20  # the newest that onnxruntime 1.32 implements whole, GELU among it
MODULE = "modern.module:"  # in the graph's metadata: module path to its output's tensor
_EPS = 1e-5  # what LayerNormalization has where nothing is said
SESSIONS = 8  # open at a time: bare, all given, and a few repairs


def onnx_model(program: ExportedProgram, paths: Sequence[str]) -> onnx.ModelProto:
    """Translate a graph; each module's output keeps a tensor that the metadata names.

    Args:
        program: The graph.
        paths: Of the modules to be seen.

    Raises:
        ArtifactError: A module's output did not survive the translation.
    """
    with quiet():
        translated = torch.onnx.export(
            program,
            (),
            input_names=list(INPUTS),
            output_names=[LOGITS],
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # so that no tensor of a module is folded away; sessions optimise
            verbose=False,
        )
    assert translated is not None, "without a file it returns the program"
    model = translated.model_proto
    outputs = _outputs(model)
    for path in paths:
        if path not in outputs:
            raise ArtifactError(
                f"the output of {path!r} is no tensor of the ONNX graph.",
                where="the translation to ONNX",
                fix="export with the pinned versions of torch and onnxscript",
            )
        entry = model.metadata_props.add()
        entry.key, entry.value = f"{MODULE}{path}", outputs[path]
    return model


def _outputs(model: onnx.ModelProto) -> dict[str, str]:
    """Module path to the tensor that its call gives, from what the translation noted."""
    graph = model.graph
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.INT64)
    tables = {
        value.name  # sizes and masks are no module's output: those are rows of numbers or codes
        for value in (*graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type in kinds and len(value.type.tensor_type.shape.dim) > 1
    }
    reads = [surgery.reads_of(node) for node in graph.node]
    gives = [tuple(node.output) for node in graph.node]
    returned = {output.name for output in graph.output}
    found = module_outputs(gives, scopes_of(graph), reads, tables, returned)
    return {output.path: output.tensor for output in found if output.name == output.path}


class OnnxGraph:
    """Sessions of one graph: bare, and split open at the modules that are given.

    Raises:
        ArtifactError: The file is no ONNX model, or none of ours.
    """

    def __init__(self, model: onnx.ModelProto, *, threads: int = 1) -> None:
        self._model = model
        self._threads = threads
        self._tensor = {
            entry.key.removeprefix(MODULE): entry.value
            for entry in model.metadata_props
            if entry.key.startswith(MODULE)
        }
        self._sessions: dict[tuple[frozenset[str], frozenset[str]], Any] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """The modules that can be seen."""
        return tuple(self._tensor)

    def run(
        self, arguments: tuple[Tensor, ...], *, record: Sequence[str], given: Mapping[str, Tensor]
    ) -> Ran:
        """As `modern.export.run.Program`."""
        session = self._session(frozenset(record), frozenset(given), given)
        feed = {name: one.numpy() for name, one in zip(INPUTS, arguments, strict=True)}
        known = {entry.name for entry in session.get_inputs()}
        feed = {name: array for name, array in feed.items() if name in known}
        feed |= {
            f"{self._tensor[path]}{surgery.USED}": np.ascontiguousarray(values.numpy())
            for path, values in given.items()
        }
        wanted = [LOGITS, *(self._tensor[path] for path in record)]
        logits, *found = session.run(wanted, feed)
        return Ran(
            logits=torch.from_numpy(logits),
            recorded={p: torch.from_numpy(a) for p, a in zip(record, found, strict=True)},
        )

    def weights(self) -> dict[str, NDArray[Any]]:
        """As `modern.export.run.Program`: the initializers, which keep the parameters' names."""
        return {one.name: onnx.numpy_helper.to_array(one) for one in self._model.graph.initializer}

    def configuration(self) -> dict[str, str]:
        """As `modern.export.run.Program`."""
        found: dict[str, str] = {}
        graph = self._model.graph
        for node, scopes in zip(graph.node, scopes_of(graph), strict=True):
            if not scopes:
                continue
            plain = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            if node.op_type == "LayerNormalization":
                found[f"{scopes[-1]}.eps"] = str(plain.get("epsilon", _EPS))
            elif node.op_type == "Gelu":
                found[f"{scopes[-1]}.approximate"] = plain.get("approximate", b"none").decode()
        for path, operators in operators_by_module(graph).items():
            for name, word in settings_of_operators(operators).items():
                found.setdefault(f"{path}.{name}", word)
        return found

    def _session(
        self, record: frozenset[str], given: frozenset[str], values: Mapping[str, Tensor]
    ) -> Any:
        key = record, given
        if key not in self._sessions:
            while len(self._sessions) >= SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            kinds = {
                self._tensor[path]: onnx.TensorProto.INT64
                if values[path].dtype == torch.int64
                else onnx.TensorProto.FLOAT
                for path in given
            }
            ranks = {self._tensor[path]: values[path].ndim for path in given}
            changed = surgery.split(self._model, kinds, {}, ranks)
            changed = surgery.with_outputs(changed, [self._tensor[path] for path in sorted(record)])
            options = ort.SessionOptions()
            options.intra_op_num_threads = self._threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3  # that an input is unused where its reader is given
            self._sessions[key] = ort.InferenceSession(
                changed.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[key]


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read a model in a single file.

    Raises:
        ArtifactError: It is none.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, onnx and the file system each have errors of their own
        raise ArtifactError(
            f"the file is no ONNX model: {error}",
            where=str(path),
            fix="export it again: python -m modern export --format onnx",
        ) from error
    return model
