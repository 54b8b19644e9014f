from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from parity.judge.metrics import Outcomes, metrics_of
from parity.judge.metrics.measure import DIRECTIONS, decision
from parity.judge.policy import Margin, Policy
from parity.judge.report import Metric

POLICY = Policy(
    margins={"ne": Margin(worse_by=0.02, why="a test"), "auc": Margin(worse_by=0.02, why="a test")},
    resamples=300,
)


def outcomes(
    label: NDArray[np.int8],
    p_reference: NDArray[np.float64],
    p_challenger: NDArray[np.float64],
    *,
    per_request: int = 1,
) -> Outcomes:
    requests = np.arange(len(label), dtype=np.uint64) // np.uint64(per_request)
    return Outcomes(
        request_hash=requests * np.uint64(0x9E3779B97F4A7C15),
        label=label,
        p_reference=p_reference,
        p_challenger=p_challenger,
        top_k_overlap=np.array([1.0, 0.5, 0.75]),
        rank_correlation=np.array([1.0, math.nan, 0.5]),
        top_k=4,
    )


def clicked(seed: int, num_rows: int, *, noise: float, rate: float = 0.03) -> Outcomes:
    """A reference that knows the truth, and a challenger that knows it with noise."""
    rng = np.random.default_rng(seed)
    logit = math.log(rate / (1 - rate)) + rng.normal(size=num_rows)
    truth = 1 / (1 + np.exp(-logit))
    noisy = 1 / (1 + np.exp(-(logit + noise * rng.normal(size=num_rows))))
    return outcomes((rng.random(num_rows) < truth).astype(np.int8), truth, noisy)


