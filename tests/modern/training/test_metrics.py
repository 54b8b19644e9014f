from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modern.training.metrics import log_losses, quality_of

CLICK = np.array([True, False, False, False, True, False, False, False, False, False])


def test_the_sets_own_click_rate_has_ne_one_auc_one_half_and_calibration_one() -> None:
    found = quality_of(np.full(10, 0.2), CLICK)

    assert found.ne == pytest.approx(1.0, abs=1e-15)
    assert found.auc == 0.5
    assert found.calibration == pytest.approx(1.0)
    assert (found.rows, found.clicks) == (10, 2)


def test_normalised_entropy_is_log_loss_over_the_entropy_of_the_click_rate() -> None:
    pctr = np.linspace(0.05, 0.5, 10)

    found = quality_of(pctr, CLICK)

    loss = -np.where(CLICK, np.log(pctr), np.log(1 - pctr)).mean()
    entropy = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))
    assert found.ne == pytest.approx(loss / entropy)
    assert found.calibration == pytest.approx(pctr.sum() / 2)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.7]), st.booleans()), max_size=30))
@settings(max_examples=100, deadline=None)
def test_auc_is_the_share_of_pairs_in_order_ties_counting_half(
    rows: list[tuple[float, bool]],
) -> None:
    pctr = np.array([p for p, _ in rows])
    click = np.array([c for _, c in rows], dtype=np.bool_)

    found = quality_of(pctr, click).auc

    pairs = [(a > b) + (a == b) / 2 for a in pctr[click] for b in pctr[~click]]
    expected = float(np.mean(pairs)) if pairs else None
    assert found == (expected if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("clicks", [0, 4])
def test_rows_of_one_label_have_neither_entropy_nor_order(clicks: int) -> None:
    found = quality_of(np.full(4, 0.5), np.arange(4) < clicks)

    assert found.ne is None
    assert found.auc is None
    assert found.calibration == (None if clicks == 0 else pytest.approx(0.5))


def test_a_certain_and_wrong_prediction_costs_much_and_not_everything() -> None:
    losses = log_losses(np.float32([0.0, 1.0]), np.array([True, False]))

    assert np.isfinite(losses).all()
    assert (losses > 15).all()
