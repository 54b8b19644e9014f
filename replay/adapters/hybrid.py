"""Boosted trees and what reads their leaves, as one stack: `open: replay.adapters.hybrid:open_stack`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from replay.adapters.booster import open_library
from replay.adapters.booster_stack import BoosterStack, logged_columns, trees_of
from replay.adapters.booster_trees import LEAVES
from replay.adapters.edges import parents_of
from replay.adapters.example import example_batch
from replay.adapters.hybrid_program import HybridProgram
from replay.adapters.imported import digest_of_source, imported
from replay.adapters.inputs import InputSpec, computed, leaf_inputs
from replay.adapters.keras_model import TENSORFLOW, opened
from replay.adapters.model_options import ADAPTERS, Fed
from replay.adapters.model_stack import features_of, observed
from replay.adapters.outputs import choose_outputs
from replay.adapters.rounding import measure_rounding
from replay.adapters.tf_served import open_served
from replay.digests import digest_of_code, digest_of_json, digest_of_path
from replay.errors import ConfigError
from replay.stack import StackIdentity
from replay.threads import recorded_threads


def open_stack(
    artifact: Path,
    *,
    booster: str,
    model: str,
    leaves: str,
    logit: str | None = None,
    pctr: str | None = None,
    signature: str = "serving_default",
    name: str = "hybrid",
    threads: int = 1,
    **options: Any,
) -> BoosterStack:
    """Open a booster and the Keras model or SavedModel that reads its leaves.

    Features, `gbdt.leaves` (ordinals within each tree) and the model's layers are checkpoints.

    Args:
        artifact: The folder of both.
        booster: XGBoost's JSON or UBJSON in it, or LightGBM's text.
        model: The `.keras` file or SavedModel in it.
        leaves: "package.module:function", from leaf ids int32 [row, tree], as the library's own
            prediction of leaves gives them (XGBoost's `pred_leaf`: node ids), to named arrays:
            inputs of the model.
        logit: Which tensor is the log-odds: what the model returns, or a checkpoint.
        pctr: Which one is the probability; by default the sigmoid of the logit.
        signature: Which of a SavedModel's signatures.
        name: What reports call the stack.
        threads: The libraries' own.
        options: `inputs`, `example` and more: `replay.adapters.booster_stack.LoggedColumns`. The
            inputs that are the booster's features are its; the model reads those of its own names.

    Raises:
        ArtifactError: A file is missing, damaged, or holds what can not be run.
        ConfigError: An option does not fit.
        StackError: The inputs function, or that of leaves, gave no usable arrays.
    """
    folder = Path(artifact)
    logged = logged_columns(options, stack=name)
    library, package = open_library(folder / booster, threads, logged.iteration_range())
    served = open_served(folder / model, signature)
    function, joins = imported(logged.inputs, option="inputs"), imported(leaves, option="leaves")
    seen = example_batch(logged.example, beside=folder)
    given = computed(function, seen)
    features = features_of(
        function,
        seen,
        rows="candidate",
        request_inputs=logged.request_inputs,
        columns=logged.columns,
        nan_is_missing=[
            key for key, one in given.items() if one.dtype.kind == "f" and key not in served.inputs
        ],
    )
    fed = features.inputs(features.produced(seen), seen.keys)
    trees = trees_of(
        library, _read_by_trees(features.specs, library.feature_names, served.inputs), folder
    )
    joined = leaf_inputs(joins, library.leaf_ids(trees.run(fed, record=[LEAVES])[LEAVES]))
    program = HybridProgram(
        trees=trees,
        model=opened(
            served,
            Fed(features=features, example=seen, inputs={**fed, **joined}),
            folder / model,
            threads,
        ),
        joins=joins,
        joined=tuple(joined),
    )
    return BoosterStack(
        name=name,
        program=program,
        features=features,
        outputs=choose_outputs(
            program.tensors, logit=logit, pctr=pctr, money=logged.money, rows="candidate"
        ),
        rounding=measure_rounding(program, fed),
        after=parents_of(program, features.specs, fed) | {LEAVES: trees.features_read()},
        who=StackIdentity(
            name=name,
            digest=digest_of_path(folder),
            code=digest_of_json(
                [
                    digest_of_code(ADAPTERS),
                    *logged.digest(function, seen),
                    *(digest_of_source(joins), leaves, booster, model, signature, logit, pctr),
                ]
            ),
            versions={one: version(one) for one in (package, "numpy", "pyarrow")}
            | dict(TENSORFLOW),
            threads=recorded_threads() | {package: str(threads), "tensorflow": str(threads)},
        ),
        observation=observed(program, fed),
    )


def _read_by_trees(
    specs: Collection[InputSpec], wanted: Collection[str], model: Mapping[str, str]
) -> list[InputSpec]:
    """The inputs that the booster reads: by its features' names, else all that the model does not."""
    named = [
        spec
        for spec in specs
        if {one.removeprefix("features.") for one in spec.features} <= set(wanted)
    ]
    found = named or [spec for spec in specs if spec.name not in model]
    if not found:
        raise ConfigError(
            f"none of the inputs {', '.join(spec.name for spec in specs)} is the booster's.",
            where="the options 'inputs' and 'columns' of a stack",
            fix="return the booster's features by their names, or name a matrix's in 'columns'",
        )
    return found
