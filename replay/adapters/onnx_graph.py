"""A user's own ONNX graph as a stack: `open: replay.adapters.onnx_graph:open_stack`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it has no types
from onnx import ModelProto, inliner

from replay.adapters.model_options import Fed, ModelOptions, options_of
from replay.adapters.model_stack import ModelStack, assembled
from replay.adapters.onnx_program import OnnxProgram
from replay.adapters.rounding import measure_rounding
from replay.digests import digest_of_path
from replay.errors import ArtifactError, ConfigError
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import Array


def open_stack(
    artifact: Path, *, name: str = "onnx", threads: int = 1, **options: Any
) -> ModelStack:
    """Open a graph on ONNX Runtime (CPU) and make its tensors checkpoints.

    A tensor that is a module's output, as torch.onnx.export noted it, carries the module's path;
    any other one its own name.

    Args:
        artifact: The model, in a single file.
        name: What reports call the stack.
        threads: ONNX Runtime's own; last bits may depend on them.
        options: `inputs`, `example` and more: `replay.adapters.model_options.ModelOptions`.

    Raises:
        ArtifactError: The file is missing or damaged, keeps weights elsewhere, or holds what
            ONNX Runtime can not run.
        ConfigError: An option does not fit the graph.
        StackError: The inputs function gave no usable arrays.
    """
    path, chosen = Path(artifact), options_of(ModelOptions, options, stack=name)
    model = load_model(path)
    fed = chosen.fed(path)
    _check_inputs(model, fed.inputs, path)
    program = _opened(model, fed, path, threads)
    packages = ("onnxruntime", "onnx", "numpy", "pyarrow")
    return assembled(
        name=name,
        program=program,
        features=fed.features,
        outputs=chosen.outputs(program),
        example=fed.example,
        who=StackIdentity(
            name=name,
            digest=digest_of_path(path),
            code=chosen.code(fed),
            versions={package: version(package) for package in packages},
            threads=recorded_threads() | {"onnxruntime": str(threads)},
        ),
        rounding=measure_rounding(program, fed.inputs),
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


def _opened(model: ModelProto, fed: Fed, path: Path, threads: int) -> OnnxProgram:
    try:
        return OnnxProgram(model, fed.inputs, threads=threads)
    except Exception as error:
        # ONNX Runtime's exceptions share no base of their own.
        if type(error).__module__.startswith("onnxruntime"):
            raise ArtifactError(
                f"ONNX Runtime can not run the graph: {_short(error)}.",
                where=f"{path}, fed {fed.shapes}",
                fix="export it with operators and an opset that ONNX Runtime knows, and feed the "
                "dtypes and shapes it declares",
            ) from error
        raise


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
