from __future__ import annotations

import math

import numpy as np
import pytest

from parity.judge.metrics import Outcomes, intervals, metrics_of
from parity.judge.policy import Policy


def sequence(seed: int = 0) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed)


def test_as_many_requests_are_drawn_as_there_are() -> None:
    drawn = np.concatenate(list(intervals.draws(50, resamples=20, seed=sequence())))

    assert drawn.shape == (20, 50)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean() == 1


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(intervals.draws(30, resamples=11, seed=sequence())))
    monkeypatch.setattr(intervals, "CHUNK_BYTES", 8 * 30 * 4)
    chunks = list(intervals.draws(30, resamples=11, seed=sequence()))

    assert [len(chunk) for chunk in chunks] == [4, 4, 3]
    assert (np.concatenate(chunks) == whole).all()


def test_the_middle_95_percent_is_the_interval() -> None:
    found = intervals.interval(np.arange(1001, dtype=np.float64))

    assert found is not None
    assert (found.low, found.high) == pytest.approx((25.0, 975.0))


@pytest.mark.parametrize(("undefined", "known"), [(0, 1), (10, 1), (11, 0)])
def test_too_many_undefined_resamples_leave_no_interval(undefined: int, known: int) -> None:
    differences = np.zeros(1000)
    differences[:undefined] = math.nan

    assert (intervals.interval(differences) is not None) == bool(known)


def test_no_resample_gives_no_interval() -> None:
    assert intervals.interval(np.zeros(0)) is None


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    """95 % nominal; 150 trials leave a standard error of 1.8 %, so 89 % is over three of them.

    Requests of three candidates share a click propensity: intervals by candidate would be too
    narrow here, and cover less.
    """
    rng = np.random.default_rng(7)

    def trial(num_requests: int) -> Outcomes:
        shared = np.repeat(rng.normal(size=num_requests), 3)
        truth = 1 / (1 + np.exp(1.5 - shared))
        ours = 1 / (1 + np.exp(1.5 - 0.8 * shared))
        theirs = 1 / (1 + np.exp(1.3 - 0.5 * shared))
        return Outcomes(
            request_hash=np.repeat(np.arange(num_requests, dtype=np.uint64), 3),
            label=(rng.random(3 * num_requests) < truth).astype(np.int8),
            p_reference=ours,
            p_challenger=theirs,
            top_k_overlap=np.ones(1),
            rank_correlation=np.ones(1),
            top_k=1,
        )

    names = ("ne", "auc", "log_loss", "calibration")
    truth = {m.name: m.difference for m in metrics_of(trial(200_000), Policy(resamples=1), 0)}
    covered = dict.fromkeys(names, 0)
    for seed in range(150):
        for metric in metrics_of(trial(150), Policy(resamples=200), seed):
            if metric.name in covered:
                value = truth[metric.name]
                assert metric.low is not None and metric.high is not None and value is not None
                covered[metric.name] += metric.low <= value <= metric.high

    for name in names:
        assert 0.89 <= covered[name] / 150 <= 1.0, (name, covered[name])
