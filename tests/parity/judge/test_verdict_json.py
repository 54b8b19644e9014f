from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from parity.judge.report import Example, Gap, Rejected, Report, RequestCounts
from parity.judge.verdict import decide
from parity.judge.verdict_json import (
    RunFacts,
    judged_from_json,
    report_digest,
    report_json,
    verdict_json,
)
from parity.render.json import json_text
from replay.errors import ConfigError
from tests.parity.a_report import (
    POLICY,
    a_cause,
    a_diverged_report,
    a_metric,
    a_report,
    a_statistical_report,
    figures,
)

SCHEMA = json.loads(Path("docs/verdict.schema.json").read_text(encoding="utf-8"))
RUN = RunFacts(run_id="2019-11-30-a1", command=("parity", "replay"), details={"peak_mb": 3.5})


def with_infinities() -> Report:
    examples = (
        Example(request_id="r", ad_id=None, reference=None, challenger=math.inf),
        Example(request_id="r", ad_id="7", reference=2**60 + 1, challenger=-math.inf),
    )
    cause = a_cause(diagnosis=None, rows_affected=None, requests_affected=None, examples=examples)
    parted = figures("features.age_days", differing=2, max_difference=math.inf)
    return replace(
        a_diverged_report(),
        causes=(cause,),
        checkpoints=(parted, *a_report().checkpoints[1:]),
        gap=Gap(logit=math.nan, pctr=None, rank_flips=0, near_ties=0, remainder=-math.inf),
    )


def with_rejections() -> Report:
    rejected = Rejected(request_id=None, reason="missing_field", where="a:1", detail="no id")
    counts = RequestCounts(
        read=101, compared=100, rejected={"missing_field": 1}, examples=(rejected,)
    )
    return a_report(requests=counts, notes=("the log has no bids",))


REPORTS = {
    "parity": a_report(),
    "diverged": a_diverged_report(),
    "statistical": a_statistical_report(a_metric(), a_metric("auc", low=None, high=None)),
    "infinite": with_infinities(),
    "rejections": with_rejections(),
}


def content_of(report: Report, run: RunFacts = RUN) -> dict[str, Any]:
    return verdict_json(report, decide(report, POLICY), run)


@pytest.mark.parametrize("name", REPORTS)
def test_what_is_written_follows_the_committed_schema(name: str) -> None:
    content = json.loads(json_text(content_of(REPORTS[name])))

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(content)


def test_the_schema_admits_no_field_of_its_own() -> None:
    """Whatever the writer writes is described: an object without `additionalProperties` hides it."""
    content = content_of(a_diverged_report())
    content["requests"]["lost"] = 1

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)


@pytest.mark.parametrize("name", REPORTS)
def test_the_report_can_be_read_back_from_it(name: str) -> None:
    report = REPORTS[name]

    judged = judged_from_json(json_text(content_of(report)), where="verdict.json")

    assert report_json(judged.report) == report_json(report)
    assert judged.policy == POLICY
    assert judged.verdict == decide(report, POLICY).verdict
    assert judged.report_digest == report_digest(report)


def test_the_report_digest_does_not_depend_on_the_run() -> None:
    local = content_of(a_report(), RUN)
    on_ray = content_of(a_report(), RunFacts(run_id="other", engine="ray", workers=9, wall_s=1.0))

    assert local["report_digest"] == on_ray["report_digest"]
    assert local["run"] != on_ray["run"]


def test_the_report_digest_depends_on_every_part_of_the_report() -> None:
    assert report_digest(a_report(seed=1)) != report_digest(a_report())
    assert report_digest(a_report(candidates=301)) != report_digest(a_report())


def test_the_fields_of_the_format_stand_where_readers_look_for_them() -> None:
    content = content_of(a_diverged_report())

    assert content["reference"]["name"] == "legacy"
    assert content["challenger"]["digest"] == "sha256:bb"
    assert content["log"] == {"dates": ["2019-11-30"], "digest": "sha256:cc"}
    assert content["coverage"]["unmatched"] == []
    assert content["causes"][0]["checkpoint"] == "features.age_days"
    assert content["causes"][0]["slice"] is None
    assert content["gap"]["rank_flips"] == 41


def drop(path: str) -> Any:
    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            content = content[parent]
        del content[last]

    return change


def put(path: str, value: object) -> Any:
    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for parent in parents:
            content = content[parent]
        content[last] = value

    return change


@pytest.mark.parametrize(
    "damage",
    [
        drop("verdict"),
        drop("policy"),
        drop("run"),
        drop("causes"),
        drop("requests.read"),
        drop("report_digest"),
        put("schema", "parity.verdict/2"),
        put("requests.read", 99),
        put("causes", []),
        put("coverage.compared", ["features.age_days"]),
        put("challenger.digest", "sha256:ff"),
        put("policy.min_requests", "1"),
    ],
)
def test_a_changed_file_is_refused(damage: Any) -> None:
    content = copy.deepcopy(content_of(a_diverged_report()))
    damage(content)

    with pytest.raises(ConfigError):
        judged_from_json(json.dumps(content), where="verdict.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema": "parity.verdict/1"}'])
def test_a_file_that_is_no_verdict_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        judged_from_json(text, where="verdict.json")
