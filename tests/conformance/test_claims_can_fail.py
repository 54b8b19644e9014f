"""Each claim of the contract is broken once, and says so: a claim that can not fail proves nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import pytest

from examples.own_stacks.stacks import CHECKPOINTS, Array, Ranker
from replay import conformance
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.conformance import CLAIMS, check_stack
from replay.request import RequestBatch
from replay.stack import StackIdentity
from replay.trace import EMPTY, Trace
from tests.builders import a_candidate, a_request, batch_of


@pytest.fixture(scope="module")
def batch() -> RequestBatch:
    """Sixteen plain requests: what is tested here is the claims."""
    draw = np.random.default_rng(1)
    return batch_of(
        *(
            a_request(
                request_id=f"r-{i}",
                user={"age_days": float(draw.integers(1, 2000))},
                candidates=[a_candidate(ad, price=float(draw.uniform(1, 30))) for ad in range(5)],
            )
            for i in range(16)
        )
    )


class ARanker(Ranker):
    """The example's ranker over the tests' log, which may lack an account's age."""

    def __init__(self, graph: tuple[Checkpoint, ...] = CHECKPOINTS) -> None:
        super().__init__("toy", age_unit=1.0)
        self.checkpoints = CheckpointGraph(graph, stack="toy")


class Restless(ARanker):
    calls = 0

    def identity(self) -> StackIdentity:
        self.calls += 1
        return replace(super().identity(), digest=f"sha256:{self.calls}")


class Disturbed(ARanker):
    """Recording more than one checkpoint changes the logit."""

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY) -> Trace:  # fmt: skip
        trace = super().score(batch, capture=capture, given=given)
        if len(capture) > 1 and "logit" in capture:
            return replace(trace, values={**trace.values, "logit": _nudged(trace["logit"])})
        return trace


class Crowded(ARanker):
    """A request's logit depends on how many others are in the batch."""

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY) -> Trace:  # fmt: skip
        trace = super().score(batch, capture=capture, given=given)
        if "logit" in trace.values and batch.num_requests > 1:
            return replace(trace, values={**trace.values, "logit": _nudged(trace["logit"])})
        return trace


class Deaf(ARanker):
    """Takes what it is given for its logit, and does not carry on with it."""

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY) -> Trace:  # fmt: skip
        return super().score(
            batch, capture=capture, given={k: v for k, v in given.items() if k != "logit"}
        )


class Stubborn(ARanker):
    """Given its own values, it records others."""

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY) -> Trace:  # fmt: skip
        trace = super().score(batch, capture=capture, given=given)
        if given and "pctr" in trace.values:
            return replace(trace, values={**trace.values, "pctr": _nudged(trace["pctr"])})
        return trace


class Reaching(ARanker):
    """Its probability looks past the logit at the account's age."""

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY) -> Trace:  # fmt: skip
        trace = super().score(batch, capture=capture, given=given)
        if "features.age_days" in given and "pctr" in trace.values:
            return replace(trace, values={**trace.values, "pctr": _nudged(trace["pctr"])})
        return trace


class Lax(ARanker):
    """Casts whatever it is given."""

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY) -> Trace:  # fmt: skip
        cast = {name: np.resize(values, self._shape(name, batch)).astype(self.checkpoints[name].dtype) for name, values in given.items()}  # fmt: skip
        return super().score(batch, capture=capture, given=cast)

    def _shape(self, name: str, batch: RequestBatch) -> int:
        return batch.keys.num_rows(self.checkpoints[name].rows)


class Short(ARanker):
    """Records writable arrays."""

    def score(self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY) -> Trace:  # fmt: skip
        trace = super().score(batch, capture=capture, given=given)
        return replace(trace, values={name: values.copy() for name, values in trace.values.items()})


def _nudged(values: Array) -> Array:
    return np.asarray(values * np.float32(1.01), dtype=values.dtype)


def _with(name: str, after: tuple[str, ...]) -> tuple[Checkpoint, ...]:
    return tuple(replace(c, after=after) if c.name == name else c for c in CHECKPOINTS)


BROKEN = {
    "records_what_it_declares": Short(),
    "repeats_itself": Restless(),
    "is_not_disturbed_by_recording": Disturbed(),
    "scores_requests_independently": Crowded(),
    "carries_on_with_what_it_is_given": Stubborn(),
    "refuses_what_does_not_fit": Lax(),
    # The logit is computed from the price too, and does not say so.
    "moves_only_what_it_declares": ARanker(_with("logit", ("features.age_days",))),
    "moves_every_child_it_declares": Deaf(),
    "needs_its_parents_only": Reaching(),
}


def test_the_example_keeps_every_claim(batch: RequestBatch) -> None:
    assert check_stack(ARanker(), batch) == {claim.__name__: [] for claim in CLAIMS}


@pytest.mark.parametrize("claim", BROKEN)
def test_a_broken_claim_is_named(claim: str, batch: RequestBatch) -> None:
    assert getattr(conformance, claim)(BROKEN[claim], batch) != []


def test_every_claim_is_broken_once() -> None:
    assert set(BROKEN) == {claim.__name__ for claim in CLAIMS}
