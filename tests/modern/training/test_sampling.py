from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modern.training.sampling import thin_negatives
from tests.modern.training.test_fit import drawn


def test_positives_stay_and_of_the_negatives_so_many() -> None:
    rows = drawn(20_000, seed=1)

    found = thin_negatives(rows, [0.1], seed=3)

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

    assert thin_negatives(rows, [1.0], seed=3).inputs is rows.inputs


def test_a_candidate_stays_while_any_of_its_outcomes_says_something() -> None:
    rows = drawn(4000, seed=1)
    clicked = rows.labels[:, 0]
    bought = np.where(np.arange(4000) % 4 == 0, np.nan, 0.0).astype(np.float32)
    two = replace(rows, labels=np.stack([clicked, bought], axis=1))

    found = thin_negatives(two, [1.0, 0.25], seed=3)

    assert len(found) == 4000, "every click is known, so every candidate stays"
    np.testing.assert_array_equal(found.labels[:, 0], clicked)
    kept = ~np.isnan(found.labels[:, 1])
    assert not kept[np.isnan(bought)].any()
    assert kept.sum() == pytest.approx(0.25 * 3000, rel=0.15)


def test_a_seed_draws_the_same_again() -> None:
    rows = drawn(500, seed=1)

    first, second, other = (thin_negatives(rows, [0.3], seed=seed) for seed in (3, 3, 4))

    assert first.request_ids.tolist() == second.request_ids.tolist()
    assert first.request_ids.tolist() != other.request_ids.tolist()
