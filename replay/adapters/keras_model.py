"""A user's own Keras model or SavedModel as a stack: `open: replay.adapters.keras_model:open_stack`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from replay.adapters.model_options import Fed, ModelOptions, options_of
from replay.adapters.model_stack import ModelStack, assembled
from replay.adapters.rounding import measure_rounding
from replay.digests import digest_of_path
from replay.errors import ArtifactError, ConfigError, ToolkitError
from replay.stack import StackIdentity
from replay.threads import OWN_POOLS, recorded_threads

os.environ.update({key: value for key, value in OWN_POOLS.items() if key not in os.environ})

import tensorflow as tf  # it reads that when it loads

from replay.adapters.tf_program import TfProgram  # TensorFlow reads that when it loads
from replay.adapters.tf_served import Served, open_served  # as above

# What computes, besides this project's code.
TENSORFLOW: Mapping[str, str] = {"tensorflow": tf.__version__, "keras": tf.keras.__version__}


def open_stack(
    artifact: Path,
    *,
    signature: str = "serving_default",
    name: str = "keras",
    threads: int = 1,
    **options: Any,
) -> ModelStack:
    """Open a model on TensorFlow (CPU) and make its layers' outputs checkpoints.

    A layer's output carries the layer's names from the outermost in; every other real tensor that
    has rows its operator's name. Both are the same for a `.keras` file and for the SavedModel that
    `model.export` writes.

    Args:
        artifact: A `.keras` file of Keras 3, or a SavedModel's folder.
        signature: Which of a SavedModel's signatures.
        name: What reports call the stack.
        threads: TensorFlow's own; last bits may depend on them.
        options: `inputs`, `example` and more: `replay.adapters.model_options.ModelOptions`.

    Raises:
        ArtifactError: The model is missing or damaged, reads text, or keeps state outside of its
            graph.
        ConfigError: An option does not fit the model.
        StackError: The inputs function gave no usable arrays.
    """
    path, chosen = Path(artifact), options_of(ModelOptions, options, stack=name)
    served = open_served(path, signature)
    fed = chosen.fed(path)
    program = opened(served, fed, path, threads)
    return assembled(
        name=name,
        program=program,
        features=fed.features,
        outputs=chosen.outputs(program),
        example=fed.example,
        who=StackIdentity(
            name=name,
            digest=digest_of_path(path),
            code=chosen.code(fed, signature),
            versions={one: version(one) for one in ("numpy", "pyarrow")} | dict(TENSORFLOW),
            threads=recorded_threads() | {"tensorflow": str(threads)},
        ),
        rounding=measure_rounding(program, fed.inputs),
    )


def opened(served: Served, fed: Fed, path: Path, threads: int) -> TfProgram:
    """The model as a program, its inputs checked.

    Raises:
        ArtifactError: TensorFlow can not run it on the example.
        ConfigError: It reads what the inputs function does not give.
    """
    missing = [name for name in served.inputs if name not in fed.inputs]
    if missing:
        raise ConfigError(
            f"the model reads {', '.join(missing)}; the inputs function gives {', '.join(fed.inputs)}.",
            where=f"{path}, inputs {', '.join(served.inputs)}",
            fix="return one array for each input of the model, by its name",
        )
    try:
        return TfProgram(served, fed.inputs, threads=threads)
    except ToolkitError:
        raise
    except Exception as error:  # TensorFlow's errors, numpy's and protobuf's share no base
        says = " ".join(str(error).split())[:300].rstrip(".")
        raise ArtifactError(
            f"TensorFlow can not run the model: {type(error).__name__}: {says}.",
            where=f"{path}, fed {fed.shapes}",
            fix="feed the dtypes and shapes that the model declares",
        ) from error