def by_name(metrics: tuple[Metric, ...]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


def test_both_sides_are_measured_as_their_definitions_say() -> None:
    label = np.array([1, 0, 0, 1, 0, 0], dtype=np.int8)
    reference = np.array([0.9, 0.1, 0.2, 0.6, 0.3, 0.3])
    challenger = np.array([0.5, 0.5, 0.2, 0.6, 0.3, 0.7])

    found = by_name(metrics_of(outcomes(label, reference, challenger), POLICY, seed=0))

    def loss(p: NDArray[np.float64]) -> float:
        return -float(np.mean(np.where(label == 1, np.log(p), np.log(1 - p))))

    entropy = -(1 / 3 * math.log(1 / 3) + 2 / 3 * math.log(2 / 3))
    assert found["log_loss"].reference == pytest.approx(loss(reference), rel=1e-14)
    assert found["ne"].challenger == pytest.approx(loss(challenger) / entropy, rel=1e-14)
    assert found["calibration"].reference == pytest.approx(2.4 / 2)
    assert found["calibration_error"].challenger == pytest.approx(0.4)
    assert found["auc"].reference == 1.0
    assert found["auc"].challenger == pytest.approx((0.5 + 1 + 1 + 0 + 1 + 1 + 1 + 0) / 8)
    assert found["auc"].difference == pytest.approx(found["auc"].challenger - 1)


def test_the_mean_click_rate_has_a_normalised_entropy_of_one() -> None:
    label = np.array([1, 0, 0, 0] * 30, dtype=np.int8)
    p = np.full(120, 0.25)

    assert by_name(metrics_of(outcomes(label, p, p), POLICY, 0))["ne"].reference == pytest.approx(1)


def test_equal_predictions_differ_by_exactly_nothing() -> None:
    evidence = clicked(0, 2000, noise=0.0)

    found = by_name(metrics_of(evidence, POLICY, seed=0))

    for name in ("ne", "auc", "log_loss", "calibration"):
        assert (found[name].difference, found[name].low, found[name].high) == (0.0, 0.0, 0.0)
    assert found["ne"].decision == "no_worse"


@pytest.mark.parametrize(
    ("num_rows", "noise", "expected"),
    [(20_000, 0.05, "no_worse"), (20_000, 1.5, "worse"), (1_000, 0.6, "undecided")],
)
def test_the_interval_decides(num_rows: int, noise: float, expected: str) -> None:
    found = by_name(metrics_of(clicked(1, num_rows, noise=noise), POLICY, seed=0))

    assert found["ne"].decision == expected


def test_the_order_of_the_evidence_changes_nothing() -> None:
    evidence = clicked(2, 500, noise=0.3)
    shuffle = np.random.default_rng(0).permutation(500)
    shuffled = replace(
        evidence,
        **{
            name: getattr(evidence, name)[shuffle]
            for name in ("request_hash", "label", "p_reference", "p_challenger")
        },
        top_k_overlap=evidence.top_k_overlap[::-1],
        rank_correlation=evidence.rank_correlation[::-1],
    )

    assert metrics_of(shuffled, POLICY, seed=5) == metrics_of(evidence, POLICY, seed=5)


def test_the_seed_moves_intervals_and_not_figures() -> None:
    evidence = clicked(2, 2000, noise=0.3)

    one, two = (by_name(metrics_of(evidence, POLICY, seed=seed))["ne"] for seed in (1, 2))

    assert one.difference == two.difference
    assert one.low != two.low


def test_requests_and_not_candidates_are_resampled() -> None:
    """Ten copies of a candidate in one request are no more evidence than one."""
    once = clicked(3, 400, noise=0.4, rate=0.2)
    copies = replace(
        once,
        **{
            name: np.repeat(getattr(once, name), 10)
            for name in ("request_hash", "label", "p_reference", "p_challenger")
        },
    )

    single, repeated = (by_name(metrics_of(e, POLICY, seed=0))["ne"] for e in (once, copies))

    assert repeated.low == pytest.approx(single.low, abs=1e-12)
    assert repeated.high == pytest.approx(single.high, abs=1e-12)


@pytest.mark.parametrize(
    ("label", "reason"),
    [([], "no labelled"), ([0, 0, 0], "none of 3"), ([1, 1, 1], "every one of 3")],
)
def test_without_both_kinds_of_label_nothing_is_known_and_nothing_decided(
    label: list[int], reason: str
) -> None:
    p = np.full(len(label), 0.3)

    found = by_name(metrics_of(outcomes(np.array(label, dtype=np.int8), p, p), POLICY, 0))

    for name in ("ne", "auc", "calibration", "log_loss"):
        metric = found[name]
        assert (metric.reference, metric.difference, metric.low) == (None, None, None)
        assert reason in metric.note
    assert found["ne"].decision == "undecided"
    assert found["log_loss"].decision == "informative"


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1, math.inf])
def test_a_probability_outside_its_range_is_no_evidence(value: float) -> None:
    p = np.array([0.1, 0.2, 0.3])
    wrong = np.array([0.1, value, 0.3])

    found = by_name(metrics_of(outcomes(np.array([0, 1, 0], dtype=np.int8), p, wrong), POLICY, 0))

    assert found["ne"].difference is None
    assert "1 probabilities of the challenger" in found["ne"].note


def test_too_few_clicks_are_shown_and_decide_nothing() -> None:
    label = np.zeros(5000, dtype=np.int8)
    label[:19] = 1
    p = np.full(5000, 0.004)

    found = by_name(metrics_of(outcomes(label, p, p), POLICY, seed=0))

    assert found["ne"].difference == 0.0
    assert found["ne"].decision == "undecided"
    assert "19 clicks" in found["ne"].note


def test_one_click_leaves_too_many_resamples_undefined() -> None:
    label = np.zeros(50, dtype=np.int8)
    label[0] = 1
    p = np.linspace(0.1, 0.2, 50)

    found = by_name(metrics_of(outcomes(label, p, p), replace(POLICY, min_clicks=1), seed=0))

    assert found["auc"].low is None
    assert found["auc"].decision == "undecided"


def test_a_certain_and_wrong_answer_costs_much_and_not_everything() -> None:
    label = np.array([1, 0] * 30, dtype=np.int8)
    sure = np.array([0.0, 1.0] * 30)

    found = by_name(metrics_of(outcomes(label, np.full(60, 0.5), sure), POLICY, seed=0))

    assert found["log_loss"].challenger == pytest.approx(-math.log(1e-12), rel=1e-4)


