"""Shared by every test: what may be skipped where, no test timed, and native threads fixed first."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import hypothesis
import pytest

from replay.threads import fix_threads

fix_threads()

# An example's time is the machine's, not the code's.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)

SKIPS_ARE_FAILURES = os.environ.get("PARITY_SKIPS_ARE_FAILURES") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In continuous integration only a GPU may be missing: any other skip is a failure."""
    report = yield
    return _failed_if_skipped(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file that skips itself, such as by importorskip."""
    report = yield
    return _failed_if_skipped(report)


def _failed_if_skipped(report: _Report) -> _Report:
    expected = hasattr(report, "wasxfail")
    if SKIPS_ARE_FAILURES and report.skipped and not expected and "GPU" not in str(report.longrepr):
        report.outcome = "failed"
    return report
