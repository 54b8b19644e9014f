"""A booster as a stack, whichever code scores its file: features from the log, trees, logit, rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from replay.adapters.booster_trees import (
    LEAVES,
    MARGIN,
    BoosterProgram,
    Iterations,
    Library,
    TreeProgram,
)
from replay.adapters.example import digest_of_batch, example_batch
from replay.adapters.imported import digest_of_source, imported
from replay.adapters.inputs import InputFunction, InputSpec, computed
from replay.adapters.model_options import ADAPTERS, options_of
from replay.adapters.model_stack import ModelStack, features_of, observed
from replay.adapters.outputs import choose_outputs
from replay.adapters.tree_matrix import checked_matrix, split_points_of
from replay.capabilities import TreeStructure
from replay.digests import digest_of_code, digest_of_json, digest_of_path
from replay.errors import ArtifactError, ConfigError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedColumns:
    """How logged requests become a model's columns: the options of such a stack.

    Attributes:
        inputs: "package.module:function", from a `RequestBatch` to named arrays, one row per
            candidate: a column of the model each, or matrices whose columns `columns` names. NaN
            is missing. They are put in the model's order by its feature names; a model without
            names takes them as they come.
        example: A log, one of its days, or "package.module:function": a few requests, to look at
            the inputs and at what recording does. A path may be relative to the artifact's folder.
        money: Path of the bid, such as "candidate.bid_micros", where the rank goes by eCPM.
        request_inputs: Inputs with one row per request; the model sees them once a candidate.
        columns: Input to the names of its columns: each is a feature of its own.
        iterations: The boosting iterations that count, first and end; None: all.
    """

    inputs: str
    example: str
    money: str | None = None
    request_inputs: Collection[str] = ()
    columns: Mapping[str, Collection[str]] = field(default_factory=dict)
    iterations: Collection[int] | None = None

    def iteration_range(self) -> Iterations | None:
        """First and end.

        Raises:
            ConfigError: It is no pair of ascending whole numbers.
        """
        if self.iterations is None:
            return None
        given = tuple(self.iterations)
        whole = all(type(one) is int for one in given)  # True is none.
        if len(given) != 2 or not whole or not 0 <= given[0] < given[1]:
            raise ConfigError(
                f"{list(given)!r} is no range of iterations.",
                where="the option 'iterations' of a stack",
                fix="give a first iteration and an end, such as [0, 50]",
            )
        return given[0], given[1]

    def digest(self, function: InputFunction, example: RequestBatch) -> list[object]:
        """What of it decides the features, as plain values."""
        chosen = [] if self.iterations is None else [list(self.iterations)]
        return [
            *(digest_of_batch(example), digest_of_source(function), self.inputs, self.money),
            *(sorted(self.request_inputs), {key: list(of) for key, of in self.columns.items()}),
            *chosen,
        ]


@dataclass(frozen=True, kw_only=True, eq=False)
class BoosterStack(ModelStack):
    """A booster's stack; its trees can be proven (`replay.capabilities.ExposesTrees`)."""

    program: TreeProgram = field(repr=False)

    def tree_features(self) -> tuple[str, ...]:
        """The features in the order of the model's columns."""
        return self.program.columns

    def split_points(self) -> tuple[Array, ...]:
        """Per column, its float32 thresholds, ascending, each once.

        Raises:
            ConfigError: A split is no threshold.
        """
        return split_points_of(self.tree_structure(), len(self.program.columns))

    def leaves(self, features: Array) -> Array:
        """[row, tree] int32, ordinals, of a float32 [row, column] matrix.

        Raises:
            StackError: Another matrix than that.
        """
        matrix = checked_matrix(features, len(self.program.columns), stack=self.name)
        return self.program.library.leaves(matrix)

    def tree_structure(self) -> tuple[TreeStructure, ...]:
        """The trees.

        Raises:
            ConfigError: A split is no threshold.
        """
        return self.program.library.structure()


def logged_columns(options: Mapping[str, Any], *, stack: str) -> LoggedColumns:
    """The options of a stack.

    Raises:
        ConfigError: One is missing, or is none of them.
    """
    return options_of(LoggedColumns, options, stack=stack)


def model_bytes(artifact: Path) -> bytes:
    """The file's bytes.

    Raises:
        ArtifactError: There is no such file.
    """
    if not artifact.is_file():
        raise ArtifactError(
            "there is no such file.",
            where=str(artifact),
            fix="name a model that xgboost or lightgbm saved",
        )
    return artifact.read_bytes()


def booster_stack(
    library: Library,
    logged: LoggedColumns,
    *,
    path: Path,
    name: str,
    code: ModuleType | None = None,
    versions: Mapping[str, str],
    threads: Mapping[str, str],
) -> BoosterStack:
    """The stack of an opened model.

    Args:
        library: The model, opened.
        logged: How requests become its columns.
        path: Its file.
        name: What reports call the stack.
        code: The package that scores it, where that is not the library's.
        versions: Of packages that decide bits.
        threads: Of the library.

    Raises:
        ConfigError: An option does not fit, or the inputs are not the model's columns.
        StackError: The inputs function gave no usable arrays.
    """
    function = imported(logged.inputs, option="inputs")
    seen = example_batch(logged.example, beside=path)
    real = [key for key, array in computed(function, seen).items() if array.dtype.kind == "f"]
    features = features_of(
        function,
        seen,
        rows="candidate",
        request_inputs=logged.request_inputs,
        columns=logged.columns,
        nan_is_missing=real,
    )
    program = trees_of(library, features.specs, path)
    return BoosterStack(
        name=name,
        program=program,
        features=features,
        outputs=choose_outputs(
            program.tensors,
            logit=MARGIN,
            pctr=None,
            money=logged.money,
            rows="candidate",
            link=library.link,
            own_link=library.own_link,
        ),
        rounding={MARGIN: program.rounding()},
        after={LEAVES: program.features_read(), MARGIN: (LEAVES,)},
        who=StackIdentity(
            name=name,
            digest=digest_of_path(path),
            code=digest_of_json(
                [
                    *(digest_of_code(one) for one in (ADAPTERS, code) if one is not None),
                    *logged.digest(function, seen),
                ]
            ),
            versions=versions,
            threads=recorded_threads() | dict(threads),
        ),
        observation=observed(program, features.inputs(features.produced(seen), seen.keys)),
    )


def trees_of(library: Library, specs: Sequence[InputSpec], path: Path) -> BoosterProgram:
    """The program of a model that reads these inputs.

    Raises:
        ConfigError: They are not the model's columns.
    """
    for spec in specs:
        if len(spec.shape) != (1 if spec.columns else 0) or spec.dtype == "float64":
            raise ConfigError(
                f"input {spec.name!r} is {spec.dtype}{[*spec.shape]} a row, no column of float32 or "
                "whole numbers.",
                where="the options 'inputs' and 'columns' of a stack",
                fix="give each column as [candidate], or name a matrix's columns in 'columns'; "
                "round float64 to float32 once",
            )
    names = tuple(name.removeprefix("features.") for spec in specs for name in spec.features)
    return BoosterProgram(
        library=library,
        inputs=tuple(spec.name for spec in specs),
        names=names,
        order=_order(library, names, path),
    )


def _order(library: Library, names: Sequence[str], path: Path) -> tuple[int, ...]:
    """Place among the inputs' columns of each of the model's."""
    wanted = library.feature_names
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
