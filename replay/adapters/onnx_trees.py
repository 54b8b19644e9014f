"""A user's own ONNX tree ensemble, its trees shown: `open: replay.adapters.onnx_trees:open_stack`.

It can be proven equal to other trees on every input (`parity prove`). A log is not needed for
that, so the stack asks for features and does not make them; to replay one, open the graph with
`replay.adapters.onnx_graph` and a function that makes its inputs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]  # it comes without types
from onnx import ModelProto, NodeProto, helper

import replay
from replay.adapters.onnx_graph import load_model
from replay.adapters.onnx_tree_arrays import EnsembleArrays, arrays_of, with_leaves
from replay.adapters.tree_matrix import checked_matrix
from replay.capabilities import TreeStructure
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.digests import digest_of_code, digest_of_path
from replay.errors import ArtifactError, StackError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

_OPERATORS = ("TreeEnsembleRegressor", "TreeEnsembleClassifier")


def open_stack(
    artifact: Path, *, columns: Collection[str] = (), name: str = "onnx", threads: int = 1
) -> OnnxTrees:
    """Open a graph with one tree ensemble over the graph's own float32 matrix.

    Args:
        artifact: The model, in a single file.
        columns: Names of the matrix's columns; by default those in the model's metadata under
            `features`, else f0, f1, ...
        name: What reports call the stack.
        threads: ONNX Runtime's own.

    Raises:
        ArtifactError: The file is missing or damaged, holds no such ensemble, or one with splits
            that are no thresholds.
    """
    path = Path(artifact)
    model = load_model(path)
    node = _ensemble(model, path)
    arrays = arrays_of(node, where=str(path))
    metadata = {one.key: one.value for one in model.metadata_props}
    names = tuple(columns) or tuple(json.loads(metadata.get("features", "[]")))
    names = names or tuple(f"f{place}" for place in range(arrays.num_features))
    if len(names) < arrays.num_features:
        raise ArtifactError(
            f"a tree splits on column {arrays.num_features - 1}; {len(names)} columns have names.",
            where=str(path),
            fix="name every column in the option 'columns'",
        )
    session = _opened(model, node, arrays, width=len(names), threads=threads)
    return OnnxTrees(
        name=name,
        path=path,
        arrays=arrays,
        features=names,
        training_id=metadata.get("training_id"),
        session=session,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxTrees:
    """The trees of an ONNX ensemble; features have to be given.

    Attributes:
        name: What reports call it.
        path: The model.
        arrays: The trees as the operator holds them.
        features: Names of the columns.
        training_id: From the model's metadata.
        session: The same nodes in ONNX Runtime, each leaf giving its ordinal to its tree's target.
    """

    name: str
    path: Path
    arrays: EnsembleArrays = field(repr=False)
    features: tuple[str, ...]
    training_id: str | None
    session: Any = field(repr=False)

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """The features, and the leaves."""
        own = Rounding(ulps=0.5, why="computed in float64, rounded once to float32")
        features = [
            Checkpoint(
                name=f"features.{name}",
                stage="feature",
                axes=("candidate",),
                dtype="float32",
                missing="nan",
                rounding=own,
            )
            for name in self.features
        ]
        leaves = Checkpoint(
            name="gbdt.leaves",
            stage="tree",
            axes=("candidate", "tree"),
            shape=(len(self.arrays.structure),),
            dtype="int32",
            after=tuple(one.name for one in features),
            unit="leaf",
            exact=True,
        )
        return CheckpointGraph([*features, leaves], stack=self.name)

    def identity(self) -> StackIdentity:
        """What would be needed to run it again."""
        return StackIdentity(
            name=self.name,
            digest=digest_of_path(self.path),
            training_id=self.training_id,
            code=digest_of_code(sys.modules[f"{replay.__name__}.adapters"]),
            versions={package: version(package) for package in ("onnxruntime", "onnx", "numpy")},
            threads=recorded_threads(),
        )

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """The leaves of given features.

        Raises:
            StackError: A feature is not given: there is nothing to make it from.
        """
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        missing = [name for name in self.features if f"features.{name}" not in given]
        if missing:
            raise StackError(
                f"{missing[0]!r} is not given, and these trees make no features of a request.",
                where=f"stack {self.name!r}",
                fix="prove the trees (parity prove); to replay the model open it with "
                "replay.adapters.onnx_graph and an inputs function",
            )
        columns = [given[f"features.{name}"] for name in self.features]
        values = dict(given)
        if "gbdt.leaves" in capture:
            values["gbdt.leaves"] = self.leaves(np.stack(columns, axis=1))
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values=values,
            checkpoints=self.checkpoints,
            capture=capture,
        )

    def tree_features(self) -> tuple[str, ...]:
        """Names of the matrix's columns."""
        return self.features

    def split_points(self) -> tuple[Array, ...]:
        """Per column, its float32 thresholds, ascending, each once."""
        return self.arrays.split_points(len(self.features))

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        """The trees, a split `x <= t` as `x <` the next float32."""
        return self.arrays.structure

    def leaves(self, features: Array) -> Array:
        """[row, tree] int32, by ONNX Runtime's own walk.

        Raises:
            StackError: Another matrix than float32 [row, column].
        """
        matrix = checked_matrix(features, len(self.features), stack=self.name)
        if not len(matrix):
            return np.zeros((0, len(self.arrays.structure)), np.int32)
        (found,) = self.session.run(None, {"features": matrix})
        ordinals: Array = found.astype(np.int32)
        return ordinals


def _ensemble(model: ModelProto, path: Path) -> NodeProto:
    """The one tree ensemble, which has to read the graph's input."""
    found = [node for node in model.graph.node if node.op_type.startswith("TreeEnsemble")]
    if len(found) != 1 or found[0].op_type not in _OPERATORS:
        kinds: Sequence[str] = sorted({node.op_type for node in found})
        raise ArtifactError(
            f"the graph has {len(found)} tree ensembles ({', '.join(kinds) or 'none'}).",
            where=str(path),
            fix=f"name a graph with exactly one {' or '.join(_OPERATORS)}",
        )
    inputs = {entry.name for entry in model.graph.input}
    if found[0].input[0] not in inputs:
        raise ArtifactError(
            f"the trees read {found[0].input[0]!r}, which the graph computes.",
            where=str(path),
            fix="prove a graph whose trees read its input: what comes before them is not proven",
        )
    ensemble: NodeProto = found[0]
    return ensemble


def _opened(
    model: ModelProto, node: NodeProto, arrays: EnsembleArrays, *, width: int, threads: int
) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 4  # errors come as exceptions; stderr is the user's
    graph = helper.make_graph(
        [with_leaves(node, arrays)],
        "leaves",
        [helper.make_tensor_value_info("features", 1, ["rows", width])],
        [helper.make_tensor_value_info("leaves", 1, ["rows", len(arrays.structure)])],
    )
    leaves = helper.make_model(graph, opset_imports=list(model.opset_import))
    leaves.ir_version = model.ir_version
    return ort.InferenceSession(
        leaves.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
