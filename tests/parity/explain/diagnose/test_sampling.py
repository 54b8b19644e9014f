from __future__ import annotations

from dataclasses import replace

import numpy as np

from parity.explain.diagnose.evidence import Evidence
from parity.explain.diagnose.sampling import (
    FEW_CHANNELS,
    MAX_CELLS,
    few_channels,
    held_back,
    sample_of,
)
from parity.noise import ChannelNoise
from parity.tolerance import Exact

EXACT = Exact(why="discrete")


def an_evidence(reference, challenger, requests, **more) -> Evidence:
    return Evidence(
        name="f", reference=reference, challenger=challenger, requests=requests,
        tolerance=EXACT, **more,
    )  # fmt: skip


def test_half_of_the_diverging_and_half_of_the_agreeing_requests_are_held_back() -> None:
    requests = np.repeat(np.arange(20), 5)
    differing = requests % 4 == 0

    held = held_back(requests, differing)

    by_request = held.reshape(20, 5)
    assert (by_request == by_request[:, :1]).all()
    at_fault = np.arange(20) % 4 == 0
    assert by_request[at_fault, 0].sum() == 2
    assert by_request[~at_fault, 0].sum() == 7


def test_of_a_single_diverging_request_every_second_row_is_held_back() -> None:
    requests = np.repeat(np.arange(4), 10)

    held = held_back(requests, requests == 2)

    assert held[requests == 2].sum() == 5


def test_a_wide_layer_is_cut_to_rows_of_many_requests_of_both_sorts() -> None:
    requests = np.repeat(np.arange(100), 10)
    reference = np.random.default_rng(0).normal(size=(1000, 512)).astype(np.float32)
    challenger = reference + (requests >= 50)[:, np.newaxis]

    sample = sample_of(an_evidence(reference, challenger.astype(np.float32), requests))

    assert sample is not None
    assert len(sample.reference) <= MAX_CELLS
    kept = np.unique(sample.requests)
    assert len(kept) == len(sample.rows) == MAX_CELLS // 512  # no request twice
    assert (kept >= 50).sum() == len(kept) // 2


def test_of_a_wide_layer_some_channels_of_every_row_are_looked_at_too() -> None:
    requests = np.repeat(np.arange(100), 10)
    reference = np.random.default_rng(0).normal(size=(1000, 512)).astype(np.float32)

    found = few_channels(an_evidence(reference, reference + 1, requests))

    assert found is not None
    assert found.reference.shape == (1000, FEW_CHANNELS)
    narrow = an_evidence(reference[:, :4], reference[:, :4], requests)
    assert few_channels(narrow) is None


def test_each_channel_that_is_looked_at_keeps_its_own_noise() -> None:
    """Of [row, token, channel] the channels come once a token."""
    requests = np.repeat(np.arange(100), 10)
    reference = np.ones((1000, 8, 64), dtype=np.float32)
    challenger = reference + np.float32(1.0)
    loud = ChannelNoise(
        margin=4.0, noise=(1e-3,) * 63 + (0.5,), size=(1.0,) * 64, why="the last one is loud"
    )

    found = few_channels(replace(an_evidence(reference, challenger, requests), tolerance=loud))

    assert found is not None
    sample = sample_of(found)
    assert sample is not None
    differs = sample.differs.reshape(-1, FEW_CHANNELS)
    assert differs[:, :-1].all()
    assert not differs[:, -1].any()


def test_a_value_repeated_over_a_requests_candidates_is_one_observation() -> None:
    requests = np.repeat(np.arange(8), 10)
    reference = requests.astype(np.float32)

    sample = sample_of(an_evidence(reference, reference + 1, requests))

    assert sample is not None
    assert len(sample.reference) == 8


def test_a_declared_missing_value_on_both_sides_agrees() -> None:
    reference = np.array([np.nan, 1.0, 2.0, np.nan] * 4, dtype=np.float32)
    challenger = np.array([np.nan, 5.0, 2.0, 7.0] * 4, dtype=np.float32)

    sample = sample_of(an_evidence(reference, challenger, np.arange(16)))

    assert sample is not None
    assert sample.differs.tolist() == [False, True, False, True] * 4


def test_text_is_no_number() -> None:
    words = np.array(["a", "b"])

    assert sample_of(an_evidence(words, words, np.arange(2))) is None
