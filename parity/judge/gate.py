"""May this artifact ship, on the evidence of a finished run? When in doubt, no."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parity.judge.policy import Policy
from parity.judge.verdict import decide
from parity.judge.verdict_json import Judged, judged_from_json
from replay.digests import digest_of_path
from replay.errors import ArtifactError, ConfigError

REFUSED = 1
# A failed tool before a refusal, a refusal before missing evidence, and all before a pass.
PRECEDENCE = (4, 1, 3, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One reason why the gate stays shut, and the exit code it asks for."""

    code: str
    text: str
    exit_code: int = REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The gate's answer: open only when nothing refuses."""

    run: Path
    artifact: Path
    digest: str
    report_digest: str
    refusals: tuple[Refusal, ...]

    @property
    def is_open(self) -> bool:
        return not self.refusals

    @property
    def exit_code(self) -> int:
        return min((r.exit_code for r in self.refusals), key=PRECEDENCE.index, default=0)


def gate(run: Path, artifact: Path, *, policy: Policy | None = None) -> Gate:
    """Judge a finished run again, for one artifact.

    Args:
        run: The run's directory.
        artifact: The file or folder about to ship.
        policy: Asked for in addition to the run's own policy; never instead of it.

    Raises:
        ConfigError: No finished run there, or its verdict.json is damaged or of another version.
        ArtifactError: Nothing is at `artifact`.
    """
    judged = read_run(run)
    if not artifact.exists():
        raise ArtifactError(
            "nothing to ship is there.", where=str(artifact), fix="name the artifact's path"
        )
    digest = digest_of_path(artifact)
    refusals = (
        *_of_digest(judged, digest, artifact),
        *_of_verdict(judged, policy),
        *_of_conditions(judged),
    )
    return Gate(
        run=run,
        artifact=artifact,
        digest=digest,
        report_digest=judged.report_digest,
        refusals=refusals,
    )


def read_run(run: Path) -> Judged:
    """The verdict of a finished run.

    Raises:
        ConfigError: There is none, or it can not be read or trusted.
    """
    path = run / "verdict.json"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "no verdict is there" if isinstance(error, FileNotFoundError) else str(error)
        raise ConfigError(
            f"{reason}: the run is not finished, or not a run.",
            where=str(path),
            fix="name the directory of a finished replay (its last line of output)",
        ) from error
    return judged_from_json(text, where=str(path))


def _of_digest(judged: Judged, digest: str, artifact: Path) -> Iterator[Refusal]:
    challenger = judged.report.challenger
    if digest != challenger.digest:
        yield Refusal(
            code="other_artifact",
            text=f"{artifact} is {digest}; the run judged {challenger.digest} "
            f"(challenger {challenger.name!r}).",
        )


def _of_verdict(judged: Judged, policy: Policy | None) -> Iterator[Refusal]:
    policies = [judged.policy] if policy is None else [judged.policy, policy]
    for rules in policies:
        verdict = decide(judged.report, rules)
        if verdict.verdict != "PARITY":
            for reason in verdict.reasons:
                if reason.verdict != "PARITY":
                    yield Refusal(
                        code=reason.code,
                        text=f"{verdict.verdict}: {reason.text}",
                        exit_code=verdict.exit_code,
                    )
        if rules is judged.policy and verdict.verdict != judged.verdict:
            yield Refusal(
                code="other_verdict",
                text=f"verdict.json says {json.dumps(judged.verdict)}, its own figures and "
                f"policy say {verdict.verdict}.",
            )


def _of_conditions(judged: Judged) -> Iterator[Refusal]:
    report = judged.report
    if report.plants:
        yield Refusal(
            code="planted",
            text=f"bugs were planted in the challenger ({', '.join(report.plants)}): a drill.",
        )
    if report.canary.planted is None:
        yield Refusal(
            code="canary_not_run",
            text="no canary was planted: nothing shows that the replay could see a bug.",
        )
    if report.stopping is not None and report.stopping.stopped:
        yield Refusal(
            code="stopped_early",
            text=f"the replay stopped early, after {report.requests.compared} of "
            f"{report.stopping.requests} requests: an artifact ships on a whole day.",
        )
    elif report.sample < 1 or report.requests.not_sampled:
        yield Refusal(
            code="sampled",
            text=f"only a sample of {report.sample:g} of the requests was replayed.",
        )
