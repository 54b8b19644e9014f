"""`--stop-early` through the real engine: how much is read, what is concluded, and how it resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from parity.config import Config, StackEntry
from parity.config_plan import PlanEntry, PolicyEntry
from parity.judge.early import needed
from parity.options import Progress, ReplayOptions
from parity.rounds import rounds
from parity.runner import replay_day
from replay.logs.parquet import open_day
from replay.logs.synthetic import SyntheticLog, import_synthetic

DAY = date(2026, 1, 5)
REQUESTS = 1200
POLICY: dict[str, Any] = {"stop_rate": 0.02, "stop_level": 0.95}
OURS = StackEntry(open="examples.own_stacks.stacks:open_reference")
REWRITE = StackEntry(open="examples.own_stacks.stacks:open_challenger")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("logs")
    list(import_synthetic(out, SyntheticLog(days=1, requests=REQUESTS, candidates=6)))
    return out


def options(logs: Path, out: Path, challenger: str = "same", **changes: Any) -> ReplayOptions:
    policy = PolicyEntry(
        ne_worse_by={"margin": 0.05, "why": "a test"},  # type: ignore[arg-type]
        resamples=200,
        **POLICY,
    )
    plan = PlanEntry(reference="*", challenger=["same", "rewrite"], policy=policy)
    asked = ReplayOptions(
        config=Config(
            stacks={"ours": OURS, "same": OURS, "rewrite": REWRITE, "model": OURS},
            plans=[
                plan,
                plan.model_copy(update={"challenger": "model", "outputs": "statistical"}),
            ],
        ),
        date=DAY,
        reference="ours",
        challenger=challenger,
        logs=logs,
        out=out,
        cache=None,
        stop_early=True,
    )
    return replace(asked, **changes)


def test_rounds_hold_every_request_once(logs: Path) -> None:
    day = open_day(logs, DAY)
    units = [unit for one in rounds(day.shards, (0.1, 0.4, 1.0)) for unit in one]

    assert len({unit.id for unit in units}) == len(units) == 3 * len(day.shards)
    assert [(unit.low, unit.high) for unit in units[:: len(day.shards)]] == [
        (0.0, 0.1),
        (0.1, 0.4),
        (0.4, 1.0),
    ]


def test_a_translation_that_agrees_is_passed_on_a_part_of_the_day(
    logs: Path, tmp_path: Path
) -> None:
    report, verdict, run = replay_day(options(logs, tmp_path))

    stopping = report.stopping
    assert stopping is not None and stopping.stopped and stopping.decision == "few_differ"
    assert needed(REQUESTS, 0.02, 0.95) <= report.requests.compared < REQUESTS / 2
    assert report.requests.read == report.requests.compared
    assert report.requests.read + report.requests.not_sampled == stopping.requests == REQUESTS
    assert verdict.exit_code == 0
    assert "stopped_early" in [reason.code for reason in verdict.reasons]
    text = (run / "summary.txt").read_text()
    assert f"early, after {report.requests.compared} of 1,200 requests" in text
    assert "early, after" in (run / "report.html").read_text()
    jsonschema.validate(
        json.loads((run / "verdict.json").read_text()),
        json.loads((ROOT / "docs" / "verdict.schema.json").read_text()),
    )


def test_a_fault_everywhere_ends_it_at_the_first_look(logs: Path, tmp_path: Path) -> None:
    report, verdict, _ = replay_day(options(logs, tmp_path, "rewrite"))

    assert report.stopping is not None
    assert report.stopping.decision == "many_differ"
    assert len(report.stopping.looks) == 1
    assert [cause.checkpoint for cause in report.causes] == ["features.age_days"]
    assert verdict.exit_code == 1


def test_metrics_of_a_model_are_judged_at_intervals_that_hold_at_every_look(
    logs: Path, tmp_path: Path
) -> None:
    report, verdict, _ = replay_day(options(logs, tmp_path, "model"))

    stopping = report.stopping
    assert stopping is not None
    assert stopping.decision == "metrics"
    assert stopping.stopped
    assert 0.98 < stopping.interval_level < 1
    assert {m.name: m.decision for m in report.metrics}["ne"] == "no_worse"
    assert report.slices is not None
    assert report.slices.level == stopping.interval_level
    assert verdict.exit_code == 0


def test_where_nothing_is_sure_the_whole_day_is_read_and_the_report_says_so(
    logs: Path, tmp_path: Path
) -> None:
    """Below one differing request of the day only the whole day can tell."""
    asked = options(logs, tmp_path)
    plan = asked.config.plans[0]
    strict = plan.model_copy(update={"policy": plan.policy.model_copy(update={"stop_rate": 1e-4})})
    config = asked.config.model_copy(update={"plans": [strict]})

    report, _, run = replay_day(replace(asked, config=config))

    assert report.stopping is not None
    assert not report.stopping.stopped
    assert report.requests.compared == REQUESTS
    assert "not early: all 1,200 requests" in (run / "summary.txt").read_text()


def test_an_interrupted_run_goes_on_and_reads_the_same(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = replay_day(options(logs, tmp_path / "whole", workers=2))

    def interrupted(progress: Progress) -> None:
        if progress.phase == "replay" and progress.done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay_day(options(logs, tmp_path / "cut", listener=interrupted))
    (run,) = (tmp_path / "cut").iterdir()
    resumed, _, _ = replay_day(options(logs, tmp_path / "cut", resume=run))

    assert resumed == whole


def test_the_same_requests_are_read_whatever_the_order_of_the_shards(
    logs: Path, tmp_path: Path
) -> None:
    """A request's round is its hash's: what stands before it in the log does not move it."""
    import pyarrow.parquet as pq

    day = open_day(logs, DAY)
    table = pq.read_table(day.shards[0].path)
    folder = tmp_path / "logs" / f"date={DAY}"
    folder.mkdir(parents=True)
    turned = table.take(list(range(table.num_rows))[::-1])
    pq.write_table(turned, folder / "part-0.parquet", row_group_size=100)

    first, _, _ = replay_day(options(logs, tmp_path / "a"))
    second, _, _ = replay_day(options(tmp_path / "logs", tmp_path / "b"))

    assert first.requests.compared == second.requests.compared
    assert first.gap == second.gap
