"""Reports as tests need them: a parity by default, with what a test is about said in the call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from parity.judge.policy import Margin, Policy
from parity.judge.report import (
    Canary,
    Cause,
    CheckpointFigures,
    Coverage,
    Example,
    Fidelity,
    Gap,
    LocalDifference,
    Metric,
    Report,
    RequestCounts,
    Side,
)
from replay.checkpoint import Stage


def figures(checkpoint: str, stage: Stage = "feature", **changes: Any) -> CheckpointFigures:
    same = CheckpointFigures(
        checkpoint=checkpoint,
        stage=stage,
        rows=300,
        differing=0,
        requests_differing=0,
        max_difference=0.0,
        p99_difference=0.0,
        missing_reference=3,
        missing_challenger=3,
        missing_mismatch=0,
        nonfinite=0,
        tolerance="exact: both sides declare it exact",
    )
    return replace(same, **changes)


def a_cause(checkpoint: str = "features.age_days", **changes: Any) -> Cause:
    cause = Cause(
        checkpoint=checkpoint,
        stage="feature",
        local=LocalDifference(rows=80, differing=80, max_difference=86399.0, rms_difference=4e4),
        tolerance="exact: both sides declare it exact",
        rows_affected=300,
        requests_affected=100,
        share_of_gap=0.973,
        diagnosis="reference = challenger x 86400 on 100 % of rows: days against seconds",
        inherited=("encoded.age", "logit", "pctr", "rank"),
        examples=(Example(request_id="r-1", ad_id="7", reference=1.0, challenger=86400.0),),
    )
    return replace(cause, **changes)


def a_metric(name: str = "ne", **changes: Any) -> Metric:
    metric = Metric(
        name=name,
        reference=0.91,
        challenger=0.912,
        difference=0.002,
        low=-0.001,
        high=0.005,
        margin=0.01,
        decision="no_worse",
        note="500 clicks on 10000 labelled candidates",
    )
    return replace(metric, **changes)


def a_report(**changes: Any) -> Report:
    report = Report(
        reference=Side(name="legacy", digest="sha256:aa", identity={"device": "cpu"}),
        challenger=Side(name="port", digest="sha256:bb", identity={"device": "cpu"}),
        dates=("2019-11-30",),
        log_digest="sha256:cc",
        plan_digest="sha256:dd",
        outputs="bounded",
        sample=1.0,
        seed=0,
        plants=(),
        requests=RequestCounts(read=100, compared=100, rejected={}),
        candidates=300,
        fidelity=Fidelity(status="not_logged"),
        coverage=Coverage(
            compared=("features.age_days", "logit", "pctr", "rank"),
            unmatched_reference=(),
            unmatched_challenger=(),
        ),
        canary=Canary(planted="scale:features.age_days", caught=True),
        checkpoints=(
            figures("features.age_days"),
            figures("logit", "output"),
            figures("pctr", "output"),
            figures("rank", "output"),
        ),
        causes=(),
        unexplained=(),
        gap=Gap(logit=0.0, pctr=0.0, rank_flips=0, near_ties=0),
        probed=64,
    )
    return replace(report, **changes)


def a_diverged_report(**changes: Any) -> Report:
    example = Example(request_id="r-1", ad_id="7", reference=1.0, challenger=86400.0)
    parted = figures(
        "features.age_days",
        differing=300,
        requests_differing=100,
        max_difference=86399.0,
        p99_difference=86000.0,
        examples=(example,),
    )
    return a_report(
        checkpoints=(parted, *a_report().checkpoints[1:]),
        causes=(a_cause(),),
        gap=Gap(logit=0.31, pctr=0.0123, rank_flips=41, near_ties=2, remainder=0.027),
        **changes,
    )


def a_statistical_report(*metrics: Metric, **changes: Any) -> Report:
    return a_report(
        challenger=Side(name="modern", digest="sha256:ee", identity={"device": "cpu"}),
        outputs="statistical",
        checkpoints=(figures("features.age_days"),),
        metrics=metrics,
        **changes,
    )


POLICY = Policy(margins={"ne": Margin(worse_by=0.01, why="a test")})
