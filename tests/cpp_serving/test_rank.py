"""Places follow from values and ad ids alone, for requests of every length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpp_serving.stack import CppStack
from tests.builders import a_candidate, a_request, batch_of
from tests.cpp_serving.opened import opened

# Few values, so that ties are frequent; both zeros are one value, NaN comes last.
EDGES = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-320, -1e-320, 2.5, 1e300])


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> CppStack:
    return opened(tmp_path_factory.mktemp("rank"), num_trees=2, depth=2)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 400), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_places_are_those_of_a_plain_sort(stack: CppStack, counts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    requests, values, expected = [], [], []
    for i, count in enumerate(counts):
        ads = rng.permutation(count * 3)[:count] - count
        requests.append(a_request(f"r-{i}", candidates=[a_candidate(int(ad)) for ad in ads]))
        own = rng.choice(EDGES, count) if seed % 2 else rng.normal(size=count)
        order = np.lexsort((ads, -(own + 0.0)))
        places = np.empty(count, np.int32)
        places[order] = np.arange(count)
        values.append(own)
        expected.append(places)

    trace = stack.score(
        batch_of(*requests), capture=["rank"], given={"ecpm_micros": np.concatenate(values)}
    )

    np.testing.assert_array_equal(trace["rank"], np.concatenate(expected))
