from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parity.judge.policy import Policy
from parity.judge.report import (
    Canary,
    Coverage,
    Fidelity,
    Look,
    Report,
    RequestCounts,
    SliceFigures,
    Slices,
    Stopping,
)
from parity.judge.verdict import EXIT_CODES, LOG_REASONS, PRECEDENCE, decide
from tests.parity.a_report import (
    POLICY,
    a_cause,
    a_diverged_report,
    a_metric,
    a_report,
    a_statistical_report,
    figures,
)

WORSE = a_metric(low=0.02, high=0.04, difference=0.03, decision="worse")
UNDECIDED = a_metric(low=-0.02, high=0.04, decision="undecided")
UNKNOWN = a_metric(low=None, high=None, difference=None, decision="undecided", note="no clicks")
INFORMATIVE = a_metric("auc", margin=None, decision="informative")

FINDINGS: dict[str, tuple[Report, str, str]] = {
    "equal": (a_report(), "PARITY", "agreement"),
    "totals do not reconcile": (
        a_report(requests=RequestCounts(read=101, compared=100, rejected={})),
        "BROKEN",
        "totals",
    ),
    "more rows differ than there are": (
        a_report(checkpoints=(figures("pctr", "output", rows=3, differing=4),)),
        "BROKEN",
        "totals",
    ),
    "a stack crashed": (
        a_report(
            requests=RequestCounts(read=101, compared=100, rejected={"challenger_crashed": 1})
        ),
        "BROKEN",
        "stack_failed",
    ),
    "a bad row in the log": (
        a_report(requests=RequestCounts(read=101, compared=100, rejected={"no_candidates": 1})),
        "PARITY",
        "agreement",
    ),
    "a cause": (a_diverged_report(), "DIVERGED", "cause"),
    "a difference without a cause": (a_report(unexplained=("pctr",)), "DIVERGED", "unexplained"),
    "served something else": (
        a_report(fidelity=Fidelity(status="differs", fields={"pctr": (300, 4)})),
        "INCONCLUSIVE",
        "fidelity_differs",
    ),
    "reproduced": (
        a_report(fidelity=Fidelity(status="reproduced", fields={"pctr": (300, 0)})),
        "PARITY",
        "agreement",
    ),
    "nothing compared": (
        a_report(requests=RequestCounts(read=0, compared=0, rejected={}), candidates=0),
        "INCONCLUSIVE",
        "nothing_compared",
    ),
    "everything rejected": (
        a_report(
            requests=RequestCounts(read=9, compared=0, rejected={"missing_field": 9}), candidates=0
        ),
        "INCONCLUSIVE",
        "nothing_compared",
    ),
    "most rejected": (
        a_report(requests=RequestCounts(read=9, compared=4, rejected={"missing_field": 5})),
        "INCONCLUSIVE",
        "too_many_rejected",
    ),
    "no output compared": (
        a_report(checkpoints=(figures("features.age_days"),)),
        "INCONCLUSIVE",
        "no_output",
    ),
    "an output without rows": (
        a_report(checkpoints=(figures("pctr", "output", rows=0),)),
        "INCONCLUSIVE",
        "no_output",
    ),
    "an unmatched checkpoint": (
        a_report(
            coverage=Coverage(
                compared=("pctr",), unmatched_reference=("logit",), unmatched_challenger=()
            )
        ),
        "INCONCLUSIVE",
        "coverage",
    ),
    "no checkpoint compared": (
        a_report(coverage=Coverage(compared=(), unmatched_reference=(), unmatched_challenger=())),
        "INCONCLUSIVE",
        "coverage",
    ),
    "one left out with a reason": (
        a_report(
            coverage=Coverage(
                compared=("pctr",),
                unmatched_reference=("gbdt.leaves",),
                unmatched_challenger=("head",),
                left_out={"gbdt.*": "no trees"},
            )
        ),
        "PARITY",
        "agreement",
    ),
    "the canary was missed": (
        a_report(canary=Canary(planted="scale:logit", caught=False)),
        "INCONCLUSIVE",
        "canary_missed",
    ),
    "nobody looked for the canary": (
        a_report(canary=Canary(planted="scale:logit", caught=None)),
        "INCONCLUSIVE",
        "canary_missed",
    ),
    "no worse": (a_statistical_report(a_metric()), "PARITY", "agreement"),
    "worse": (a_statistical_report(a_metric("auc"), WORSE), "DIVERGED", "metric_worse"),
    "undecided": (a_statistical_report(a_metric("auc"), UNDECIDED), "INCONCLUSIVE", "metric_undecided"),
    "not measurable": (a_statistical_report(UNKNOWN), "INCONCLUSIVE", "metric_undecided"),
    "no metric judged": (a_statistical_report(INFORMATIVE), "INCONCLUSIVE", "no_metric"),
    "no metric at all": (a_statistical_report(), "INCONCLUSIVE", "no_metric"),
    "a feature differs, metrics are fine": (
        a_statistical_report(a_metric(), causes=(a_cause(),)),
        "DIVERGED",
        "cause",
    ),
    "bounded outputs need no metric": (a_report(metrics=(UNKNOWN,)), "PARITY", "agreement"),
}  # fmt: skip


