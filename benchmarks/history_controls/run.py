"""What history controls cost in quality and save in time, on real histories.

    python benchmarks/history_controls/run.py --logs ml --artifact ml_modern    # README.md beside this

One artifact reads the days it was not trained on under several settings of its history: the
weights stay, so that a difference is the setting's. CPU time of one thread, settings in turn. The
difference in normalised entropy has its central 95 %, resampled by request. Then the store: each
day's old segments are encoded from what was logged before it, and looked up.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one thread

import numpy as np
import torch

from modern.training.metrics import log_losses, quality_of
from modern.transformer.artifact import TransformerArtifact, load_artifact
from modern.transformer.calibration import pctr_from_logits
from modern.transformer.config import HistoryConfig
from modern.transformer.forward import logits_of, run_forward
from modern.transformer.history_lookup import look_up
from modern.transformer.history_store import HistoryStore, open_store, write_store
from modern.transformer.inputs import ModelInputs, inputs_from_batch
from modern.transformer.precompute import artifact_key, encode_users, latest_requests
from replay.logs.parquet import list_days, open_day, read_shard
from replay.request import RequestBatch, concat_batches

RESULTS = Path(__file__).parent / "results"
DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class Read:
    """The held-out requests as one setting reads them."""

    inputs: ModelInputs
    pctr: np.ndarray
    cpu_ms: float


def main() -> None:
    """Measure, print, write results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument(
        "--collapse-by", default="action,genre", help="step features (action,genre)"
    )
    parser.add_argument("--user", default="user.user_id", help="logged field of the user's id")
    parser.add_argument("--store-days", type=int, default=5, help="of the held-out ones (5)")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    artifact = load_artifact(options.artifact)
    days = held_out_days(artifact, options.logs)
    batch = concat_batches(
        read_shard(shard).batch for day in days for shard in open_day(options.logs, day).shards
    )
    keys = tuple(options.collapse_by.split(","))
    table = controls(artifact, batch, settings(artifact.config.history, keys), options.repeats)
    table += "\n\n" + stores(artifact, options, days)
    facts = f"{batch.num_requests:,} requests, {batch.num_candidates:,} candidates, {days[0]} to {days[-1]}"
    print(f"{facts}\n\n{table}")
    write(f"{facts}\n\n{table}", artifact, name="history_controls", title="History controls")


def held_out_days(artifact: TransformerArtifact, logs: Path) -> list[date]:
    """The logged ones of those that its training did not see."""
    first, _, last = artifact.manifest["held_out"].partition(":")
    return [d for d in list_days(logs) if first <= d.isoformat() <= (last or first)]


