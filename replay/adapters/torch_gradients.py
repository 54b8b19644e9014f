"""A module as a stack that also gives gradients: what each value on the way does to the logit."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from replay.adapters.model_stack import ModelStack
from replay.adapters.torch_program import TorchProgram
from replay.errors import StackError
from replay.request import RequestBatch
from replay.trace import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class TorchStack(ModelStack):
    """A PyTorch module as a stack; see `ModelStack`."""

    def gradients(
        self, batch: RequestBatch, capture: Collection[str], weights: Array
    ) -> dict[str, Array]:
        """As `replay.capabilities.Differentiates`, with one backward pass a chunk of rows.

        Raises:
            StackError: The model gives no logit.
        """
        program, logit, keys = self.program, self.outputs.logit, batch.keys
        assert isinstance(program, TorchProgram), "a TorchStack is made of a module"
        if logit is None:
            raise StackError(
                "there is no logit to differentiate.",
                where=f"stack {self.name!r}",
                fix="name the logit among the stack's options",
            )
        features = self.features.produced(batch)
        inputs = self.features.inputs(features, keys)
        pulled = self.outputs.spread(weights, keys)
        record = sorted({tensor.name for tensor in program.tensors} & set(capture))
        rows = keys.num_rows(self.features.rows)
        parts = [
            program.gradients(
                {name: array[start : start + self.chunk] for name, array in inputs.items()},
                record=record,
                of=logit.name,
                weights=pulled[start : start + self.chunk],
            )
            for start in range(0, rows, self.chunk)
        ]
        joined = {
            name: np.concatenate([part[name] for part in parts])
            for name in (parts[0] if parts else ())
        }
        found = {name: joined[name] for name in record if name in joined}
        for spec in self.features.specs:
            if f"input {spec.name}" not in joined:
                continue
            own = joined[f"input {spec.name}"]
            if spec.rows != self.features.rows:
                own = np.add.reduceat(own, keys.candidate_offsets[:-1], axis=0)
            found |= {n: a for n, a in spec.split(own).items() if n in capture}
        if "logit" in capture:
            found["logit"] = np.asarray(weights, np.float64)
        return found
