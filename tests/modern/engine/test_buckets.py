from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modern.engine.buckets import plan_passes, rounded_up

REQUESTS = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 900)), max_size=60)


@given(size=st.integers(1, 100_000))
def test_sizes_are_rounded_up_by_a_third_at_most(size: int) -> None:
    assert size <= rounded_up(size) <= max(size, 1.5 * size)
    assert rounded_up(rounded_up(size)) == rounded_up(size)


@given(requests=REQUESTS, max_requests=st.integers(1, 40), max_candidates=st.integers(1, 4000))
def test_every_candidate_is_in_exactly_one_pass_and_no_pass_is_too_large(
    requests: list[tuple[int, int]], max_requests: int, max_candidates: int
) -> None:
    steps = np.array([s for s, _ in requests], dtype=np.int64)
    candidates = np.array([k for _, k in requests], dtype=np.int64)
    seen = np.zeros(len(requests), dtype=np.int64)

    for one in plan_passes(
        steps, candidates, max_requests=max_requests, max_candidates=max_candidates
    ):
        bucket = one.bucket
        assert len(one.requests) <= min(bucket.requests, max_requests)
        assert bucket.steps >= steps[one.requests].max()
        slots = len(one.requests) * bucket.candidates
        assert slots <= max(max_candidates, rounded_up(max_candidates))
        # Whoever is in a pass has a candidate there: no request rides along for nothing.
        scored = np.clip(candidates[one.requests] - one.first, 0, bucket.candidates)
        assert scored.min() > 0
        seen[one.requests] += scored

    assert seen.tolist() == candidates.tolist()
