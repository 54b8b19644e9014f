"""How well prior, legacy and transformer predict held-out days, and what history is worth.

    make bench-quality                                        # everything, then the table
    .venv/bin/python benchmarks/quality/run.py legacy         # logs, legacy trainings, their predictions
    .venv/bin/python benchmarks/quality/run.py modern --jobs 8    # the transformer's; needs no TensorFlow
    .venv/bin/python benchmarks/quality/run.py table          # merges what is there; writes results/
    .venv/bin/python benchmarks/quality/run.py all --logs synthetic    # of one log; the others' figures stay

Every step leaves files below --work and is skipped when they stand, so nothing is trained twice and
`modern` may run on another machine: copy --work there and back. Each training is one process on one
thread; its processor seconds are recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from replay.threads import fix_threads

fix_threads()  # before anything below loads numpy

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]

from runs import LOGS, Run, Work, runs_of  # noqa: E402  # beside this file

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Do the part that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["all", "legacy", "modern", "table"])
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "quality")
    parser.add_argument("--logs", default=",".join(LOGS), help="of these logs alone")
    parser.add_argument("--runs", default="", help="modern: those whose name holds this text")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--device", default="cpu", help="of torch, to train on")
    options = parser.parse_args()
    work, logs = Work(options.work), options.logs.split(",")
    if options.part in {"all", "legacy"}:
        for log in logs:
            prepare(log, work, options.seeds)
    if options.part in {"all", "modern"}:
        runs = [r for log in logs for r in runs_of(log, options.seeds) if options.runs in r.name]
        with ThreadPoolExecutor(options.jobs) as pool:
            for line in pool.map(lambda run: train(run, work, options.device), runs):
                print(line, flush=True)
    if options.part in {"all", "table"}:
        from figures import figures_of, text_of

        figures = {"machine": machine(), **figures_of(logs, work, options.seeds)}
        keep_others(figures, RESULTS / "quality.json")
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "quality.json").write_text(json.dumps(figures, indent=1) + "\n")
        (RESULTS / "quality.md").write_text(text_of(figures))
        print(text_of(figures))


def keep_others(figures: dict[str, Any], standing: Path) -> None:
    """Logs that were not asked for keep the figures that stand there, marked as of an earlier run."""
    before = json.loads(standing.read_text()) if standing.exists() else {"logs": {}}
    kept = {log: found for log, found in before["logs"].items() if log not in figures["logs"]}
    figures["logs"] |= kept
    figures["earlier"] = sorted(kept)


def prepare(log: str, work: Work, seeds: int) -> None:
    """Import a log, train the legacy stack on it once a seed, and predict the held-out days."""
    setting = LOGS[log]
    importing = ["-m", "parity", "logs", "import", *setting.importing]
    run([*importing, "--out", str(work.logs(log))], quiet=True)
    for seed in range(1, seeds + 1):
        artifact = work.legacy(log, seed)
        cpu_s = run(
            [
                *("-m", "legacy", "train", "--logs", str(work.logs(log)), "--out", str(artifact)),
                *("--features", log, "--held-out", setting.held_out, "--seed", str(seed)),
            ]
        )
        out = work.predictions(f"{log}-legacy-{seed}")
        if not out.exists():
            program = str(Path(__file__).parent / "predict_legacy.py")
            days = [str(artifact), str(work.logs(log)), setting.held_out, str(out)]
            run([program, *days])
            work.note(f"{log}-legacy-{seed}", {"cpu_s": cpu_s})
        print(f"{log} legacy seed {seed}: {cpu_s:.0f} s", flush=True)


def train(of: Run, work: Work, device: str) -> str:
    """Train one run, and write its predictions."""
    artifact, setting = work.modern(of.name), LOGS[of.log]
    init = ["--init-from", str(work.modern(of.init_from))] if of.init_from else []
    features = work.legacy(of.log, 1) / "features.json"
    history = ["--history", str(ROOT / "modern" / "feature_sets" / f"{of.log}.json")]
    if of.init_from:
        features, history = work.modern(of.init_from) / "features.json", []
    started = time.time()
    cpu_s = run(
        [
            *("-m", "modern", "train", "--logs", str(work.logs(of.log)), "--out", str(artifact)),
            *("--features", str(features), *history, "--variant", str(work.variant(of))),
            *("--held-out", setting.held_out, "--seed", str(of.seed), "--device", device, *init),
        ],
        log=work.root / "said" / f"{of.name}.txt",
    )
    trained = f"{of.name}: {cpu_s:.0f} s of a processor"
    if not work.predictions(of.name).exists():
        facts = {"cpu_s": cpu_s, "wall_s": time.time() - started, "device": device}
        work.note(of.name, facts | {"trained_on": machine()})
    for histories in of.histories:
        name = of.name if histories == "own" else f"{of.name}-{histories}"
        if not work.predictions(name).exists():
            run(
                [
                    *("-m", "modern", "predict", "--artifact", str(artifact)),
                    *("--logs", str(work.logs(of.log)), "--days", setting.held_out),
                    *("--out", str(work.predictions(name)), "--histories", histories),
                ],
                quiet=True,
            )
    return trained


def run(arguments: list[str], *, quiet: bool = False, log: Path | None = None) -> float:
    """Run a program of this project; its processor seconds, or an end with what it said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    said = subprocess.DEVNULL if quiet else subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=said if log is None else log.open("w"),
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        out = child.stdout.read() if child.stdout else ""
        errors = child.stderr.read() if child.stderr else ""
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {child.returncode}:\n{out}{errors}")
    return used.ru_utime + used.ru_stime


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {"processor": model[0] if model else platform.processor(), "cores": os.cpu_count()}


if __name__ == "__main__":
    main()
