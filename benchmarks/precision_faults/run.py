"""Which mistakes are still named once the challenger computes in bf16 or int8, and which drown.

    python -m benchmarks.precision_faults.run

A history transformer in float32, module by module, against the same weights in another precision.
Tolerances are measured for that precision, then each mistake is planted and replayed: it is named as a
cause, or it moves its step by less than the precision does and the report tells it from configuration and
weights alone. The model is trained once, into build/precision, on the log of build/rung7
(benchmarks/gpu/README.md says how that gets there) with room for 20 steps, so that histories are cut.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PRECISIONS = ("fp32", "bf16", "int8")
# What a migration gets wrong in a model with histories, one or two places each.
MISTAKES = (
    "history_lag:history.place",
    "reverse_history:history.place",
    "truncate_newest:history.place",
    "age_bucket:step_tokens.age",
    "padding_id_shared:step_tokens",
    "mask_inverted:history.layers.0.attention",
    "mask_inverted:interest",
    "dropout_left_on:history.layers.0.feed_forward",
    "layernorm_eps:request.norm",
    "layernorm_eps:history.layers.0.feed_forward_norm",
    "weight_scale:interaction.layers.0.attention",
    "weight_scale:history.layers.1.attention",
    "weight_scale:heads",
    "gelu_tanh:history.layers.0.feed_forward",
)
NAMED, TOLD, WRONG, MISSED = "named", "below the noise, told as a fact", "wrong", "missed"


def main() -> None:
    """Measure tolerances, replay each mistake, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--given", type=Path, default=ROOT / "build/rung7", help="logs/, legacy/")
    parser.add_argument("--date", default="2026-01-11")
    parser.add_argument("--sample", default="0.05")
    parser.add_argument("--work", type=Path, default=ROOT / "build/precision")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    artifact = _trained(options.given, options.work)
    config = _configuration(options.work, artifact, options.given / "logs")
    found: dict[str, dict[str, str]] = {"nothing planted": {}}
    found |= {mistake: {} for mistake in MISTAKES}
    for precision in PRECISIONS:
        pair = ["--reference", "full", "--challenger", precision, "--date", options.date]
        pair += ["--config", str(config), "--format", "json"]
        _parity("calibrate", *pair, "--precision", precision, "--write")
        pair += ["--sample", options.sample]
        clean = _parity("replay", *pair)
        found["nothing planted"][precision] = _verdict_of(clean)
        for mistake in MISTAKES:
            planted = _parity("replay", *pair, "--plant", mistake)
            found[mistake][precision] = _outcome(mistake, planted)
            print(precision, mistake, found[mistake][precision], flush=True)
    RESULTS.mkdir(exist_ok=True)
    text = _table(found, requests=clean["requests"]["compared"])
    (RESULTS / "precision_faults.md").write_text(text, encoding="utf-8")
    print(text)


def _trained(given: Path, work: Path) -> Path:
    """The transformer, trained where it is not there yet."""
    artifact = work / "modern"
    if not artifact.exists():
        variant = {"history": {"recent_hours": 48.0, "max_old": 12, "max_recent": 8}}
        (work / "short.json").write_text(json.dumps(variant), encoding="utf-8")
        command = [sys.executable, "-m", "modern", "train", "--logs", str(given / "logs")]
        command += ["--features", str(given / "legacy/features.json")]
        command += ["--history", "modern/feature_sets/synthetic.json", "--out", str(artifact)]
        command += [
            "--variant",
            str(work / "short.json"),
            "--tasks",
            "click,conversion,view_2s,view_5s",
        ]
        subprocess.run(command, cwd=ROOT, check=True)
    return artifact


def _configuration(work: Path, artifact: Path, logs: Path) -> Path:
    """The pair of stacks of each precision, without tolerances of their own."""
    engine = {"open": "modern.engine.stack:open_stack", "artifact": str(artifact.resolve())}
    stacks: dict[str, Any] = {"full": {**engine, "options": {"modules": True}}}
    plans = []
    for precision in PRECISIONS:
        stacks[precision] = {**engine, "options": {"modules": True, "precision": precision}}
        pair = {"reference": "full", "challenger": precision, "outputs": "bounded"}
        plans.append({**pair, "same_training": True})
    path = work / "parity.yaml"
    made = {"logs": str(logs.resolve()), "runs": "runs", "cache": None}
    YAML().dump({**made, "stacks": stacks, "plans": plans}, path)
    return path


def _parity(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "parity", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _verdict_of(replay: Mapping[str, Any]) -> str:
    causes = [cause["checkpoint"] for cause in replay["causes"]]
    return f"{replay['verdict']}, {len(causes)} causes"


def _outcome(mistake: str, replay: Mapping[str, Any]) -> str:
    place = mistake.partition(":")[2]
    causes = [cause["checkpoint"] for cause in replay["causes"]]
    if causes == [place]:
        return NAMED
    if causes:
        return f"{WRONG}: {', '.join(causes)}"
    facts = [note for note in replay["notes"] if "no cause was found" in note and place in note]
    return f"{TOLD}: {facts[0].partition('found: ')[2]}" if facts else MISSED


def _table(found: Mapping[str, Mapping[str, str]], *, requests: int) -> str:
    lines = [
        "# Mistakes in coarser precisions",
        "",
        f"{requests} requests; {platform.machine()}, load {os.getloadavg()[0]:.1f}.",
        "",
        f"| planted | {' | '.join(PRECISIONS)} |",
        f"| --- |{' --- |' * len(PRECISIONS)}",
    ]
    for mistake, outcomes in found.items():
        lines.append(f"| `{mistake}` | {' | '.join(outcomes[one] for one in PRECISIONS)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
