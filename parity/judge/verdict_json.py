"""`verdict.json`: the report, the verdict and the facts of the run, schema parity.verdict/1.

docs/verdict.schema.json describes it. `report_digest` covers everything but the verdict
(which follows from the report and the policy) and `run` (which differs from run to run).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.judge.plain import from_plain, plain_from
from parity.judge.policy import Policy
from parity.judge.report import Report
from parity.judge.verdict import Verdict, coverage_share
from replay.digests import digest_of_json
from replay.errors import ConfigError

SCHEMA = "parity.verdict/1"

# What stands in verdict.json and is no part of the report.
_ABOUT = ("schema", "verdict", "exit_code", "reasons", "report_digest", "policy", "run")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What would be needed to run it again, and what it cost; never part of the report.

    Attributes:
        run_id: The run directory's name.
        command: The command line, as typed.
        started_at: UTC, ISO 8601.
        wall_s: Wall-clock seconds from the first request to the report.
        engine: "local" or "ray".
        workers: Lanes, each with one process a stack.
        versions: Package to version, of the toolkit and what it computes with.
        devices: Side ("reference", "challenger") to device.
        threads: Native thread variables of the judging process.
        resumed: Shards taken from an interrupted run.
        details: Anything else the engine reports: memory, cache hits, restarts.
    """

    run_id: str
    command: tuple[str, ...] = ()
    started_at: str = ""
    wall_s: float | None = None
    engine: str = "local"
    workers: int = 1
    versions: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, str] = field(default_factory=dict)
    threads: Mapping[str, str] = field(default_factory=dict)
    resumed: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A finished run, read back from its verdict.json."""

    report: Report
    policy: Policy
    verdict: str
    exit_code: int
    report_digest: str


def report_json(report: Report) -> dict[str, Any]:
    """The report as plain JSON values, in the shape of verdict.json."""
    plain: dict[str, Any] = plain_from(report)
    plain["log"] = {"dates": plain.pop("dates"), "digest": plain.pop("log_digest")}
    plain["plan"] = {"digest": plain.pop("plan_digest"), "outputs": plain.pop("outputs")}
    plain["fidelity"]["fields"] = {
        name: {"rows": rows, "differing": differing}
        for name, (rows, differing) in report.fidelity.fields.items()
    }
    coverage = plain["coverage"]
    coverage["unmatched"] = [*coverage["unmatched_reference"], *coverage["unmatched_challenger"]]
    coverage["share"] = coverage_share(report)
    return plain


def report_digest(report: Report) -> str:
    """The digest of a report: the same inputs, plan and seed give the same, on any engine."""
    return digest_of_json(report_json(report))


def verdict_json(report: Report, verdict: Verdict, run: RunFacts) -> dict[str, Any]:
    """Everything that verdict.json holds."""
    return {
        "schema": SCHEMA,
        "verdict": verdict.verdict,
        "exit_code": verdict.exit_code,
        "reasons": plain_from(verdict.reasons),
        "report_digest": report_digest(report),
        **report_json(report),
        "policy": plain_from(verdict.policy),
        "run": plain_from(run),
    }


def judged_from_json(text: str, *, where: str) -> Judged:
    """Read verdict.json back, and check that it says what was written.

    Raises:
        ConfigError: No JSON, another schema, a field missing or unknown, or figures that
            are not those of its digest.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"the file is no JSON: {error}.", where=where, fix="replay the day again"
        ) from error
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        found = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise ConfigError(
            f"the schema is {found!r}, this version reads {SCHEMA!r}.",
            where=where,
            fix="judge the run with the version that wrote it, or replay the day again",
        )
    missing = [name for name in _ABOUT if name not in value]
    if missing:
        raise ConfigError(
            f"fields are missing: {', '.join(missing)}.", where=where, fix="replay the day again"
        )
    content = {name: item for name, item in value.items() if name not in _ABOUT}
    if digest_of_json(content) != value["report_digest"]:
        raise ConfigError(
            "its figures are not those of its report_digest.",
            where=where,
            fix="the file was changed after it was written: replay the day again",
        )
    return Judged(
        report=_report_from_content(content, where),
        policy=from_plain(Policy, value["policy"], where=f"{where}: policy"),
        verdict=value["verdict"],
        exit_code=value["exit_code"],
        report_digest=value["report_digest"],
    )


def _report_from_content(content: Mapping[str, Any], where: str) -> Report:
    plain = dict(content)
    try:
        log, plan = plain.pop("log"), plain.pop("plan")
        plain |= {"dates": log["dates"], "log_digest": log["digest"]}
        plain |= {"plan_digest": plan["digest"], "outputs": plan["outputs"]}
        plain["fidelity"] = dict(plain["fidelity"]) | {
            "fields": {
                name: [counts["rows"], counts["differing"]]
                for name, counts in plain["fidelity"]["fields"].items()
            }
        }
        plain["coverage"] = {
            name: item
            for name, item in plain["coverage"].items()
            if name not in {"unmatched", "share"}
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the report lacks or misplaces {error}.", where=where, fix="replay the day again"
        ) from error
    return from_plain(Report, plain, where=where)
