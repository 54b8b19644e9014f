"""One batch through a model's stack: features, the model in chunks, outputs; what is given is used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from replay.adapters.outputs import ecpm_from_pctr, ranks
from replay.request import RequestBatch
from replay.trace import Array

if TYPE_CHECKING:  # it runs batches with this
    from replay.adapters.model_stack import ModelStack


class ModelRun:
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
            if read is not None:
                return self._read(read)
            return self.stack.outputs.pctr_from_logit(self.used("logit"))
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
        rows, chunk = keys.num_rows(self.stack.features.rows), self.stack.chunk
        chunks = [
            program.run(
                {name: array[start : start + chunk] for name, array in inputs.items()},
                record=record,
                given={name: array[start : start + chunk] for name, array in given.items()},
            )
            for start in range(0, rows, chunk)
        ]
        if not chunks:
            return {
                name: np.empty((0, *tensors[name].shape), tensors[name].dtype) for name in record
            }
        if len(chunks) == 1:
            return chunks[0]
        return {name: np.concatenate([part[name] for part in chunks]) for name in record}

    def _read(self, tensor: object) -> Array:
        outputs = self.stack.outputs
        source = outputs.logit if tensor is outputs.logit else outputs.pctr
        assert source is not None, "declared only where it is read"
        given = self.given.get(source.name)
        values = self.forward[source.name] if given is None else given
        return outputs.flat(values, self.batch.keys)