def test_rankings_are_compared_with_the_reference_itself() -> None:
    label = np.array([1, 0], dtype=np.int8)
    p = np.array([0.5, 0.5])

    found = by_name(metrics_of(outcomes(label, p, p), POLICY, seed=0))

    overlap, correlation = found["top_k_overlap"], found["rank_correlation"]
    assert (overlap.reference, overlap.challenger) == (1.0, 0.75)
    assert overlap.difference == pytest.approx(-0.25)
    assert overlap.note.startswith("k = 4")
    assert correlation.challenger == 0.75  # of the two requests that have an order
    assert correlation.low is not None and -0.5 <= correlation.low <= -0.25


@pytest.mark.parametrize(
    ("low", "high", "direction", "expected"),
    [
        (-0.1, 0.01, 1, "no_worse"),
        (-0.1, 0.011, 1, "undecided"),
        (0.01, 0.02, 1, "undecided"),
        (0.011, 0.02, 1, "worse"),
        (-0.01, 0.1, -1, "no_worse"),
        (-0.011, 0.1, -1, "undecided"),
        (-0.02, -0.011, -1, "worse"),
        (-9.0, 9.0, 0, "informative"),
    ],
)
def test_a_decision_needs_the_whole_interval_on_one_side(
    low: float, high: float, direction: int, expected: str
) -> None:
    margin = Margin(worse_by=0.01, why="a test")

    assert decision(0.0, low, high, direction=direction, margin=margin) == expected


def test_every_metric_has_a_direction() -> None:
    names = {metric.name for metric in metrics_of(clicked(0, 200, noise=0.1), POLICY, seed=0)}

    of_precision = {"dp_p99", "dp_max", "pair_flips", "sum_p_error"}  # parity/compare/precision.py
    assert names | of_precision == DIRECTIONS.keys()
    assert not names & of_precision


def test_money_is_null_without_bids_and_a_margin_on_it_is_then_undecided() -> None:
    policy = replace(POLICY, margins={"auction_kept": Margin(worse_by=0.01, why="a test")})

    found = by_name(metrics_of(clicked(4, 400, noise=0.1), policy, seed=0))

    for name in ("bid_weighted_flips", "auction_value", "auction_kept", "auction_kept_labels"):
        assert (found[name].reference, found[name].challenger, found[name].low) == (None,) * 3
        assert "no bids" in found[name].note
    assert found["auction_kept"].decision == "undecided"


def test_the_kept_share_is_a_ratio_of_sums_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    value = rng.uniform(1, 3, 500)
    evidence = replace(
        clicked(4, 400, noise=0.1),
        bid_flips=np.full(500, 0.25),
        value_reference=value,
        value_challenger=0.9 * value,
        label_value_reference=np.full(500, np.nan),
        label_value_challenger=np.full(500, np.nan),
        top_k_overlap=np.full(500, 0.5),
        rank_correlation=np.full(500, 0.5),
    )
    policy = replace(POLICY, margins={"auction_kept": Margin(worse_by=0.05, why="a test")})

    found = by_name(metrics_of(evidence, policy, seed=0))

    kept, money = found["auction_kept"], found["auction_value"]
    assert (kept.reference, kept.challenger) == (1.0, pytest.approx(0.9))
    assert (kept.low, kept.high) == (pytest.approx(-0.1), pytest.approx(-0.1))
    assert kept.decision == "worse"
    assert money.difference == pytest.approx(-0.1 * value.mean())
    assert found["bid_weighted_flips"].challenger == 0.25
    assert "more than 4 labelled" in found["auction_kept_labels"].note


def test_a_higher_level_widens_every_interval() -> None:
    evidence = clicked(2, 2000, noise=0.3)

    usual, sure = (
        by_name(metrics_of(evidence, POLICY, 0, level=level))["ne"] for level in (0.95, 0.99)
    )

    assert sure.low < usual.low < usual.high < sure.high
