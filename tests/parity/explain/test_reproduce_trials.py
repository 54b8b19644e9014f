"""Forms of a request: what holds, what a stack refuses, and how much is tried."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity.explain.causes import find_faults
from parity.explain.reproduce import check_bundle
from parity.explain.reproduce_bundle import read_bundle
from parity.explain.reproduce_trials import MAX_CALLS, MAX_ROWS, Trials
from parity.explain.reproduce_values import VALUE
from parity.explain.reproduce_write import write_bundles
from parity.explain.shrink import whole
from parity.plan import Plan
from replay.engine.process import StackProcess
from replay.errors import StackError
from replay.registry import StackSpec, open_stack
from replay.request import RequestBatch
from replay.trace import EMPTY, Array, Trace
from tests.parity.explain.bundles import (
    BATCH,
    TOY,
    in_process,
    planted,
)
from tests.toys import ToyStack, toy_batch


class NeedsMany(ToyStack):
    """Doubles the prices of requests with at least 300 candidates."""

    rows = 0

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        self.rows += batch.num_candidates
        counts = np.diff(batch.keys.candidate_offsets)
        many = (counts >= 300)[batch.keys.request_of("candidate")]
        self._bugs = {"features.price": lambda v: np.where(many, v * 2, v)}
        return super().score(batch, capture=capture, given=given)


def test_the_effort_is_bounded_and_what_is_reached_is_written(tmp_path: Path) -> None:
    """Nearly every candidate is needed: shrinking could go on for hundreds of calls."""
    batch = toy_batch(6, candidates=400, seed=3)
    reference, challenger = ToyStack(), NeedsMany()
    found, sides = in_process(reference, challenger, batch)
    reference.passes = challenger.rows = 0

    (one,) = write_bundles(tmp_path, found, sides, Plan())

    assert one.path is not None
    assert reference.passes <= MAX_CALLS + 2  # alone before and after
    assert challenger.rows <= 2 * (MAX_ROWS + 2 * 400)
    bundle, request = read_bundle(one.path)
    assert 300 <= request.num_candidates < bundle.shrunk.candidates[0]


def test_a_form_that_shows_a_cause_of_its_own_does_not_hold() -> None:
    """Without an age another bug shows, which the whole request does not have."""
    request = a_toy_request(BATCH, aged=True)
    challenger = planted(TOY, "constant_default:features.age_days", "scale:left")
    found, sides = in_process(ToyStack(), open_stack(challenger), request)
    (fault,) = find_faults(found)
    everything = whole(request)
    ageless = replace(
        everything, fields=tuple(one for one in everything.fields if one != "user.age_days")
    )

    def costs(*allowed: str) -> list[int | None]:
        trials = Trials(request=request, fault=fault, kind=VALUE, allowed=frozenset(allowed),
                        found=found, sides=sides)  # fmt: skip
        return trials([everything, ageless])

    assert costs() == [0, None]
    assert costs("features.age_days") == [0, 1]


def a_toy_request(batch: RequestBatch, *, aged: bool) -> RequestBatch:
    has = ~np.asarray(batch.column("user.age_days").is_null())
    return batch.take(np.flatnonzero(has == aged)[:1])


class Picky(ToyStack):
    """Refuses requests without an age."""

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        if batch.column("user.age_days").null_count:
            raise StackError("no age.", where="Picky", fix="give one")
        return super().score(batch, capture=capture, given=given)


def test_a_form_that_a_stack_refuses_is_passed_over(tmp_path: Path) -> None:
    aged = BATCH.take(np.flatnonzero(~np.asarray(BATCH.column("user.age_days").is_null())).tolist())
    reference, challenger = ToyStack(), Picky(bugs={"features.price": lambda v: v * 2})
    found, sides = in_process(reference, challenger, aged)

    (one,) = write_bundles(tmp_path, found, sides, Plan())

    assert one.path is not None
    bundle, request = read_bundle(one.path)
    assert set(bundle.shrunk.kept) == {"candidate.price", "user.age_days"}
    assert request.num_candidates == 1


class Fragile(ToyStack):
    """Ends its process on a request without an age."""

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        if batch.column("user.age_days").null_count:
            os._exit(7)
        return super().score(batch, capture=capture, given=given)


def open_fragile(artifact: Path | None = None) -> ToyStack:
    return Fragile("fragile", bugs={"features.price": lambda v: v * 2})


def test_a_form_that_ends_a_process_is_passed_over(tmp_path: Path) -> None:
    aged = BATCH.take(np.flatnonzero(~np.asarray(BATCH.column("user.age_days").is_null())))
    spec = StackSpec(
        name="fragile", opener="tests.parity.explain.test_reproduce_trials:open_fragile"
    )
    with StackProcess(TOY) as reference, StackProcess(spec) as challenger:
        found, sides = in_process(reference, challenger, aged)
        (one,) = write_bundles(tmp_path, found, replace(sides, challenger_spec=spec), Plan())

    assert one.path is not None
    bundle, request = read_bundle(one.path)
    assert request.num_candidates == 1
    assert "user.age_days" in bundle.shrunk.kept
    assert check_bundle(one.path).status == "failing"
