"""Any code that can be called from Python as a stack: `open: replay.adapters.function:open_stack`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from replay.adapters.edges import changes_of
from replay.adapters.imported import digest_of_source, imported, made
from replay.adapters.model_options import Fed, ModelOptions, options_of
from replay.adapters.model_stack import ModelStack, assembled
from replay.adapters.program import Tensor
from replay.adapters.rounding import measure_rounding
from replay.capabilities import Fault
from replay.digests import digest_of_path
from replay.errors import ConfigError, StackError, ToolkitError
from replay.stack import StackIdentity
from replay.threads import recorded_threads
from replay.trace import EMPTY, Array

Scores = Callable[[Mapping[str, Array]], Array | Mapping[str, Array]]
RETURNED = "return"


def open_stack(
    artifact: Path | None = None, *, function: str, name: str = "function", **options: Any
) -> ModelStack:
    """What a function returns, behind features that can be recorded and given: nothing within it.

    A scorer in another language, a remote call, a library that has no adapter.

    Args:
        artifact: What the factory loads; None calls it without an argument.
        function: "package.module:factory", which returns the function: from {input: array}, one row
            per candidate, to an array of as many rows, or to several by name.
        name: What reports call the stack.
        options: `inputs`, `example` and more: `replay.adapters.model_options.ModelOptions`. What
            the function returns is "return", or "return.<name>".

    Raises:
        ArtifactError: The factory could not load the artifact.
        ConfigError: An option does not fit.
        StackError: The inputs function, or the function itself, gave no usable arrays.
    """
    factory = imported(function, option="function")
    chosen = options_of(ModelOptions, options, stack=name)
    path = None if artifact is None else Path(artifact)
    fed = chosen.fed(path)
    program = FunctionProgram.seen(_made(factory, path, where=function), fed, where=function)
    rounding = measure_rounding(program, fed.inputs)
    return assembled(
        name=name,
        program=program,
        features=fed.features,
        outputs=chosen.outputs(program),
        example=fed.example,
        who=StackIdentity(
            name=name,
            digest=digest_of_source(factory) if path is None else digest_of_path(path),
            code=chosen.code(fed, factory, function),
            versions={one: version(one) for one in ("numpy", "pyarrow")},
            threads=recorded_threads(),
        ),
        rounding=rounding,
        kind=FunctionStack,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionStack(ModelStack):
    """A stack whose code is not ours to run on other threads."""

    def variations(self) -> tuple[str, ...]:
        """As `replay.capabilities.Varies`: rows at a time."""
        return super().variations()[:1]


@dataclass(frozen=True, kw_only=True, eq=False)
class FunctionProgram:
    """`replay.adapters.program.Program` of a function: its outputs are all there is to see.

    Attributes:
        function: The user's.
        tensors: What it returns.
        where: Its name, for errors.
    """

    function: Scores = field(repr=False)
    tensors: tuple[Tensor, ...]
    where: str
    skipped: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def seen(cls, function: Scores, fed: Fed, *, where: str) -> FunctionProgram:
        """The program, its outputs and what they read as the example shows them.

        Raises:
            StackError: The function failed, or gave no arrays of numbers with as many rows.
        """
        found = _called(function, fed.inputs, where)
        read: dict[str, list[str]] = {name: [] for name in found}
        for name, array in fed.inputs.items():
            for changed in changes_of(array):
                answered = _called(function, {**fed.inputs, name: changed}, where)
                for output, inputs in read.items():
                    moved = answered[output].tobytes() != found[output].tobytes()
                    if moved and name not in inputs:
                        inputs.append(name)
        tensors = tuple(
            Tensor(
                name=name,
                shape=array.shape[1:],
                dtype=array.dtype.name,
                unit=float(np.finfo(array.dtype).eps / 2) if array.dtype.kind == "f" else 0.0,
                after=(),
                inputs=tuple(read[name] or fed.inputs),
                returned=True,
            )
            for name, array in found.items()
        )
        return cls(function=function, tensors=tensors, where=where)

    def run(
        self,
        inputs: Mapping[str, Array],
        *,
        record: Collection[str],
        given: Mapping[str, Array] = EMPTY,
        noise: Mapping[str, Array] = EMPTY,
    ) -> dict[str, Array]:
        """Call it; nothing is computed from what it returns, so nothing is to be given."""
        del given, noise
        found = self.run_bare(inputs)
        return {name: found[name] for name in record}

    def run_bare(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Call it."""
        found = _called(self.function, inputs, self.where)
        for tensor in self.tensors:
            array = found.get(tensor.name)
            seen = None if array is None else (array.shape[1:], array.dtype.name)
            if seen != (tensor.shape, tensor.dtype):
                raise StackError(
                    f"{tensor.name!r} is another array than in the example.",
                    where=self.where,
                    fix="return the same names, dtypes and inner shapes for every batch",
                )
        return found

    def in_float64(self) -> FunctionProgram:
        """It has none.

        Raises:
            StackError: Always.
        """
        raise StackError(
            "a function can not be run in float64 from outside.",
            where=self.where,
            fix="calibrate by the variations alone",
        )

    def with_threads(self, threads: int) -> FunctionProgram:
        """It has none of its own that are known.

        Raises:
            StackError: Always.
        """
        raise StackError(
            f"a function can not be told to take {threads} threads.",
            where=self.where,
            fix="ask for one of variations()",
        )

    def faults(self) -> tuple[Fault, ...]:
        """None: its code is not ours."""
        return ()

    def planted(self, fault: Fault) -> FunctionProgram:
        """It has no faults to plant."""
        raise AssertionError(f"{fault.kind} was never offered")

    def weights(self) -> dict[str, Array]:
        """None are known."""
        return {}

    def configuration(self) -> dict[str, str]:
        """None is known."""
        return {}


def _made(factory: Callable[..., Any], artifact: Path | None, *, where: str) -> Scores:
    found = made(factory, artifact, what="function", where=where)
    if not callable(found):
        raise ConfigError(
            f"{where} returned a {type(found).__name__}.",
            where="the option 'function' of a stack",
            fix="return a function from {input: array} to an array, or to {name: array}",
        )
    scores: Scores = found
    return scores


def _called(function: Scores, inputs: Mapping[str, Array], where: str) -> dict[str, Array]:
    """What it returns, as "return" or "return.<name>"."""
    try:
        found = function({name: array.copy() for name, array in inputs.items()})
    except ToolkitError:
        raise
    except Exception as error:
        raise StackError(
            f"the function failed: {type(error).__name__}: {error}.",
            where=where,
            fix="let it take every batch that the inputs function gives, changed values too",
        ) from error
    named = (
        {f"{RETURNED}.{name}": one for name, one in found.items()}
        if isinstance(found, Mapping)
        else {RETURNED: found}
    )
    rows = len(next(iter(inputs.values())))
    arrays = {name: np.asarray(one) for name, one in named.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.ndim == 0 or len(array) != rows:
            raise StackError(
                f"{name!r} is {array.dtype}{list(array.shape)} for {rows} rows.",
                where=where,
                fix="return arrays of numbers, one row for each row of the inputs",
            )
    return arrays
