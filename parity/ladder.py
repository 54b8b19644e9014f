"""A migration as a ladder: one change a rung, each judged by its own plan on the same day.

Nothing here knows a stack: rungs are named in `parity.yaml`, and each is an ordinary replay with a
run directory of its own. What a machine can not run is not run, and says why.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parity.config import Config
from parity.config_ladder import SERVED, NeedEntry, RungEntry
from parity.config_plan import PlanEntry
from parity.judge.report import Report
from parity.judge.verdict import EXIT_CODES, PRECEDENCE, Verdict, VerdictName
from parity.options import Progress, ReplayOptions
from parity.runner import replay_day
from replay.errors import ConfigError, ToolkitError
from replay.logs.parquet import open_day

# A check of the machine is a moment's work; one that hangs is answered as absent.
NEED_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Climbed:
    """A rung and what came of it.

    Attributes:
        kind: How it was compared.
        not_run: Why it was not; empty when it was.
        report, verdict, run_dir: Of its replay; None when it was not run, or ended in an error.
        error: What ended it.
    """

    rung: RungEntry
    kind: str
    not_run: str = ""
    report: Report | None = None
    verdict: Verdict | None = None
    run_dir: Path | None = None
    error: ToolkitError | None = None

    @property
    def name(self) -> VerdictName | None:
        """Its verdict; BROKEN when a stack or the log failed, None when it was not run."""
        if self.not_run:
            return None
        return "BROKEN" if self.verdict is None else self.verdict.verdict


def chosen(config: Config, wanted: str | None) -> tuple[RungEntry, ...]:
    """The rungs of a range such as "0-7", "3" or "1,4-6", from the bottom up; all when None.

    Raises:
        ConfigError: No ladder is configured, the text is no range, or it names no rung.
    """
    known = sorted({rung.rung for rung in config.ladder})
    if not known:
        raise ConfigError(
            "no ladder is configured.",
            where="'ladder' in parity.yaml",
            fix="list its rungs: {rung: 1, reference: ..., challenger: ...}",
        )
    numbers = set(known) if wanted is None else set(_numbers(wanted))
    rungs = tuple(
        sorted((r for r in config.ladder if r.rung in numbers), key=lambda rung: rung.rung)
    )
    if not rungs:
        raise ConfigError(
            f"{wanted!r} names no rung (known: {', '.join(map(str, known))}).",
            where="--rungs",
            fix="name rungs as 0-7, 3 or 1,4-6",
        )
    return rungs


def climb(
    options: ReplayOptions, rungs: Sequence[RungEntry], said: Callable[[Climbed], None]
) -> tuple[Climbed, ...]:
    """Run each rung that the machine can run, in order; a rung that fails does not end the climb.

    Args:
        options: Of every replay; its reference and challenger are the rungs'.
        rungs: From the bottom up.
        said: Told each rung when it is done.

    Raises:
        LogError: There is no such day.
    """
    open_day(options.logs, options.date)  # refused once, before the first rung
    done = []
    for rung in rungs:
        climbed = _climbed(options, rung)
        said(climbed)
        done.append(climbed)
    return tuple(done)


def exit_code(climbed: Sequence[Climbed]) -> int:
    """4 before 1 before 3 before 0, over the rungs that were run; 3 when none was."""
    names = {one.name for one in climbed}
    return EXIT_CODES[next((name for name in PRECEDENCE if name in names), "INCONCLUSIVE")]


def _climbed(options: ReplayOptions, rung: RungEntry) -> Climbed:
    kind = rung.kind or _kind(options.config, rung)
    lacking = next(_lacking(options, rung), "")
    if lacking:
        return Climbed(rung=rung, kind=kind, not_run=lacking)
    heard = Progress(phase="open")

    def listen(progress: Progress) -> None:
        nonlocal heard
        heard = progress
        options.listener(progress)

    reference = rung.challenger if rung.reference == SERVED else rung.reference
    try:
        report, verdict, run_dir = replay_day(
            replace(
                options,
                config=_with_plan(options.config, rung),
                reference=reference,
                challenger=rung.challenger,
                listener=listen,
            )
        )
    except (ToolkitError, OSError) as error:
        return Climbed(rung=rung, kind=kind, error=_said(error), run_dir=heard.run_dir)
    return Climbed(rung=rung, kind=kind, report=report, verdict=verdict, run_dir=run_dir)


def _kind(config: Config, rung: RungEntry) -> str:
    if rung.reference == SERVED:
        return "fidelity"
    return config.plan_entry(rung.reference, rung.challenger).outputs


def _with_plan(config: Config, rung: RungEntry) -> Config:
    """For `served` a stack stands against itself: what counts is what it reproduces of the log."""
    if rung.reference != SERVED:
        return config
    itself = PlanEntry(reference=rung.challenger, challenger=rung.challenger)
    return config.model_copy(update={"plans": [itself, *config.plans]})


def _lacking(options: ReplayOptions, rung: RungEntry) -> Iterator[str]:
    """What the machine lacks for a rung."""
    for name in (rung.reference, rung.challenger):
        if name == SERVED:
            continue
        artifact = options.config.spec(name).artifact
        if artifact is not None and not artifact.exists():
            yield f"{name}: there is no {artifact}"
    for need in rung.needs:
        if not _has(need):
            yield need.why
    if rung.reference == SERVED and not _logs_served(options):
        yield "the log does not hold what was served"


def _has(need: NeedEntry) -> bool:
    command = [sys.executable if need.command[0] == "python" else need.command[0]]
    try:
        done = subprocess.run(
            [*command, *need.command[1:]],
            capture_output=True,
            check=False,
            timeout=NEED_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _logs_served(options: ReplayOptions) -> bool:
    day = open_day(options.logs, options.date)
    if not day.shards:
        return False
    candidates = day.schema.field("candidates").type.value_type
    return any(field.name.startswith("served_") for field in candidates)


def _numbers(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ConfigError(
                f"{text!r} is no range of rungs.", where="--rungs", fix="write 0-7, 3 or 1,4-6"
            )
        yield from range(int(first), int(last if dash else first) + 1)


def _said(error: ToolkitError | OSError) -> ToolkitError:
    if isinstance(error, ToolkitError):
        return error
    return ToolkitError(
        f"the file system refuses: {error.strerror or error}.",
        where=str(error.filename or "the run directory"),
        fix="check that the path may be written, and that the disk has room",
    )
