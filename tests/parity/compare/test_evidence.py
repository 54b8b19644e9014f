from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from parity.compare.evidence import rank_correlation, top_k_overlap

OFFSETS = np.array([0, 4, 6, 7])
OURS = np.array([0, 1, 2, 3, 0, 1, 0], np.int32)
THEIRS = np.array([3, 1, 0, 2, 1, 0, 0], np.int32)


def test_the_overlap_is_the_share_of_the_references_first_k() -> None:
    assert top_k_overlap(OURS, THEIRS, OFFSETS, 1).tolist() == [0, 0, 1]
    assert top_k_overlap(OURS, THEIRS, OFFSETS, 2).tolist() == [0.5, 1, 1]
    assert top_k_overlap(OURS, THEIRS, OFFSETS, 3).tolist() == [2 / 3, 1, 1]


def test_the_correlation_is_spearmans_and_undefined_for_one_candidate() -> None:
    found = rank_correlation(OURS, THEIRS, OFFSETS)

    assert np.isclose(found[0], spearmanr(OURS[:4], THEIRS[:4]).statistic)
    assert found[1] == -1.0
    assert np.isnan(found[2])


def test_no_requests_give_no_figures() -> None:
    none = np.zeros(0, np.int32)

    assert len(top_k_overlap(none, none, np.array([0]), 3)) == 0
    assert len(rank_correlation(none, none, np.array([0]))) == 0
