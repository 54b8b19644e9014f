"""Batches are cut by what they take, and what was cut is put together unchanged."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.checkpoint import CheckpointGraph
from replay.engine.pieces import bytes_per_request, joined_trace, kept_trace, rows_of, runs_within
from tests.replay.engine.requests import some_requests
from tests.replay.engine.toy_stack import CHECKPOINTS, EVERY, NUM_TREES, open_stack

GRAPH = CheckpointGraph(CHECKPOINTS, stack="toy")


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_runs_cover_every_request_once_and_stay_within_the_limit(
    sizes: list[int], limit: int
) -> None:
    runs = runs_within(np.array(sizes, np.int64), limit)

    assert [place for run in runs for place in run] == list(range(len(sizes)))
    assert all(len(run) == 1 or sum(sizes[run.start : run.stop]) <= limit for run in runs if run)


def test_a_request_takes_its_rows_times_the_declared_row() -> None:
    batch = some_requests(9)

    sizes = bytes_per_request(batch.keys, GRAPH, ["features.hour", "gbdt.leaves", "features.age"])

    candidates = np.diff(batch.keys.candidate_offsets)
    steps = np.diff(batch.keys.step_offsets)
    assert sizes.tolist() == (4 + 4 * NUM_TREES * candidates + 8 * steps).tolist()


def test_pieces_put_together_are_the_whole() -> None:
    batch, stack = some_requests(9), open_stack()
    whole = stack.score(batch, capture=EVERY)
    runs = [range(4), range(4, 5), range(5, 9)]

    pieces = [stack.score(batch.slice(run.start, run.stop), capture=EVERY) for run in runs]
    found = joined_trace(pieces, batch.keys, GRAPH, EVERY, stack="toy")

    for name in EVERY:
        assert found[name].tobytes() == whole[name].tobytes()
        assert found[name].dtype == whole[name].dtype
        assert not found[name].flags.writeable
        rows = rows_of(batch.keys, GRAPH[name].rows, runs[2])
        assert np.array_equal(whole[name][rows], pieces[2][name], equal_nan=True)


def test_no_pieces_make_an_empty_trace_of_the_declared_shapes() -> None:
    found = joined_trace([], some_requests(3).slice(0, 0).keys, GRAPH, EVERY, stack="toy")

    assert found["gbdt.leaves"].shape == (0, NUM_TREES)
    assert found["gbdt.leaves"].dtype == np.int32


def test_a_trace_of_kept_requests_is_the_trace_of_these_requests() -> None:
    batch, stack = some_requests(9), open_stack()
    kept = np.array([True, False, True, True, False, False, True, True, False])
    rest = batch.take(np.flatnonzero(kept))

    found = kept_trace(stack.score(batch, capture=EVERY), GRAPH, kept, rest.keys)

    alone = stack.score(rest, capture=EVERY)
    assert all(found[name].tobytes() == alone[name].tobytes() for name in EVERY)
