"""Golden text: reviewed by eye; after a wanted change, print the test's left side and paste it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from parity.judge.report import Canary, Example, Fidelity, Report, RequestCounts
from parity.judge.verdict import decide
from parity.render.run_directory import summary_text
from parity.render.terminal import print_report
from tests.parity.a_report import (
    POLICY,
    a_cause,
    a_diverged_report,
    a_metric,
    a_report,
    a_statistical_report,
)

ONE_SCREEN = 40


def text_of(report: Report) -> str:
    return summary_text(report, decide(report, POLICY))


def test_a_cause_reads_like_this() -> None:
    assert text_of(a_diverged_report()) == (
        "DIVERGED  features.age_days is where challenger `port` leaves reference `legacy`\n"
        "  why       reference = challenger x 86400 on 100 % of rows: days against seconds\n"
        "  costs     97.3 % of the gap\n"
        "  who       every request\n"
        "  allowed   exact: both sides declare it exact; differs on 300 rows, by 8.64e+04 at most\n"
        "  inherits  4 checkpoints after it (encoded.age, logit, pctr, ...)\n"
        "  example   request r-1, ad 7: reference 1.0, challenger 86400.0\n"
        "\n"
        "DIVERGED  challenger `port` against reference `legacy`, 2019-11-30: 1 independent cause\n"
        "  requests  100 read = 100 compared + 0 rejected; 300 candidates\n"
        "  fidelity  not logged: the log does not hold what was served\n"
        "  compared  4 checkpoints, coverage 100 %\n"
        "  canary    scale:features.age_days planted and caught there\n"
        "  gap       pctr 0.0123, logit 0.31 (mean |difference|), 41 rank flips, 2 near ties; "
        "2.7 % left when every cause is repaired\n"
    )


def test_parity_reads_like_this() -> None:
    report = a_report(
        requests=RequestCounts(
            read=102, compared=100, rejected={"missing_field": 2}, not_sampled=7
        ),
        sample=0.9,
        fidelity=Fidelity(status="reproduced", fields={"pctr": (300, 0), "rank": (300, 0)}),
        canary=Canary(planted=None, caught=None),
    )

    assert text_of(report) == (
        "PARITY  challenger `port` against reference `legacy`, 2019-11-30: 0 independent causes\n"
        "  because   100 requests and 4 checkpoints compared: no cause of a difference, outputs "
        "within their tolerances.\n"
        "  because   no canary was planted: nothing shows that this replay could see a bug.\n"
        "  because   a sample of 0.9 of the requests was replayed.\n"
        "  requests  102 read = 100 compared + 2 rejected (missing_field 2); 7 not in the sample; "
        "300 candidates\n"
        "  fidelity  reproduced: 2 served fields, 600 values\n"
        "  compared  4 checkpoints, coverage 100 %\n"
        "  canary    not planted\n"
        "  gap       pctr 0, logit 0 (mean |difference|), 0 rank flips\n"
    )


def test_metrics_are_shown_with_their_intervals() -> None:
    undecided = a_metric(low=-0.02, high=0.04, decision="undecided")
    unknown = a_metric(
        "auc", difference=None, low=None, margin=None, decision="informative", note="no clicks"
    )

    text = text_of(a_statistical_report(undecided, unknown))

    assert "INCONCLUSIVE  challenger `modern`" in text
    assert "ne 0.91 -> 0.912, +0.002 [-0.02, +0.04], margin 0.01: undecided\n" in text
    assert "auc unknown: no clicks\n" in text


def test_failing_fidelity_is_said_first() -> None:
    report = replace(
        a_diverged_report(), fidelity=Fidelity(status="differs", fields={"pctr": (300, 4)})
    )

    assert text_of(report).startswith("FIDELITY  DIFFERS from what was served: pctr on 4 of 300\n")


def test_many_causes_and_reasons_fit_on_one_screen() -> None:
    causes = tuple(a_cause(f"features.f{i}") for i in range(30))
    report = replace(
        a_statistical_report(*[a_metric(low=-1.0, high=1.0, decision="undecided")] * 7),
        causes=causes,
        unexplained=tuple(f"layer.{i}" for i in range(30)),
    )

    text = text_of(report)

    assert len(text.splitlines()) <= ONE_SCREEN
    assert "27 causes more" in text


@pytest.mark.parametrize("evil", ["\x1b[2J", "\u202e", "\n", "[bold red]", "\x07"])
def test_text_from_a_log_can_not_act_on_the_terminal(evil: str) -> None:
    example = Example(request_id=f"r{evil}1", ad_id=f"a{evil}", reference=1, challenger=2)
    report = replace(
        a_diverged_report(notes=(evil,)),
        causes=(a_cause(f"x{evil}", examples=(example,), diagnosis=evil, slice=evil),),
    )
    file = io.StringIO()

    print_report(
        Console(file=file, force_terminal=True, color_system=None, width=200),
        report,
        decide(report, POLICY),
        run_dir=Path("runs") / "x",
    )

    written = file.getvalue()
    if evil not in {"\n", "[bold red]"}:
        assert evil not in written
    # Markup is text here, and a line break in an id starts no line of its own.
    assert written.count("\n") == len(text_of(a_diverged_report(notes=("x",))).splitlines()) + 1
    if evil == "[bold red]":
        assert "r[bold red]1" in written


def test_the_verdict_is_coloured_on_a_terminal_only() -> None:
    report = a_report()
    file = io.StringIO()

    print_report(
        Console(file=file, force_terminal=True, color_system="standard", width=100),
        report,
        decide(report, POLICY),
        run_dir=None,
    )

    assert "\x1b[1;32mPARITY" in file.getvalue()
    assert "\x1b" not in text_of(report)
