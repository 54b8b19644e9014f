from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity.compare.alignment import align
from parity.explain.probe import given_from_reference, probe
from parity.plan import Plan
from replay.checkpoint import Checkpoint, CheckpointGraph
from tests.toys import ToyStack, bugs_of, nudged, toy_batch, toys

BATCH = toy_batch(10)


def probed(reference, challenger, plan=None, batch=BATCH):
    alignment = align(reference.checkpoints, challenger.checkpoints, plan or Plan())
    return probe(reference, challenger, batch, alignment)


def test_a_fault_differs_locally_and_what_follows_only_in_total() -> None:
    found = probed(*toys(bugs_of("left")))

    assert found.local["left"].differing > 0
    assert found.local["logit"].differing == found.local["pctr"].differing == 0
    assert found.total["logit"].differing > 0


def test_the_challenger_is_asked_twice_and_the_reference_once() -> None:
    reference, challenger = toys(bugs_of("left", "right", "logit"))

    probed(reference, challenger)

    assert (reference.passes, challenger.passes) == (1, 2)


def test_an_ulp_before_a_layer_is_no_local_difference_after_it() -> None:
    found = probed(*toys({"features.price": nudged}))

    assert found.local["features.price"].max_distance > 0.0
    assert not any(difference.differing for difference in found.local.values())


def test_ecpm_is_judged_by_its_own_arithmetic_once_pctr_is_given() -> None:
    wiggle = {"ecpm_micros": lambda v: v * (1 + 1e-9)}

    found = probed(*toys(wiggle))

    assert found.local["ecpm_micros"].differing == BATCH.num_candidates
    assert found.total["ecpm_micros"].differing == 0  # hidden by what pctr may move


def test_a_rank_is_exact_once_what_ranks_is_given() -> None:
    def last_two_swapped(ranks):
        return np.where(ranks == 1, 0, np.where(ranks == 0, 1, ranks))

    found = probed(*toys({"rank": last_two_swapped}))

    assert found.local["rank"].differing == 2 * BATCH.num_requests


def a_pair(ours: Checkpoint, theirs: Checkpoint):
    return align(CheckpointGraph([ours], stack="a"), CheckpointGraph([theirs], stack="b"), Plan())


def a_feature(axis: str, dtype: str = "int64", **more) -> Checkpoint:
    return Checkpoint(name="f", stage="feature", axes=(axis,), dtype=dtype, exact=True, **more)


def given(ours: Checkpoint, theirs: Checkpoint, values: np.ndarray):
    trace = replace(ToyStack().score(BATCH, capture=[]), values={"f": values})
    return given_from_reference(["f"], a_pair(ours, theirs), trace)


def test_a_requests_value_is_given_to_each_of_its_candidates() -> None:
    values = np.arange(BATCH.num_requests)

    found, names = given(a_feature("request"), a_feature("candidate"), values)

    assert found["f"].tolist() == BATCH.keys.request_of("candidate").tolist()
    assert names == {"f"}


def test_candidates_values_are_given_to_a_request_only_where_they_agree() -> None:
    ours, theirs = a_feature("candidate", "float64"), a_feature("request", "float64")
    constant = BATCH.keys.request_of("candidate").astype(np.float64)
    constant[constant == 3] = np.nan

    found, _ = given(ours, theirs, constant)
    assert np.array_equal(
        found["f"], np.unique(constant)[[0, 1, 2, -1, 3, 4, 5, 6, 7, 8]], equal_nan=True
    )

    none, names = given(ours, theirs, np.arange(BATCH.num_candidates, dtype=np.float64))
    assert (none, names) == ({}, frozenset())


def test_values_are_narrowed_and_integers_that_do_not_fit_are_not_given() -> None:
    values = np.full(BATCH.num_requests, 2**40)

    assert given(a_feature("request"), a_feature("request", "int32"), values)[0] == {}
    small, _ = given(a_feature("request"), a_feature("request", "int32"), values >> 20)
    assert small["f"].dtype == np.int32


def test_what_can_not_be_set_is_not_given() -> None:
    reference, challenger = ToyStack(), ToyStack(unsettable=["left"])

    assert "left" not in probed(reference, challenger).given
