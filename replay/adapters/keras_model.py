"""A user's own Keras model or SavedModel as a stack: `open: replay.adapters.keras_model:open_stack`."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

import replay
from replay.adapters.example import digest_of_batch, example_batch
from replay.adapters.imported import digest_of_source, imported
from replay.adapters.inputs import Rows
from replay.adapters.model_stack import ModelStack, assembled, features_of
from replay.adapters.outputs import choose_outputs
from replay.adapters.rounding import measure_rounding
from replay.digests import digest_of_code, digest_of_json, digest_of_path
from replay.errors import ArtifactError, ConfigError, ToolkitError
from replay.stack import StackIdentity
from replay.threads import OWN_POOLS, recorded_threads
from replay.trace import Array

os.environ.update({key: value for key, value in OWN_POOLS.items() if key not in os.environ})

import tensorflow as tf  # it reads that when it loads

from replay.adapters.tf_program import TfProgram  # TensorFlow reads that when it loads
from replay.adapters.tf_served import Served, open_served  # as above

# What computes, besides this project's code.
TENSORFLOW: Mapping[str, str] = {"tensorflow": tf.__version__, "keras": tf.keras.__version__}
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
    signature: str = "serving_default",
    name: str = "keras",
    threads: int = 1,
) -> ModelStack:
    """Open a model on TensorFlow (CPU) and make its layers' outputs checkpoints.

    A layer's output carries the layer's names from the outermost in; every other tensor that has
    rows its operator's name. Both are the same for a `.keras` file and for the SavedModel that
    `model.export` writes.

    Args:
        artifact: A `.keras` file of Keras 3, or a SavedModel's folder.
        inputs: "package.module:function", from a `RequestBatch` to named arrays: one per input of
            the model, one row per candidate.
        example: A log, one of its days, or "package.module:function": a few requests that
            the graph is traced and its rounding measured with. A path may be relative to the
            artifact's folder.
        logit: Which tensor is the log-odds: what the model returns, or a checkpoint.
        pctr: Which one is the probability; by default the sigmoid of the logit.
        money: Path of the bid, such as "candidate.bid_micros", where the rank goes by eCPM.
        batch: What the model's rows are: "candidate", or "request" for a model that scores all
            candidates of a request at once, one column each.
        request_inputs: Inputs with one row per request; the model sees them once a candidate.
        columns: Input to the names of its columns: each is a feature of its own.
        nan_is_missing: Real inputs in which NaN means a missing value.
        signature: Which of a SavedModel's signatures.
        name: What reports call the stack.
        threads: TensorFlow's own; last bits may depend on them.

    Raises:
        ArtifactError: The model is missing or damaged, reads text, or keeps state outside of its
            graph.
        ConfigError: An option does not fit the model.
        StackError: The inputs function gave no usable arrays.
    """
    path = Path(artifact)
    served = open_served(path, signature)
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
    program = opened(served, fed, path, threads)
    who = StackIdentity(
        name=name,
        digest=digest_of_path(path),
        code=digest_of_json(
            [
                digest_of_code(sys.modules[f"{replay.__name__}.adapters"]),
                *(digest_of_batch(seen), digest_of_source(function), inputs, logit, pctr, money),
                *(batch, sorted(request_inputs), sorted(nan_is_missing), signature),
                {key: list(names) for key, names in columns.items()},
            ]
        ),
        versions={one: version(one) for one in ("numpy", "pyarrow")} | dict(TENSORFLOW),
        threads=recorded_threads() | {"tensorflow": str(threads)},
    )
    return assembled(
        name=name,
        program=program,
        features=features,
        outputs=choose_outputs(program.tensors, logit=logit, pctr=pctr, money=money, rows=batch),
        example=seen,
        who=who,
        rounding=measure_rounding(program, fed),
    )


def opened(served: Served, fed: Mapping[str, Array], path: Path, threads: int) -> TfProgram:
    """The model as a program, its inputs checked.

    Raises:
        ArtifactError: TensorFlow can not run it on the example.
        ConfigError: It reads what the inputs function does not give.
    """
    missing = [name for name in served.inputs if name not in fed]
    if missing:
        raise ConfigError(
            f"the model reads {', '.join(missing)}; the inputs function gives {', '.join(fed)}.",
            where=f"{path}, inputs {', '.join(served.inputs)}",
            fix="return one array for each input of the model, by its name",
        )
    try:
        return TfProgram(served, fed, threads=threads)
    except ToolkitError:
        raise
    except Exception as error:  # TensorFlow's errors, numpy's and protobuf's share no base
        shapes = {name: f"{array.dtype}{list(array.shape)}" for name, array in fed.items()}
        says = " ".join(str(error).split())[:300].rstrip(".")
        raise ArtifactError(
            f"TensorFlow can not run the model: {type(error).__name__}: {says}.",
            where=f"{path}, fed {shapes}",
            fix="feed the dtypes and shapes that the model declares",
        ) from error
