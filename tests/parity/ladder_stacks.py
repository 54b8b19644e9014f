"""Small stacks for a ladder of a team's own: openers that a configuration names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from examples.own_stacks.stacks import Array, Ranker, open_reference
from replay import CheckpointGraph, RequestBatch, StackIdentity, Trace, make_trace
from replay.errors import ToolkitError

__all__ = ["open_coarse", "open_failing", "open_reference", "open_unopened"]


class Coarse:
    """The ranker with probabilities kept to a few bits, as a coarser precision would."""

    def __init__(self, bits: int) -> None:
        self.name = "coarse"
        self.inner = Ranker("inner", age_unit=1.0)
        self.bits = bits

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self.inner.checkpoints

    def identity(self) -> StackIdentity:
        return StackIdentity(name=self.name, digest=f"sha256:coarse-{self.bits}")

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = {}
    ) -> Trace:
        full = self.inner.score(batch, capture=tuple(self.checkpoints), given=given)
        fraction, exponent = np.frexp(given.get("pctr", full["pctr"]))
        kept = np.ldexp(np.round(fraction * 2**self.bits) / 2**self.bits, exponent)
        values = {**full.values, "pctr": kept.astype("float32")}
        ranked = self.inner.score(
            batch, capture=("rank",), given={**given, "pctr": given.get("pctr", values["pctr"])}
        )
        return make_trace(
            stack=self.name,
            keys=batch.keys,
            values={**values, "rank": ranked["rank"]},
            checkpoints=self.checkpoints,
            capture=capture,
        )


def open_coarse(*, bits: int = 8) -> Coarse:
    return Coarse(bits)


class Failing(Coarse):
    """Scores nothing."""

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = {}
    ) -> Trace:
        raise ToolkitError("the accelerator is on fire.", where="this stack", fix="water")


def open_failing() -> Failing:
    return Failing(8)


def open_unopened() -> Failing:
    raise ToolkitError("its package is of another version.", where="the artifact", fix="export it")
