"""Any program as a stack: features from the user's function, its tensors, logit, pctr, rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from replay.adapters.edges import parents_of
from replay.adapters.inputs import (
    InputFunction,
    InputSpec,
    Rows,
    check_inputs,
    computed,
    inner_axes,
    specs_from_example,
)
from replay.adapters.model_run import ModelRun
from replay.adapters.outputs import Outputs
from replay.adapters.program import Program, few_rows
from replay.capabilities import Fault
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.digests import digest_of_json
from replay.errors import ConfigError, StackError, ToolkitError
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, BatchKeys, Trace, check_given, make_trace

# Rows a run of the model: more of them leave the cache. The same cuts whatever is recorded, since
# the last bits of a product may depend on how many rows it has.
CHUNK = 512
# What must not matter to a model: how many rows it sees at once, and on how many threads it runs.
FEW_ROWS, TWO_THREADS = "64 rows at a time", "2 threads"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What recording does to the outputs.

    Attributes:
        largest: Largest difference, over the example, between an output of the model as it would
            be served and as it runs with everything recorded; 0 where recording changes no bit.
        at: The output where that is.
    """

    largest: float
    at: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether recording changes no bit."""
        return self.largest == 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """How a batch becomes the model's inputs.

    Attributes:
        function: The user's.
        specs: What it gives.
        rows: What the model's rows are: an input of requests is repeated over candidates.
    """

    function: InputFunction
    specs: tuple[InputSpec, ...]
    rows: Rows

    def produced(self, batch: RequestBatch) -> dict[str, Array]:
        """Feature to its values."""
        arrays = check_inputs(computed(self.function, batch), self.specs, batch.keys)
        return {
            name: values
            for spec in self.specs
            for name, values in spec.split(arrays[spec.name]).items()
        }

    def inputs(self, features: Mapping[str, Array], keys: BatchKeys) -> dict[str, Array]:
        """The model's inputs, all along its rows."""
        return {
            spec.name: joined if spec.rows == self.rows else joined[keys.request_of("candidate")]
            for spec in self.specs
            for joined in (spec.joined(features),)
        }


