"""Any program as a stack: features from the user's function, its tensors, logit, pctr, rank."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

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
from replay.adapters.outputs import Outputs, ecpm_from_pctr, pctr_from_logit, ranks
from replay.adapters.program import Program, few_rows
from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, BatchKeys, Trace, check_given, make_trace

# Rows a run of the model: more of them leave the cache. The same cuts whatever is recorded, since
# the last bits of a product may depend on how many rows it has.
CHUNK = 512


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
    """

    name: str
    program: Program = field(repr=False)
    features: Features = field(repr=False)
    outputs: Outputs
    rounding: Mapping[str, Rounding] = field(repr=False)
    after: Mapping[str, tuple[str, ...]] = field(repr=False)
    who: StackIdentity
    observation: Observation

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

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        """Features, tensors in execution order, outputs."""
        read = {tensor.name for tensor in self.outputs.tensors if tensor.returned}
        layers = [
            Checkpoint(
                name=tensor.name,
                stage="output" if tensor.returned else "layer",
                axes=(self.features.rows, *inner_axes(tensor.shape)),
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
        run = _Run(self, batch, capture=frozenset(wanted), given=given)
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values={name: run.produced(name) for name in wanted},
            checkpoints=self.checkpoints,
            capture=capture,
        )


class _Run:
    """One batch: everything computed at most once, from what is given where it is."""

    def __init__(
        self,
        stack: ModelStack,
        batch: RequestBatch,
        *,
        capture: frozenset[str],
        given: Mapping[str, Array],
    ) -> None:
        self.stack = stack
        self.batch = batch
        self.capture = capture
        self.given = given

    def produced(self, name: str) -> Array:
        """What the stack computes at a checkpoint."""
        if name.startswith("features."):
            return self.features[name]
        if name == "logit":
            return self._read(self.stack.outputs.logit)
        if name == "pctr":
            read = self.stack.outputs.pctr
            return pctr_from_logit(self.used("logit")) if read is None else self._read(read)
        if name == "ecpm_micros":
            assert self.stack.outputs.money is not None, "declared only where there is money"
            return ecpm_from_pctr(self.used("pctr"), self.batch, self.stack.outputs.money)
        if name == "rank":
            ranked_by = "pctr" if self.stack.outputs.money is None else "ecpm_micros"
            return ranks(self.used(ranked_by), self.batch.keys)
        return self.forward[name]

    def used(self, name: str) -> Array:
        """What the stack carries on with: what was given, else what it computed."""
        return self.given[name] if name in self.given else self.produced(name)

    @cached_property
    def features(self) -> dict[str, Array]:
        """What the user's function gives."""
        return self.stack.features.produced(self.batch)

    @cached_property
    def forward(self) -> dict[str, Array]:
        """One pass of the model over all rows, in chunks, over what was given."""
        program, keys = self.stack.program, self.batch.keys
        features = {name: self.used(name) for name in self.features}
        inputs = self.stack.features.inputs(features, keys)
        tensors = {tensor.name: tensor for tensor in program.tensors}
        given = {name: array for name, array in self.given.items() if name in tensors}
        read = {tensor.name for tensor in self.stack.outputs.tensors}
        record = sorted((self.capture & tensors.keys()) | read)
        rows = keys.num_rows(self.stack.features.rows)
        chunks = [
            program.run(
                {name: array[start : start + CHUNK] for name, array in inputs.items()},
                record=record,
                given={name: array[start : start + CHUNK] for name, array in given.items()},
            )
            for start in range(0, rows, CHUNK)
        ]
        if not chunks:
            return {
                name: np.empty((0, *tensors[name].shape), tensors[name].dtype) for name in record
            }
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in record}

    def _read(self, tensor: object) -> Array:
        outputs = self.stack.outputs
        source = outputs.logit if tensor is outputs.logit else outputs.pctr
        assert source is not None, "declared only where it is read"
        given = self.given.get(source.name)
        values = self.forward[source.name] if given is None else given
        return outputs.flat(values, self.batch.keys)


def assembled(
    *,
    name: str,
    program: Program,
    features: Features,
    outputs: Outputs,
    example: RequestBatch,
    who: StackIdentity,
    rounding: Mapping[str, Rounding],
) -> ModelStack:
    """A stack from its parts: its edges and what recording does are seen on the example."""
    produced = features.produced(example)
    inputs = features.inputs(produced, example.keys)
    return ModelStack(
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
