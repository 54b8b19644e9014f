"""Replay a day: every request screened, a sample probed, one report judged, one run kept."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from parity.compare.summary import (
    checkpoint_figures,
    coverage_of,
    fidelity_of,
    gap_of,
    request_counts,
)
from parity.day import ScreenedDay, judged_metrics, screen_day
from parity.explain.reproduce_trials import Sides
from parity.explain.reproduce_write import write_bundles
from parity.findings import Findings, find
from parity.judge.metrics.intervals import LEVEL
from parity.judge.metrics.slice_calibration import slices_of
from parity.judge.report import Report, Side, Slices
from parity.judge.verdict import Verdict, decide
from parity.judge.verdict_json import RunFacts
from parity.log_plants import PREFIX as LOG
from parity.opening import Opened, opened
from parity.options import Phase, Progress, ReplayOptions
from parity.render.run_directory import write_run
from parity.shard_result import ShardResult
from replay.engine.journal import Journal
from replay.errors import ConfigError
from replay.stack import StackIdentity
from replay.threads import recorded_threads

_VERSIONS = ("numpy", "pyarrow", "scipy")


def replay_day(options: ReplayOptions) -> tuple[Report, Verdict, Path]:
    """Replay the day that the options name, and judge it.

    Returns:
        The report, its verdict, and the run directory that holds both.

    Raises:
        ToolkitError: Before the first request when something can not be used as it stands;
            later when the log or a stack fails on the way (the run can then be resumed).
    """
    started = datetime.now(UTC)
    clock = time.monotonic()
    with opened(options) as ready:
        run_dir = _run_directory(ready)
        journal = Journal(run_dir, fingerprint=ready.fingerprint)
        resumed = sum(journal.finished(shard) is not None for shard in ready.day.shards)

        def heard(done: int, total: int) -> None:
            _tell(options, "replay", run_dir, done=done, total=total)

        screened = screen_day(ready, journal, heard)
        _tell(options, "probe", run_dir)
        findings = find(ready, screened.result)
        _tell(options, "judge", run_dir)
        report = _report(ready, screened, findings)
        verdict = decide(report, ready.policy)
        details = _usage(ready) | {"not_reproduced": _reproduced(ready, findings, run_dir)}
    facts = RunFacts(
        run_id=run_dir.name,
        command=options.command,
        started_at=started.isoformat(timespec="seconds"),
        wall_s=round(time.monotonic() - clock, 3),
        engine=options.engine,
        workers=options.workers,
        versions=_versions(ready.reference, ready.challenger),
        devices={"reference": ready.reference.device, "challenger": ready.challenger.device},
        threads=recorded_threads(),
        resumed=resumed,
        details=details,
    )
    _tell(options, "write", run_dir)
    write_run(run_dir, report, verdict, facts)
    shutil.rmtree(journal.folder, ignore_errors=True)
    return report, verdict, run_dir


def _report(ready: Opened, screened: ScreenedDay, findings: Findings) -> Report:
    options, result = ready.options, screened.result
    return Report(
        reference=_side(options.reference, ready.reference),
        challenger=_side(options.challenger, ready.challenger),
        dates=(ready.day.day.isoformat(),),
        log_digest=ready.day.digest,
        plan_digest=ready.plan.digest,
        outputs=ready.plan.outputs,
        sample=options.sample,
        seed=options.seed,
        plants=tuple(str(plant) for plant in options.plants),
        requests=request_counts(result),
        candidates=result.candidates,
        fidelity=fidelity_of(result),
        coverage=coverage_of(ready.alignment),
        canary=findings.canary,
        checkpoints=checkpoint_figures(result, ready.alignment),
        causes=findings.causes,
        unexplained=findings.unexplained,
        gap=gap_of(
            result,
            ready.alignment,
            findings.remainder,
            linear_remainder=findings.linear_remainder,
        ),
        metrics=judged_metrics(ready, result, screened.stopping),
        slices=_slices(ready, screened),
        stopping=screened.stopping,
        probed=findings.probed,
        notes=(*_notes(ready, result, findings), *findings.notes),
    )


def _slices(ready: Opened, screened: ScreenedDay) -> Slices | None:
    """For whom calibration is worse, where the model itself changed."""
    outcomes = screened.result.all_outcomes()
    if ready.plan.outputs != "statistical" or outcomes is None:
        return None
    level = LEVEL if screened.stopping is None else screened.stopping.interval_level
    return slices_of(outcomes, ready.policy, level=level)


def _notes(ready: Opened, result: ShardResult, findings: Findings) -> Iterator[str]:
    named = {name for cause in findings.causes for name in (cause.checkpoint, *cause.inherited)}
    for plant in ready.options.plants:
        if plant.checkpoint.startswith(LOG) and findings.causes:
            continue  # it is found at whatever reads the field
        pair = ready.alignment.by_challenger.get(plant.checkpoint)
        if pair is None or pair.name not in named:
            yield f"{plant} was planted and is no cause: it changed nothing here, or was missed"
    for entry in ready.alignment.unused:
        yield f"the plan's {entry} speaks of no checkpoint of these stacks"
    if ready.plan.measured_on not in ("", ready.reference.digest):
        yield "tolerances were measured on another artifact of the reference: parity calibrate"
    if ready.day.is_as_written is False:
        yield "the day's files have changed since they were written"
    if result.served_unmatched:
        names = ", ".join(result.served_unmatched)
        yield f"served fields that the reference does not compute: {names}"


def _side(name: str, identity: StackIdentity) -> Side:
    """A side by the name it was asked for: two versions of one stack have two names."""
    return Side(name=name, digest=identity.digest, identity=identity.to_json())


def _run_directory(ready: Opened) -> Path:
    """A directory of this run's own: new, or the one to go on with.

    Raises:
        ConfigError: The run to resume is not there, or is finished.
    """
    options = ready.options
    if options.resume is not None:
        return _resumable(options.resume)
    short = ready.fingerprint.removeprefix("sha256:")[:6]
    name = f"{options.date.isoformat()}-{options.challenger.replace(':', '.')}-{short}"
    options.out.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, 10_000):
        path = options.out / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise ConfigError(
        f"every name from {name} on is taken.", where=str(options.out), fix="remove old runs"
    )


def _resumable(run: Path) -> Path:
    if (run / "verdict.json").exists():
        raise ConfigError(
            "the run is finished: it has a verdict.",
            where=str(run),
            fix="read its summary.txt or report.html, or replay without --resume",
        )
    if not (run / "journal").is_dir():
        raise ConfigError(
            "there is no interrupted run.",
            where=str(run),
            fix="name a run directory with a journal",
        )
    return run


def _reproduced(ready: Opened, findings: Findings, run_dir: Path) -> dict[str, str]:
    """Leave a bundle for each cause; the causes that have none, and why."""
    if findings.seen is None or not findings.causes:
        return {}
    sides = Sides(
        reference=ready.lane.reference,
        challenger=ready.lane.challenger,
        reference_spec=ready.lanes.reference,
        challenger_spec=ready.lanes.challenger,
    )
    written = write_bundles(run_dir, findings.seen, sides, ready.plan)
    return {one.checkpoint: one.note for one in written if one.path is None}


def _usage(ready: Opened) -> dict[str, object]:
    """CPU and memory of the lane that stayed on this machine."""
    sides = {"reference": ready.lane.reference, "challenger": ready.lane.challenger}
    return {
        side: {"cpu_s": round(usage.cpu_s, 2), "peak_rss_bytes": usage.peak_rss_bytes}
        for side, stack in sides.items()
        for usage in (stack.usage(),)
    }


def _versions(*identities: StackIdentity) -> dict[str, str]:
    own = {name: importlib.metadata.version(name) for name in _VERSIONS}
    theirs = {name: v for identity in identities for name, v in identity.versions.items()}
    return {"python": platform.python_version(), **own, **theirs}


def _tell(
    options: ReplayOptions, phase: Phase, run_dir: Path, *, done: int = 0, total: int = 0
) -> None:
    options.listener(Progress(phase=phase, done=done, total=total, run_dir=run_dir))
