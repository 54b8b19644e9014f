from __future__ import annotations

import numpy as np

from modern.training.batches import batches_of_epoch
from tests.modern.training.test_fit import drawn


def test_an_epoch_reads_every_request_once_in_steps_of_about_one_size() -> None:
    inputs = drawn(1000, seed=1).inputs

    found = batches_of_epoch(inputs, num_candidates=32, rng=np.random.default_rng(5))

    assert sorted(np.concatenate(found).tolist()) == list(range(1000))
    assert max(map(len, found)) == 32
    assert len(found) == 32  # 31.25


def test_a_step_reads_histories_of_like_length_and_the_steps_come_in_random_order() -> None:
    inputs = drawn(4000, seed=1).inputs
    lengths = np.diff(inputs.step_offsets)

    found = batches_of_epoch(inputs, num_candidates=32, rng=np.random.default_rng(5))

    padded = sum(lengths[requests].max() * len(requests) for requests in found)
    assert padded < 1.15 * lengths.sum()
    means = np.array([lengths[requests].mean() for requests in found])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3


def test_the_same_generator_gives_the_same_steps() -> None:
    inputs = drawn(300, seed=1).inputs

    first, second, other = (
        batches_of_epoch(inputs, num_candidates=32, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )

    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])
