"""A bare XGBoost or LightGBM model as a stack: `open: replay.adapters.booster:open_stack`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path

import replay
from replay.adapters.booster_trees import LEAVES, MARGIN, BoosterProgram, Library
from replay.adapters.example import digest_of_batch, example_batch
from replay.adapters.imported import digest_of_source, imported
from replay.adapters.inputs import computed
from replay.adapters.model_stack import Features, ModelStack, features_of, observed
from replay.adapters.outputs import choose_outputs
from replay.digests import digest_of_code, digest_of_json, digest_of_path
from replay.errors import ArtifactError, ConfigError
from replay.stack import StackIdentity
from replay.threads import recorded_threads

NO_COLUMNS: Mapping[str, Collection[str]] = {}


def open_stack(
    artifact: Path,
    *,
    inputs: str,
    example: str,
    money: str | None = None,
    request_inputs: Collection[str] = (),
    columns: Mapping[str, Collection[str]] = NO_COLUMNS,
    name: str = "booster",
    threads: int = 1,
) -> ModelStack:
    """Open a model with the library that wrote it; its features, leaves and logit are checkpoints.

    `gbdt.leaves` holds ordinals within each tree: by rising node id for XGBoost, the leaf's index
    for LightGBM. The logit is the log-odds that the margin stands for.

    Args:
        artifact: XGBoost's JSON or UBJSON, or LightGBM's text; its first bytes tell.
        inputs: "package.module:function", from a `RequestBatch` to named arrays, one row per
            candidate: a column of the model each, or matrices whose columns `columns` names. NaN
            is missing. They are put in the model's order by its feature names; a model without
            names takes them as they come.
        example: A log, one of its days, or "package.module:function": a few requests, to look at
            the inputs and at what recording does. A path may be relative to the artifact's folder.
        money: Path of the bid, such as "candidate.bid_micros", where the rank goes by eCPM.
        request_inputs: Inputs with one row per request; the model sees them once a candidate.
        columns: Input to the names of its columns: each is a feature of its own.
        name: What reports call the stack.
        threads: The library's own.

    Raises:
        ArtifactError: The file is missing or damaged, or its objective has no single log-odds.
        ConfigError: An option does not fit, or the inputs are not the model's columns.
        StackError: The inputs function gave no usable arrays.
    """
    path = Path(artifact)
    library, package = _opened(path, threads)
    function = imported(inputs, option="inputs")
    seen = example_batch(example, beside=path)
    real = [key for key, array in computed(function, seen).items() if array.dtype.kind == "f"]
    features = features_of(
        function,
        seen,
        rows="candidate",
        request_inputs=request_inputs,
        columns=columns,
        nan_is_missing=real,
    )
    program = BoosterProgram(
        library=library,
        inputs=tuple(spec.name for spec in features.specs),
        order=_order(library, features, path),
    )
    return ModelStack(
        name=name,
        program=program,
        features=features,
        outputs=choose_outputs(
            program.tensors, logit=MARGIN, pctr=None, money=money, rows="candidate"
        ),
        rounding={MARGIN: program.rounding()},
        after={LEAVES: _features_read(program, features), MARGIN: (LEAVES,)},
        who=StackIdentity(
            name=name,
            digest=digest_of_path(path),
            code=digest_of_json(
                [
                    digest_of_code(sys.modules[f"{replay.__name__}.adapters"]),
                    *(digest_of_batch(seen), digest_of_source(function), inputs, money),
                    *(sorted(request_inputs), {key: list(of) for key, of in columns.items()}),
                ]
            ),
            versions={one: version(one) for one in (package, "numpy", "pyarrow")},
            threads=recorded_threads() | {package: str(threads)},
        ),
        observation=observed(program, features.inputs(features.produced(seen), seen.keys)),
    )


def _opened(path: Path, threads: int) -> tuple[Library, str]:
    """The model, and the package that reads it."""
    if not path.is_file():
        raise ArtifactError(
            "there is no such file.",
            where=str(path),
            fix="name a model that xgboost or lightgbm saved",
        )
    data = path.read_bytes()
    if data[:1] == b"{":
        from replay.adapters.booster_xgboost import XgboostModel

        return XgboostModel(data, where=str(path), threads=threads), _xgboost_package()
    if data[:4] == b"tree":
        from replay.adapters.booster_lightgbm import LightgbmModel

        return LightgbmModel(data, where=str(path), threads=threads), "lightgbm"
    raise ArtifactError(
        f"the file starts with {data[:8]!r}, which is no booster's.",
        where=str(path),
        fix="save it with XGBoost's save_model as .json or .ubj, or with LightGBM's save_model",
    )


def _xgboost_package() -> str:
    """The distribution that brings the module: there is a smaller one for CPUs alone."""
    from importlib.metadata import packages_distributions

    return packages_distributions()["xgboost"][0]


def _names(features: Features) -> list[str]:
    """One name a column of the joined inputs."""
    return [name.removeprefix("features.") for spec in features.specs for name in spec.features]


def _order(library: Library, features: Features, path: Path) -> tuple[int, ...]:
    """Place among the inputs' columns of each of the model's."""
    for spec in features.specs:
        if len(spec.shape) != (1 if spec.columns else 0) or spec.dtype == "float64":
            raise ConfigError(
                f"input {spec.name!r} is {spec.dtype}{[*spec.shape]} a row, no column of float32 or "
                "whole numbers.",
                where="the options 'inputs' and 'columns' of a stack",
                fix="give each column as [candidate], or name a matrix's columns in 'columns'; "
                "round float64 to float32 once",
            )
    names, wanted = _names(features), library.feature_names
    unnamed = all(name in {f"f{i}", f"Column_{i}"} for i, name in enumerate(wanted))
    if unnamed and len(names) == len(wanted):
        return tuple(range(len(names)))
    if sorted(names) != sorted(wanted):
        absent = [name for name in wanted if name not in names] or [f"{len(wanted)} columns"]
        raise ConfigError(
            f"the model reads {', '.join(absent[:8])}; the inputs are {', '.join(names)}.",
            where=f"{path}, {len(wanted)} features",
            fix="return one column for each of the model's features, by its name",
        )
    return tuple(names.index(name) for name in wanted)


def _features_read(program: BoosterProgram, features: Features) -> tuple[str, ...]:
    """The features that some split reads, in the inputs' order."""
    names = _names(features)
    read = {program.order[column] for column in program.library.features_read}
    return tuple(f"features.{names[place]}" for place in sorted(read))