def features_of(
    function: InputFunction,
    example: RequestBatch,
    *,
    rows: Rows,
    request_inputs: Collection[str],
    columns: Mapping[str, Collection[str]],
    nan_is_missing: Collection[str],
) -> Features:
    """The features, as an example shows them.

    Raises:
        ConfigError: An option does not fit the inputs.
        StackError: The function gives no usable arrays.
    """
    arrays = computed(function, example)
    specs = specs_from_example(
        arrays,
        example.keys,
        request_inputs=tuple(arrays) if rows == "request" else tuple(request_inputs),
        columns={name: tuple(named) for name, named in columns.items()},
        nan_is_missing=tuple(nan_is_missing),
    )
    return Features(function=function, specs=specs, rows=rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelStack:
    """A user's model as a stack.

    Attributes:
        name: What reports call it.
        program: The model.
        features: How it is fed.
        outputs: Which of its tensors is what.
        rounding: Of its real tensors, by name.
        after: Of each tensor, the checkpoints it is computed from.
        who: Its identity.
        observation: What recording does to the outputs.
        chunk: Rows a run of the model.
    """

    name: str
    program: Program = field(repr=False)
    features: Features = field(repr=False)
    outputs: Outputs
    rounding: Mapping[str, Rounding] = field(repr=False)
    after: Mapping[str, tuple[str, ...]] = field(repr=False)
    who: StackIdentity
    observation: Observation
    chunk: int = CHUNK

    @property
    def skipped(self) -> Mapping[str, str]:
        """Modules and tensors that are no checkpoints, with the reason."""
        return self.program.skipped

    def weights(self) -> Mapping[str, Array]:
        """The model's parameters by name."""
        return self.program.weights()

    def configuration(self) -> Mapping[str, str]:
        """What is set rather than learned, as `<checkpoint or module path>.<attribute>`."""
        return self.program.configuration()

    def faults(self) -> tuple[Fault, ...]:
        """The real faults that the model has room for."""
        return tuple(
            replace(fault, checkpoint=at)
            for fault in self.program.faults()
            for at in (self._at(fault),)
            if at is not None
        )

    def planted(self, fault: Fault) -> ModelStack:
        """A stack of a copy of the model, with the fault in it.

        Raises:
            ConfigError: It has no such fault.
        """
        for known in self.program.faults():
            if (known.kind, self._at(known)) == (fault.kind, fault.checkpoint):
                planted = f"{fault.kind}:{fault.checkpoint}"
                digest = digest_of_json({"model": self.who.digest, "planted": planted})
                return replace(
                    self,
                    program=self.program.planted(known),
                    who=replace(self.who, digest=digest),
                )
        offered = ", ".join(f"{one.kind}:{one.checkpoint}" for one in self.faults())
        raise ConfigError(
            f"{fault.kind}:{fault.checkpoint} can not be planted (known: {offered or 'none'}).",
            where=f"stack {self.name!r}",
            fix="plant one of the known faults",
        )

    def _at(self, fault: Fault) -> str | None:
        """The checkpoint of a tensor: what an output is read from is that output."""
        outputs = self.outputs
        for name, tensor in (("logit", outputs.logit), ("pctr", outputs.pctr)):
            if tensor is not None and tensor.name == fault.checkpoint and tensor.returned:
                return name
        return fault.checkpoint if fault.checkpoint in self.checkpoints else None

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """Features, tensors in execution order, outputs."""
        read = {tensor.name for tensor in self.outputs.tensors if tensor.returned}
        layers = [
            Checkpoint(
                name=tensor.name,
                stage="output" if tensor.returned else tensor.stage,
                axes=(self.features.rows, *(tensor.axes or inner_axes(tensor.shape))),
                shape=tensor.shape,
                dtype=tensor.dtype,
                after=self.after[tensor.name],
                exact=not tensor.is_real,
                rounding=self.rounding.get(tensor.name),
            )
            for tensor in self.program.tensors
            if tensor.name not in read
        ]
        features = [one for spec in self.features.specs for one in spec.checkpoints()]
        outputs = self.outputs.checkpoints(self.rounding, self.after)
        return CheckpointGraph([*features, *layers, *outputs], stack=self.name)

    def identity(self) -> StackIdentity:
        """What would be needed to run it again."""
        return self.who

    def score(
        self,
        batch: RequestBatch,
        *,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Compute what is captured, and what that needs.

        Raises:
            StackError: An unknown checkpoint, `given` that does not fit, or inputs of another
                shape or dtype than in the example.
            LogError: The log lacks a field that the inputs are made from.
        """
        wanted = {name: self.checkpoints[name] for name in capture}
        check_given(given, self.checkpoints, batch.keys, stack=self.name)
        run = ModelRun(self, batch, capture=frozenset(wanted), given=given)
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values={name: run.produced(name) for name in wanted},
            checkpoints=self.checkpoints,
            capture=capture,
        )

    def variations(self) -> tuple[str, ...]:
        """As `replay.capabilities.Varies`."""
        return FEW_ROWS, TWO_THREADS

    def vary(
        self,
        variation: str,
        batch: RequestBatch,
        capture: Collection[str],
        given: Mapping[str, Array] = EMPTY,
    ) -> Trace:
        """Score with that one thing changed.

        Raises:
            StackError: As `score`; or a variation that it does not have.
        """
        if variation == FEW_ROWS:
            varied = replace(self, chunk=CHUNK // 8)
        elif variation == TWO_THREADS:
            varied = replace(self, program=self.program.with_threads(2))
        else:
            raise StackError(
                f"nothing is called {variation!r} (known: {', '.join(self.variations())}).",
                where=f"stack {self.name!r}, vary",
                fix="ask for one of variations()",
            )
        return varied.score(batch, capture=capture, given=given)

    def recompute(
        self, batch: RequestBatch, capture: Collection[str], given: Mapping[str, Array]
    ) -> dict[str, NDArray[np.float64]]:
        """As `replay.capabilities.Recomputes`; features are what the inputs function gives.

        Raises:
            StackError: A checkpoint without real values, or a model that can not run in float64.
        """
        for name in capture:
            if np.dtype(self.checkpoints[name].dtype).kind != "f":
                raise StackError(
                    f"{name!r} is discrete: float64 has nothing to add.",
                    where=f"stack {self.name!r}, recompute",
                    fix="ask for real checkpoints",
                )
        run = ModelRun(self._wide, batch, capture=frozenset(capture), given=given)
        try:
            found = {name: run.produced(name) for name in capture}
        except ToolkitError:
            raise
        except Exception as error:
            raise StackError(
                f"the model does not run in float64: {type(error).__name__}: {error}.",
                where=f"stack {self.name!r}",
                fix="take the precision from its arguments, in place of a fixed float32",
            ) from error
        if "pctr" in found and self.outputs.pctr is None:
            found["pctr"] = self.outputs.link.of(run.used("logit").astype(np.float64))
        return {name: np.asarray(array, np.float64) for name, array in found.items()}

    @cached_property
    def _wide(self) -> ModelStack:
        return replace(self, program=self.program.in_float64())


def assembled(
    *,
    name: str,
    program: Program,
    features: Features,
    outputs: Outputs,
    example: RequestBatch,
    who: StackIdentity,
    rounding: Mapping[str, Rounding],
    kind: type[ModelStack] = ModelStack,
) -> ModelStack:
    """A stack from its parts: its edges and what recording does are seen on the example."""
    produced = features.produced(example)
    inputs = features.inputs(produced, example.keys)
    return kind(
        name=name,
        program=program,
        features=features,
        outputs=outputs,
        rounding=rounding,
        after=parents_of(program, features.specs, inputs),
        who=who,
        observation=observed(program, inputs),
    )


def observed(program: Program, inputs: Mapping[str, Array]) -> Observation:
    """Run the example bare, and with everything recorded."""
    rows = few_rows(program, inputs)
    bare = program.run_bare(rows)
    watched = program.run(rows, record=[tensor.name for tensor in program.tensors])
    worst = Observation(largest=0.0)
    for name, values in bare.items():
        if values.tobytes() != watched[name].tobytes():
            apart = np.abs(values.astype(np.float64) - watched[name].astype(np.float64))
            largest = float(np.nanmax(apart, initial=0.0))
            worst = max(worst, Observation(largest=largest, at=name), key=lambda one: one.largest)
    return worst
