"""Laws of tolerances over a sample: what a channel's noise and an envelope allow, and never allow."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from parity.noise import PEAK, ChannelNoise, Envelope, sampled_from_json, sampled_json

ROWS, CHANNELS = 200, 4
NOISE = ChannelNoise(margin=4.0, noise=(1e-6,) * CHANNELS, size=(1.0,) * CHANNELS, why="a test")
ENVELOPE = Envelope(rms=1e-3, p99=3e-3, most=1e-2, shift=2e-4, why="a test")
VALUES = nst.arrays(np.float64, (12, CHANNELS), elements=st.floats(-4, 4))


def sides(*, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A reference of size one, and a challenger with honest noise."""
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal((ROWS, CHANNELS))
    return reference, reference + noise * rng.standard_normal(reference.shape)


def test_honest_noise_is_allowed() -> None:
    assert not NOISE.exceeded(*sides(noise=2e-6)).any()


def test_a_channel_that_moves_beyond_its_noise_differs_and_no_other() -> None:
    reference, challenger = sides(noise=1e-6)
    challenger[:, 2] += 8e-6 * reference[:, 2]

    found = NOISE.exceeded(reference, challenger)

    assert found.any(axis=0).tolist() == [False, False, True, False]


def test_a_fault_that_no_single_value_shows_is_seen_in_all_of_them() -> None:
    """Each value stays within what one honest value may reach: only the sample tells."""
    reference, challenger = sides(noise=0.0)
    challenger[:, 1] += np.where(reference[:, 1] > 0, 6e-6, -6e-6)

    apart = np.abs(challenger - reference).max()

    assert apart < PEAK * NOISE.bounds(reference)[1]
    assert NOISE.exceeded(reference, challenger).any()


def test_a_fault_in_one_row_of_many_is_seen() -> None:
    reference, challenger = sides(noise=1e-6)
    challenger[17, 3] += 1e-4

    assert np.argwhere(NOISE.exceeded(reference, challenger)).tolist() == [[17, 3]]


def test_noise_grows_with_the_values_and_does_not_shrink() -> None:
    reference, _ = sides(noise=0.0)

    assert NOISE.bounds(100 * reference) == pytest.approx(
        400e-6 * np.sqrt(np.mean(reference**2, axis=0))
    )
    assert NOISE.bounds(0.01 * reference) == pytest.approx(4e-6)


def test_a_channel_that_was_silent_is_allowed_a_part_of_what_the_others_make() -> None:
    silent = replace(NOISE, noise=(0.0, 1e-6, 1e-6, 1e-6))
    reference, challenger = sides(noise=0.0)
    challenger[:, 0] += 1e-7

    assert not silent.exceeded(reference, challenger).any()


@settings(max_examples=50)
@given(VALUES, VALUES, st.lists(st.floats(0, 8), min_size=2, max_size=4))
def test_wider_never_adds(reference, challenger, margins) -> None:
    for narrow, wide in pairwise(sorted(margins)):
        for one in (NOISE, ENVELOPE):
            tight, loose = _scaled(one, narrow), _scaled(one, wide)
            added = loose.exceeded(reference, challenger) & ~tight.exceeded(reference, challenger)
            assert not added.any()


@settings(max_examples=50)
@given(VALUES, VALUES, st.permutations(range(12)))
def test_the_order_of_rows_changes_nothing(reference, challenger, order) -> None:
    for one in (NOISE, ENVELOPE):
        straight = one.exceeded(reference, challenger)
        assert np.array_equal(one.exceeded(reference[order], challenger[order]), straight[order])


@pytest.mark.parametrize("one", [NOISE, ENVELOPE])
def test_nan_and_infinity_are_beyond(one) -> None:
    reference, challenger = sides(noise=0.0)
    challenger[3, 0], challenger[4, 1] = np.nan, np.inf

    assert np.argwhere(one.exceeded(reference, challenger)).tolist() == [[3, 0], [4, 1]]


@pytest.mark.parametrize(
    ("moved", "seen"),
    [
        ({}, False),
        ({"scale": 3.0}, True),  # the root mean square
        ({"shift": 4e-4}, True),  # hidden in every value's noise
        ({"one": 2e-2}, True),
        ({"few": 5e-3}, True),  # two in a hundred beyond the 99th percentile
    ],
)
def test_each_bound_of_an_envelope_is_looked_at(moved, seen) -> None:
    rng = np.random.default_rng(1)
    apart = 5e-4 * moved.get("scale", 1.0) * rng.standard_normal(2000)
    apart -= apart.mean() - moved.get("shift", 0.0)
    apart[:1] += moved.get("one", 0.0)
    apart[:40:2] += moved.get("few", 0.0)
    apart[1:40:2] -= moved.get("few", 0.0)
    reference = rng.standard_normal(2000)

    assert ENVELOPE.exceeded(reference, reference + apart).any() == seen


@pytest.mark.parametrize("one", [NOISE, replace(NOISE, total=1e-5), ENVELOPE])
def test_json_and_back(one) -> None:
    assert sampled_from_json(json.loads(json.dumps(sampled_json(one)))) == one


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"noise": [1.0]}, "1 channels of noise, 4 of size"),
        ({"noise": [-1.0] * 4}, "negative or not finite"),
        ({"margin": float("nan")}, "negative or not finite"),
        ({"why": " "}, "no reason"),
        ({"more": 1}, "it holds"),
    ],
)
def test_figures_that_bound_nothing_are_refused(changed, says) -> None:
    with pytest.raises(ValueError, match=says):
        sampled_from_json(sampled_json(NOISE) | changed)


def _scaled(one, by: float):
    if isinstance(one, ChannelNoise):
        return replace(one, margin=by)
    return replace(
        one, rms=by * one.rms, p99=by * one.p99, most=by * one.most, shift=by * one.shift
    )
