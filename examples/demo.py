"""The main job, end to end: real days, four stacks, three comparisons, one planted bug.

`make demo` has imported the logs and trained the models before it calls this. Each replay is
kept with what it printed; a second call replays nothing that has not changed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from replay.digests import digest_of_file, digest_of_json, digest_of_path

ROOT = Path(__file__).resolve().parents[1]
PARITY = Path(sys.executable).with_name("parity")
KEPT = ROOT / "runs" / "demo"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the demo and the exit code it has to end with."""

    title: str
    arguments: tuple[str, ...]
    expected: int


def steps(date: str) -> tuple[Step, ...]:
    """The replays in the order a migration meets them."""
    return (
        Step(
            title="The C++ scorer against the legacy stack: the same model, every request of the day",
            arguments=_replay(date, "cpp"),
            expected=0,
        ),
        Step(
            title="Its PyTorch port: a second, independent translation",
            arguments=_replay(date, "port"),
            expected=0,
        ),
        Step(
            title="A transformer: features must be equal, quality is a question of evidence",
            arguments=_replay(date, "modern"),
            expected=3,
        ),
        Step(
            title="The port again, with a known bug planted: the clock nine hours off",
            arguments=(*_replay(date, "port"), "--plant", "hour_shift:features.hour_tokyo"),
            expected=1,
        ),
    )


def main() -> int:
    """Run or recall every step; 0 when each ended as it has to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--date", default="2019-11-30")
    date = parser.parse_args().date
    KEPT.mkdir(parents=True, exist_ok=True)
    _show("The imported days", _run((str(PARITY), "logs", "days", "logs/")).stdout)
    for name in ("legacy", "modern"):
        _show(f"The {name} model on a held-out day", _metrics(ROOT / "artifacts" / name))
    state = digest_of_json([digest_of_path(ROOT / "artifacts"), _code_digest()])
    wrong = [step.title for step in steps(date) if not _demonstrate(step, state)]
    for title in wrong:
        print(f"did not end as expected: {title}", file=sys.stderr)
    return 1 if wrong else 0


def _demonstrate(step: Step, state: str) -> bool:
    key = digest_of_json([state, list(step.arguments)])
    kept = KEPT / f"{key[-16:]}.json"
    recalled = kept.exists()
    if recalled:
        result = json.loads(kept.read_text(encoding="utf-8"))
    else:
        done = _run((str(PARITY), *step.arguments))
        result = {"exit_code": done.returncode, "text": done.stdout + done.stderr}
        if done.returncode == step.expected:
            kept.write_text(json.dumps(result), encoding="utf-8")
    _show(step.title, f"$ parity {' '.join(step.arguments)}\n{result['text']}")
    print(
        f"exit code {result['exit_code']}{' (recalled: nothing has changed)' if recalled else ''}"
    )
    return bool(result["exit_code"] == step.expected)


def _replay(date: str, challenger: str) -> tuple[str, ...]:
    return ("replay", "--date", date, "--reference", "legacy", "--challenger", challenger)


def _metrics(artifact: Path) -> str:
    """Held-out figures of a training, as its metrics.json has them."""
    figures = json.loads((artifact / "metrics.json").read_text(encoding="utf-8"))
    rows = [(name, figures[name]) for name in ("prior", "legacy", "modern") if name in figures]
    return "\n".join(
        [
            f"{'':10}{'NE':>9}{'AUC':>9}{'calibration':>13}{'rows':>9}{'clicks':>9}   {figures['held_out']}",
            *(
                f"{name:10}{v['ne']:9.4f}{v['auc']:9.4f}{v['calibration']:13.4f}{v['rows']:9,}{v['clicks']:9,}"
                for name, v in rows
            ),
        ]
    )


def _code_digest() -> str:
    packages = ("replay", "parity", "legacy", "cpp_serving", "modern")
    sources = sorted(
        path
        for package in packages
        for end in ("*.py", "*.so", "*.j2", "*.html")
        for path in (ROOT / package).rglob(end)
    )
    sources.append(ROOT / "parity.yaml")
    return digest_of_json({str(p.relative_to(ROOT)): digest_of_file(p) for p in sources})


def _run(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _show(title: str, text: str) -> None:
    print(f"\n=== {title}\n{text.rstrip()}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
