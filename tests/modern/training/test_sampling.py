from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modern.training.sampling import thin_negatives
from replay.errors import ConfigError
from tests.modern.training.test_fit import drawn


def test_positives_stay_and_of_the_negatives_so_many() -> None:
    rows = drawn(20_000, seed=1)

    found = thin_negatives(rows, ["click"], [0.1], seed=3).rows

    positives, negatives = rows.labels.sum(), (rows.labels == 0).sum()
    assert found.labels.sum() == positives
    kept = (found.labels == 0).sum()
    assert abs(kept - 0.1 * negatives) < 4 * np.sqrt(0.09 * negatives)
    chosen = np.flatnonzero(np.isin(rows.request_ids, found.request_ids))
    expected = rows.take(chosen)
    np.testing.assert_array_equal(found.inputs.step_codes, expected.inputs.step_codes)
    np.testing.assert_array_equal(found.inputs.candidate_real, expected.inputs.candidate_real)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_nothing_is_thinned_at_rate_one() -> None:
    rows = drawn(50, seed=1)

    found = thin_negatives(rows, ["click"], [1.0], seed=3)

    assert found.kept == [1.0]
    assert found.rows.inputs is rows.inputs


def test_a_candidate_stays_while_any_of_its_outcomes_says_something() -> None:
    rows = drawn(4000, seed=1)
    clicked = rows.labels[:, 0]
    bought = np.where(np.arange(4000) % 4 == 0, np.nan, 0.0).astype(np.float32)
    two = replace(rows, labels=np.stack([clicked, bought], axis=1))

    found = thin_negatives(two, ["click", "conversion"], [1.0, 0.25], seed=3).rows

    assert len(found) == 4000, "every click is known, so every candidate stays"
    np.testing.assert_array_equal(found.labels[:, 0], clicked)
    kept = ~np.isnan(found.labels[:, 1])
    assert not kept[np.isnan(bought)].any()
    assert kept.sum() == pytest.approx(0.25 * 3000, rel=0.15)


def test_a_seed_draws_the_same_again() -> None:
    rows = drawn(500, seed=1)

    first, second, other = (
        thin_negatives(rows, ["click"], [0.3], seed=seed).rows for seed in (3, 3, 4)
    )

    assert first.request_ids.tolist() == second.request_ids.tolist()
    assert first.request_ids.tolist() != other.request_ids.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_correction_gives_back_the_level_exactly_however_many_were_drawn(seed: int) -> None:
    """With the share that was asked for the level would be off by a tenth: 70 negatives are left."""
    rows = drawn(2000, seed=1)
    # The second outcome is known of a part only, and that part has a draw of its own.
    views = np.where(np.arange(2000) % 3 == 0, 1 - rows.labels[:, 0], np.nan).astype(np.float32)
    rows = replace(rows, labels=np.stack([rows.labels[:, 0], views], axis=1))

    found = thin_negatives(rows, ["click", "view_2s"], [0.05, 0.1], seed=seed)

    log_odds_of_kept = log_odds(found.rows.labels)
    np.testing.assert_allclose(log_odds_of_kept + np.log(found.kept), log_odds(rows.labels))
    assert (np.abs(found.kept / [0.05, 0.1] - 1) > 1e-3).all()


def log_odds(labels: np.ndarray) -> np.ndarray:
    rate = np.nanmean(labels.astype(np.float64), axis=0)
    return np.log(rate / (1 - rate))


def test_a_rate_that_leaves_no_negative_is_refused() -> None:
    rows = drawn(100, seed=1)

    with pytest.raises(ConfigError, match=r"none is left at a rate of 0\.0001"):
        thin_negatives(rows, ["click"], [0.0001], seed=3)
