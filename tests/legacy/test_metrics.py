import math

import numpy as np
import pytest

from legacy.metrics import auc, figures, normalised_entropy


def test_auc_counts_pairs_and_half_of_ties() -> None:
    predicted = np.array([0.1, 0.2, 0.2, 0.9])
    labels = np.array([0.0, 1.0, 0.0, 1.0])

    assert auc(predicted, labels) == (1 + 0.5 + 1 + 1) / 4


def test_ne_of_the_labels_own_rate_is_1_and_less_when_better() -> None:
    labels = np.array([0.0, 0.0, 0.0, 1.0])

    assert normalised_entropy(np.full(4, 0.25), labels) == pytest.approx(1.0)
    by_hand = -(3 * math.log(0.9) + math.log(0.7)) / -(3 * math.log(0.75) + math.log(0.25))
    assert normalised_entropy(np.array([0.1, 0.1, 0.1, 0.7]), labels) == pytest.approx(by_hand)


def test_figures_without_clicks_decide_nothing() -> None:
    assert figures([0.1, 0.2], [0, 0]) == {
        "ne": None, "auc": None, "calibration": None, "rows": 2, "clicks": 0,
    }  # fmt: skip


def test_calibration_is_predicted_over_observed() -> None:
    assert figures([0.5, 0.5, 0.5], [1, 0, 0])["calibration"] == 1.5
