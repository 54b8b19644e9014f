from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.judge.metrics.outcomes import Outcomes, SliceColumn
from parity.judge.metrics.slice_calibration import DECILES, MARGIN, slices_of
from parity.judge.policy import Margin, Policy
from parity.judge.report import SliceFigures, Slices

POLICY = Policy()
PER_REQUEST = 4


def evidence(
    seed: int,
    *,
    requests: int = 2000,
    segments: int = 8,
    rate: float = 0.1,
    factor: float = 1.0,
    noise: float = 0.0,
) -> Outcomes:
    """Users whose luck is shared by a request's candidates; the challenger is off in segment 0.

    Both sides are calibrated elsewhere, in every decile too: the reference knows each candidate's
    chance, the challenger its mean over what it does not know, which moves chances by `noise`.
    """
    rng = np.random.default_rng(seed)
    rows = requests * PER_REQUEST
    request = np.repeat(np.arange(requests), PER_REQUEST)
    segment = rng.integers(0, segments, requests)[request]
    known = rate * np.exp(0.5 * rng.normal(size=rows) - 0.125)
    p = np.clip(known * np.exp(noise * rng.normal(size=rows) - noise**2 / 2), 0.0, 0.6)
    luck = rng.choice([0.5, 1.5], requests)[request]  # mean one: shared by the whole request
    label = (rng.random(rows) < p * luck).astype(np.int8)
    challenger = np.clip(known * np.where(segment == 0, factor, 1.0), 0.0, 1.0)
    return Outcomes(
        request_hash=request.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        label=label,
        p_reference=p,
        p_challenger=challenger,
        top_k_overlap=np.zeros(0),
        rank_correlation=np.zeros(0),
        slices={
            "user.segment": SliceColumn(
                values=tuple(map(str, range(segments))), codes=segment.astype(np.int32)
            )
        },
        top_k=3,
    )


def found(outcomes: Outcomes, policy: Policy = POLICY) -> tuple[Slices, dict[str, SliceFigures]]:
    slices = slices_of(outcomes, policy)
    assert slices is not None
    return slices, {f"{one.field} {one.value}": one for one in slices.figures}


@pytest.mark.parametrize("factor", [0.6, 1.5])
def test_a_segment_that_is_off_is_named_and_no_other(factor: float) -> None:
    slices, by_name = found(evidence(0, requests=8000, factor=factor))

    assert [name for name, one in by_name.items() if one.worse] == ["user.segment 0"]
    off = by_name["user.segment 0"]
    assert off.challenger == pytest.approx(off.reference * factor)
    assert off.low < off.difference < off.high
    assert slices.tried == len(by_name) == 18
    assert slices.correction == "holm"


def test_a_challenger_that_mends_a_segment_is_not_worse_there() -> None:
    mended = evidence(0, requests=8000, factor=1.5)
    swapped = replace(mended, p_reference=mended.p_challenger, p_challenger=mended.p_reference)

    _, by_name = found(swapped)

    assert not any(one.worse for one in by_name.values())
    assert by_name["user.segment 0"].difference < -0.3


def test_an_error_within_the_margin_is_no_finding() -> None:
    margins = {MARGIN: Margin(worse_by=0.6, why="a test")}

    _, by_name = found(evidence(0, requests=8000, factor=1.5), Policy(margins=margins))

    assert not by_name["user.segment 0"].worse
    assert found(
        evidence(0, requests=8000, factor=1.5),
        Policy(margins={MARGIN: Margin(worse_by=0.2, why="t")}),
    )[1]["user.segment 0"].worse


def test_deciles_hold_each_sides_own_scores() -> None:
    """A challenger that is over-sure is over in its highest decile and under in its lowest."""
    honest = evidence(0, requests=4000)
    logit = np.log(honest.p_reference / (1 - honest.p_reference))
    mean = logit.mean()
    sure = replace(honest, p_challenger=1 / (1 + np.exp(-(mean + 2.0 * (logit - mean)))))

    _, by_name = found(sure)

    assert by_name[f"{DECILES} 10"].challenger > 1.3
    assert by_name[f"{DECILES} 10"].worse
    assert by_name[f"{DECILES} 1"].challenger < 0.8
    assert by_name[f"{DECILES} 10"].reference == pytest.approx(1, abs=0.1)


def test_a_slice_with_few_clicks_is_counted_and_not_tested() -> None:
    slices, _ = found(evidence(0, requests=60))

    assert slices.too_few > 0
    assert slices.tried + slices.too_few == 18


def test_without_labels_there_are_no_slices() -> None:
    unlabelled = replace(evidence(0), label=np.zeros(2000 * PER_REQUEST, dtype=np.int8))

    assert slices_of(unlabelled, POLICY) is None


def test_between_two_honest_models_a_false_finding_is_rare() -> None:
    """The law: with both sides calibrated everywhere, any slice is found worse on at most 5 %.

    200 logs of 8 segments and 10 deciles, each with about 25 clicks a slice, where few clicks tempt
    a normal test most. Without the correction it happens on far more.
    """
    alone, together = 0, 0
    for seed in range(200):
        _, by_name = found(evidence(seed, requests=600, noise=0.3))
        alone += any(one.p_value <= 0.05 for one in by_name.values())
        together += any(one.worse for one in by_name.values())

    assert together / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    assert alone > 2 * together


def test_the_interval_of_a_slice_covers_the_truth() -> None:
    """The challenger doubles one segment, so the true difference of its calibration is known.

    Calibration there is predicted over *expected* clicks times chance: over 200 logs the interval
    holds the difference of the expected ratios (1.0) in about 95 %.
    """
    hits = 0
    for seed in range(200):
        one = found(evidence(seed, requests=1000, factor=2.0))[1]["user.segment 0"]
        hits += one.low <= 1.0 <= one.high

    assert 0.91 <= hits / 200 <= 0.99