def labelled(batch: RequestBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[candidate] whether it is labelled; of those that are: whether clicked, and their request."""
    labels = batch.column("candidate.click").to_numpy(zero_copy_only=False).astype(np.float64)
    known = ~np.isnan(labels)
    return known, labels[known] == 1, batch.keys.request_of("candidate")[known]


def settings(trained: HistoryConfig, keys: tuple[str, ...]) -> dict[str, HistoryConfig]:
    """The settings by name, the trained one first."""
    by = "+".join(keys)
    return {
        "as trained": trained,
        **{
            f"newest {most} steps": replace(trained, max_recent=most, max_old=most)
            for most in (50, 20, 5)
        },
        f"collapsed by {by}, 1 h": replace(trained, collapse_by=keys, collapse_hours=1.0),
        f"collapsed by {by}, 24 h": replace(trained, collapse_by=keys, collapse_hours=24.0),
        f"collapsed by {by}, 24 h, newest 20": replace(
            trained, collapse_by=keys, collapse_hours=24.0, max_recent=20, max_old=20
        ),
    }


def controls(
    artifact: TransformerArtifact,
    batch: RequestBatch,
    chosen: Mapping[str, HistoryConfig],
    repeats: int,
) -> str:
    """The table of settings."""
    known, click, request = labelled(batch)
    times: dict[str, list[float]] = {name: [] for name in chosen}
    found: dict[str, Read] = {}
    for _ in range(repeats):
        for name, history in chosen.items():
            inputs = inputs_from_batch(batch, artifact.feature_set, history)
            before = time.process_time()
            logits = logits_of(artifact.model, inputs)[:, 0]
            times[name].append((time.process_time() - before) * 1e3 / batch.num_requests)
            pctr = pctr_from_logits(
                logits, artifact.calibrations[artifact.config.transformer.tasks[0]]
            )
            found[name] = Read(
                inputs=inputs, pctr=pctr[known], cpu_ms=float(np.median(times[name]))
            )
    whole = found["as trained"]
    lines = [
        "| history | steps read, mean | NE | less `as trained` | AUC | CPU ms a request |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, read in found.items():
        quality = quality_of(read.pctr, click)
        low, high = difference_in_ne(whole.pctr, read.pctr, click, request)
        steps = (read.inputs.step_place >= 0).sum() / batch.num_requests
        lines.append(
            f"| {name} | {steps:.1f} | {quality.ne:.4f} | [{low:+.4f}, {high:+.4f}] | "
            f"{quality.auc:.4f} | {read.cpu_ms:.2f} |"
        )
    return "\n".join(lines)


@dataclass(kw_only=True)
class Kept:
    """What a store did over several days."""

    counts: Counter[str]
    online_s: float = 0.0
    store_s: float = 0.0
    steps: int = 0
    old_steps: int = 0
    apart: float = 0.0


def stores(artifact: TransformerArtifact, options: argparse.Namespace, days: list[date]) -> str:
    """What the store does on the last of the days, for the trained horizon and shorter ones."""
    horizons = (artifact.config.history.recent_hours, 168.0, 24.0)
    found = {hours: Kept(counts=Counter()) for hours in horizons}
    requests = 0
    for day in days[-options.store_days :]:
        known = latest_requests(options.logs, day, user_path=options.user)
        batch = concat_batches(
            read_shard(shard).batch for shard in open_day(options.logs, day).shards
        )
        requests += batch.num_requests
        for hours, kept in found.items():
            history = replace(artifact.config.history, recent_hours=hours)
            other = replace(artifact, config=replace(artifact.config, history=history))
            with tempfile.TemporaryDirectory() as folder:
                path, key = Path(folder) / "store", artifact_key(other)
                entries = encode_users(other, known, day)
                write_store(path, entries, day=day, user_path=options.user, weights=key)
                look_up_a_day(other, batch, open_store(path, weights=key), kept)
    lines = [
        f"The last {options.store_days} days, {requests:,} requests:",
        "",
        (
            "| recent | looked up | old steps, share | CPU ms a request, online | with the store | "
            "largest difference of a logit |"
        ),
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for hours, kept in found.items():
        said = ", ".join(f"{n} {reason}" for reason, n in sorted(kept.counts.items()))
        lines.append(
            f"| {hours:g} h | {said} | {kept.old_steps / max(kept.steps, 1):.0%} | "
            f"{kept.online_s * 1e3 / requests:.2f} | {kept.store_s * 1e3 / requests:.2f} | "
            f"{kept.apart:.1e} |"
        )
    return "\n".join(lines)


def look_up_a_day(
    artifact: TransformerArtifact, batch: RequestBatch, store: HistoryStore, kept: Kept
) -> None:
    """Score a day both ways; looking up and its digests count."""
    inputs = inputs_from_batch(batch, artifact.feature_set, artifact.config.history)
    before = time.process_time()
    online = run_forward(artifact.model, inputs).logits
    middle = time.process_time()
    old = look_up(store, batch, inputs, kept.counts)
    stored = run_forward(artifact.model, inputs, old=old).logits
    kept.store_s += time.process_time() - middle
    kept.online_s += middle - before
    read = inputs.step_place >= 0
    kept.steps += int(read.sum())
    kept.old_steps += int((read & (inputs.step_old == 1)).sum())
    kept.apart = max(kept.apart, float(np.abs(online - stored).max()))


def difference_in_ne(
    before: np.ndarray, after: np.ndarray, click: np.ndarray, request: np.ndarray
) -> tuple[float, float]:
    """The central 95 % of `after` - `before` in normalised entropy, resampled by request."""
    _, owner = np.unique(request, return_inverse=True)
    gap = np.bincount(owner, log_losses(after, click) - log_losses(before, click))
    clicks, counts = np.bincount(owner, click), np.bincount(owner)
    drawn = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    shown = counts[drawn].sum(axis=1)
    rate = clicks[drawn].sum(axis=1) / shown
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
    low, high = np.quantile(gap[drawn].sum(axis=1) / shown / entropy, [0.025, 0.975])
    return float(low), float(high)


def write(table: str, artifact: TransformerArtifact, *, name: str, title: str) -> None:
    """The results, with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    processor = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), "")
    facts = (
        f"{processor}, Python {platform.python_version()}, torch {torch.__version__}, load "
        f"{os.getloadavg()[0]:.1f}; training {artifact.training_id}, "
        f"{json.dumps(artifact.config.to_json()['transformer'])}"
    )
    text = f"# {title}\n\n{facts}\n\n{table}\n"
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
