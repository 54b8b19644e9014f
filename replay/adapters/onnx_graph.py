"""A user's own ONNX graph as a stack: `open: replay.adapters.onnx_graph:open_stack`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no types
from onnx import ModelProto, inliner

import replay
from replay.adapters.example import digest_of_batch, example_batch
from replay.adapters.imported import digest_of_source, imported
from replay.adapters.inputs import Rows
from replay.adapters.model_stack import ModelStack, assembled, features_of
from replay.adapters.onnx_program import OnnxProgram
from replay.adapters.outputs import choose_outputs
from replay.adapters.rounding import measure_rounding
from replay.digests import digest_of_code, digest_of_json, digest_of_path
from replay.errors import ArtifactError, ConfigError
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import Array

NO_COLUMNS: Mapping[str, Collection[str]] = {}


def open_stack(
    artifact: Path,
    *,
    inputs: str,
    example: str,
    logit: str | None = None,
    pctr: str | None = None,
    money: str | None = None,
    batch: Rows = "candidate",
    request_inputs: Collection[str] = (),
    columns: Mapping[str, Collection[str]] = NO_COLUMNS,
    nan_is_missing: Collection[str] = (),
    name: str = "onnx",
    threads: int = 1,
) -> ModelStack:
    """Open a graph on ONNX Runtime (CPU) and make its tensors checkpoints.

    A tensor that is a module's output, as torch.onnx.export noted it, carries the module's path;
    any other one its own name.

    Args:
        artifact: The model, in a single file.
        inputs: "package.module:function", from a `RequestBatch` to named arrays: one per input of
            the graph, one row per candidate.
        example: A log, one of its days, or "package.module:function": a few requests that
            the graph is traced and its rounding measured with. A path may be relative to the
            artifact's folder.
        logit: Which tensor is the log-odds: an output of the graph, or a checkpoint.
        pctr: Which one is the probability; by default the sigmoid of the logit.
        money: Path of the bid, such as "candidate.bid_micros", where the rank goes by eCPM.
        batch: What the graph's rows are: "candidate", or "request" for a graph that scores all
            candidates of a request at once, one column each.
        request_inputs: Inputs with one row per request; the graph sees them once a candidate.
        columns: Input to the names of its columns: each is a feature of its own.
        nan_is_missing: Real inputs in which NaN means a missing value.
        name: What reports call the stack.
        threads: ONNX Runtime's own; last bits may depend on them.

    Raises:
        ArtifactError: The file is missing or damaged, keeps weights elsewhere, or holds what
            ONNX Runtime can not run.
        ConfigError: An option does not fit the graph.
        StackError: The inputs function gave no usable arrays.
    """
    path = Path(artifact)
    model = load_model(path)
    function = imported(inputs, option="inputs")
    seen = example_batch(example, beside=path)
    features = features_of(
        function,
        seen,
        rows=batch,
        request_inputs=request_inputs,
        columns=columns,
        nan_is_missing=nan_is_missing,
    )
    fed = features.inputs(features.produced(seen), seen.keys)
    _check_inputs(model, fed, path)
    program = _opened(model, fed, path, threads)
    outputs = choose_outputs(program.tensors, logit=logit, pctr=pctr, money=money, rows=batch)
    packages = ("onnxruntime", "onnx", "numpy", "pyarrow")
    who = StackIdentity(
        name=name,
        digest=digest_of_path(path),
        code=digest_of_json(
            [
                *(
                    digest_of_code(sys.modules[f"{replay.__name__}.adapters"]),
                    digest_of_batch(seen),
                ),
                *(digest_of_source(function), inputs, logit, pctr, money, batch),
                *(sorted(request_inputs), sorted(nan_is_missing)),
                {key: list(names) for key, names in columns.items()},
            ]
        ),
        versions={package: version(package) for package in packages},
        threads=recorded_threads() | {"onnxruntime": str(threads)},
    )
    return assembled(
        name=name,
        program=program,
        features=features,
        outputs=outputs,
        example=seen,
        who=who,
        rounding=measure_rounding(program, fed),
    )


def load_model(path: Path) -> ModelProto:
    """Read a model that stands in one file, its functions inlined.

    Raises:
        ArtifactError: It is missing, damaged, no valid model, or keeps weights in other files.
    """
    if not path.is_file():
        raise ArtifactError(
            "there is no such file.", where=str(path), fix="name an .onnx file that exists"
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
        outside = _external(model)
        if outside:
            raise ArtifactError(
                f"{outside[0]!r} keeps its values in another file ({len(outside)} weights do).",
                where=str(path),
                fix="export into a single file: torch.onnx.export(..., external_data=False)",
            )
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(
            f"the file is no valid ONNX model: {_short(error)}.",
            where=str(path),
            fix="export it again",
        ) from error
    return inliner.inline_local_functions(model) if model.functions else model


def _external(model: ModelProto) -> list[str]:
    return [
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]


def _check_inputs(model: ModelProto, fed: Mapping[str, Array], path: Path) -> None:
    """Refuse inputs that the graph lacks, and graphs made for a fixed number of rows."""
    weights = {tensor.name for tensor in model.graph.initializer}
    wanted = [entry for entry in model.graph.input if entry.name not in weights]
    names = [entry.name for entry in wanted]
    missing = [name for name in names if name not in fed]
    if missing or not names:
        raise ConfigError(
            f"the graph reads {', '.join(missing) or 'nothing'}; the inputs function gives "
            f"{', '.join(fed)}.",
            where=f"{path}, inputs {', '.join(names)}",
            fix="return one array for each input of the graph, by its name",
        )
    for entry in wanted:
        dims = entry.type.tensor_type.shape.dim
        if dims and dims[0].HasField("dim_value"):
            raise ArtifactError(
                f"the graph was exported for exactly {dims[0].dim_value} rows.",
                where=f"{path}, input {entry.name!r}",
                fix="export it with a dynamic first axis (dynamic_shapes, or dynamic_axes)",
            )


def _opened(model: ModelProto, fed: Mapping[str, Array], path: Path, threads: int) -> OnnxProgram:
    try:
        return OnnxProgram(model, fed, threads=threads)
    except Exception as error:
        # ONNX Runtime's exceptions share no base of their own.
        if type(error).__module__.startswith("onnxruntime"):
            shapes = {name: f"{array.dtype}{list(array.shape)}" for name, array in fed.items()}
            raise ArtifactError(
                f"ONNX Runtime can not run the graph: {_short(error)}.",
                where=f"{path}, fed {shapes}",
                fix="export it with operators and an opset that ONNX Runtime knows, and feed the "
                "dtypes and shapes it declares",
            ) from error
        raise


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