@pytest.mark.parametrize("name", FINDINGS)
def test_each_finding_alone_has_its_verdict_and_says_why(name: str) -> None:
    report, expected, code = FINDINGS[name]

    verdict = decide(report, POLICY)

    assert (verdict.verdict, verdict.exit_code) == (expected, EXIT_CODES[expected])  # type: ignore[index]
    assert verdict.reasons[0].code == code
    assert verdict.reasons[0].verdict == expected


BROKEN = {"requests": RequestCounts(read=101, compared=100, rejected={})}
DIVERGED = {"unexplained": ("pctr",)}
INCONCLUSIVE = {"canary": Canary(planted="scale:logit", caught=False)}


@pytest.mark.parametrize(
    ("findings", "expected", "exit_code"),
    [
        ({}, "PARITY", 0),
        (INCONCLUSIVE, "INCONCLUSIVE", 3),
        (DIVERGED, "DIVERGED", 1),
        (BROKEN, "BROKEN", 4),
        (INCONCLUSIVE | DIVERGED, "DIVERGED", 1),
        (INCONCLUSIVE | BROKEN, "BROKEN", 4),
        (DIVERGED | BROKEN, "BROKEN", 4),
        (INCONCLUSIVE | DIVERGED | BROKEN, "BROKEN", 4),
    ],
)
def test_broken_goes_before_diverged_before_inconclusive_before_parity(
    findings: dict[str, object], expected: str, exit_code: int
) -> None:
    verdict = decide(a_report(**findings), POLICY)

    assert (verdict.verdict, verdict.exit_code) == (expected, exit_code)
    places = [PRECEDENCE.index(reason.verdict) for reason in verdict.reasons]
    assert places == sorted(places)


@pytest.mark.parametrize("changes", [INCONCLUSIVE, DIVERGED, BROKEN])
def test_no_reason_is_lost_behind_a_weightier_one(changes: dict[str, object]) -> None:
    alone = {reason.code for reason in decide(a_report(**changes), POLICY).reasons}
    together = decide(a_report(**INCONCLUSIVE | DIVERGED | BROKEN), POLICY)

    assert alone <= {reason.code for reason in together.reasons}


def test_a_log_without_served_values_blocks_only_where_the_policy_asks() -> None:
    asked = decide(a_report(), Policy(fidelity="require"))

    assert decide(a_report(), Policy(fidelity="if_logged")).verdict == "PARITY"
    assert (asked.verdict, asked.reasons[0].code) == ("INCONCLUSIVE", "fidelity_not_logged")


@pytest.mark.parametrize("rule", ["if_logged", "require"])
def test_failing_fidelity_is_never_parity(rule: str) -> None:
    report = a_report(fidelity=Fidelity(status="differs", fields={"rank": (10, 1)}))

    assert decide(report, Policy(fidelity=rule)).verdict != "PARITY"  # type: ignore[arg-type]


def test_fewer_requests_than_the_policy_asks_are_no_evidence() -> None:
    assert decide(a_report(), Policy(min_requests=100)).verdict == "PARITY"
    assert decide(a_report(), Policy(min_requests=101)).reasons[0].code == "too_few_requests"


@pytest.mark.parametrize(("asked", "expected"), [(0.5, "PARITY"), (0.51, "INCONCLUSIVE")])
def test_coverage_is_asked_for_by_the_plan(asked: float, expected: str) -> None:
    coverage = Coverage(compared=("pctr",), unmatched_reference=("logit",), unmatched_challenger=())

    verdict = decide(a_report(coverage=coverage), Policy(min_coverage=asked))

    assert verdict.verdict == expected


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"canary": Canary(planted=None, caught=None)}, "canary_not_run"),
        ({"sample": 0.5}, "sampled"),
        ({"plants": ("scale:logit",)}, "planted"),
    ],
)
def test_what_limits_a_parity_is_said_with_it(changes: dict[str, object], code: str) -> None:
    verdict = decide(a_report(**changes), POLICY)

    assert verdict.verdict == "PARITY"
    assert code in {reason.code for reason in verdict.reasons}


def test_the_reasons_of_the_log_are_those_of_its_format() -> None:
    formats = Path("docs/formats.md").read_text(encoding="utf-8")
    table = formats.split("| reason | when |")[1].split("\n\n")[0]
    documented = {line.split("`")[1] for line in table.splitlines() if "`" in line}

    assert documented == LOG_REASONS


def test_a_verdict_keeps_the_policy_that_it_follows() -> None:
    policy = replace(POLICY, min_requests=7)

    assert decide(a_report(), policy).policy == policy


def _slices(*, margin: float | None, worse: bool) -> Slices:
    figures = SliceFigures(
        field="user.country",
        value="no",
        rows=4000,
        clicks=400,
        reference=1.01,
        challenger=1.4,
        difference=0.39,
        low=0.3,
        high=0.48,
        p_value=1e-9,
        corrected_p=2e-8,
        worse=worse,
    )
    return Slices(
        tried=20, too_few=3, correction="holm", level=0.95, margin=margin, figures=(figures,)
    )


@pytest.mark.parametrize(
    ("margin", "worse", "expected"),
    [(0.1, True, "DIVERGED"), (0.1, False, "PARITY"), (None, True, "PARITY")],
)
def test_a_slice_that_is_worse_beyond_the_policys_margin_has_diverged(
    margin: float | None,
    worse: bool,  # noqa: FBT001  # a case of the table
    expected: str,
) -> None:
    report = a_statistical_report(a_metric(), slices=_slices(margin=margin, worse=worse))

    verdict = decide(report, POLICY)

    assert verdict.verdict == expected
    if expected == "DIVERGED":
        assert "user.country is no" in verdict.reasons[0].text
        assert "holm over 20 slices" in verdict.reasons[0].text


def test_a_replay_that_stopped_early_says_how_much_it_read() -> None:
    stopping = Stopping(
        stopped=True,
        decision="few_differ",
        rate=1e-4,
        level=0.99,
        requests=400,
        interval_level=0.95,
        looks=(Look(compared=100, differing=0, wealth=120.0, against=0.1),),
    )

    verdict = decide(a_report(stopping=stopping), POLICY)

    assert verdict.exit_code == 0
    said = [reason.text for reason in verdict.reasons if reason.code == "stopped_early"]
    assert "after 100 of 400 requests: fewer requests" in said[0]


@pytest.mark.parametrize(
    ("rule", "material", "verdict", "code"),
    [
        ("different", False, "DIVERGED", "cause"),
        ("material", False, "PARITY", "not_material"),
        ("material", True, "DIVERGED", "cause"),
        ("material", None, "DIVERGED", "cause"),
    ],
)
def test_a_cause_that_is_only_different_stands_where_the_policy_says(
    rule, material, verdict, code
) -> None:
    report = a_diverged_report()
    report = replace(
        report, causes=tuple(replace(cause, material=material) for cause in report.causes)
    )

    found = decide(report, replace(POLICY, diverges_on=rule))

    assert found.verdict == verdict
    assert code in {reason.code for reason in found.reasons}
