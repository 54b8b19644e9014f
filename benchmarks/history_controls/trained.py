"""Histories collapsed in training too, and the store, over three seeds: quality and cost side by side.

    python benchmarks/history_controls/trained.py --logs ml --features ml_legacy/features.json

Each seed trains twice on one thread, once on whole histories and once on collapsed ones, and both
predict the same held-out days; then each seed's old segments are stored and looked up. Differences
have the central 95 %, resampled by request. A training that stands below --work is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: one thread

import numpy as np
import run as controls  # beside this file
import torch

from modern.training.job import plan_job, run_job
from modern.training.metrics import quality_of
from modern.transformer.artifact import TransformerArtifact, load_artifact
from modern.transformer.calibration import pctr_from_logits
from modern.transformer.config import HistoryConfig
from modern.transformer.forward import logits_of
from modern.transformer.inputs import inputs_from_batch
from modern.transformer.training_config import load_variant
from replay.logs.parquet import open_day, read_shard
from replay.request import RequestBatch, concat_batches

ROOT = Path(__file__).resolve().parents[2]
HELD_OUT = (date(1998, 3, 16), date(1998, 4, 8))
HISTORIES = ("whole", "collapsed")
BY = ("action", "genre")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One training, and how it reads the held-out days.

    Attributes:
        train_s: Processor seconds of the training.
        steps: Read of a history, mean.
        cpu_ms: A request, without its features.
    """

    artifact: TransformerArtifact
    train_s: float
    pctr: np.ndarray
    steps: float
    cpu_ms: float


def main() -> None:
    """Train, judge, write results/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--features", type=Path, required=True, help="features.json to read by")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "history_controls")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="at most so many, instead of the variant's")
    parser.add_argument("--user", default="user.user_id", help="logged field of the user's id")
    parser.add_argument("--store-days", type=int, default=5, help="of the held-out ones (5)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    trained = [
        {kind: train(options, seed, kind) for kind in HISTORIES}
        for seed in range(1, options.seeds + 1)
    ]
    days = controls.held_out_days(trained[0]["whole"][0], options.logs)
    batch = concat_batches(
        read_shard(shard).batch for day in days for shard in open_day(options.logs, day).shards
    )
    sides = [
        {kind: judge(artifact, cpu_s, batch) for kind, (artifact, cpu_s) in one.items()}
        for one in trained
    ]
    facts = f"{batch.num_requests:,} requests, {days[0]} to {days[-1]}, {options.seeds} seeds"
    stores = [
        f"Seed {seed}. {controls.stores(one['whole'].artifact, options, days)}"
        for seed, one in enumerate(sides, start=1)
    ]
    text = "\n\n".join([facts, table_of(sides, batch), *stores])
    print(text)
    controls.write(
        text, sides[0]["whole"].artifact, name="trained", title="Collapsed in training too"
    )


def train(options: argparse.Namespace, seed: int, kind: str) -> tuple[TransformerArtifact, float]:
    """The artifact, and the processor seconds of its training."""
    config = load_variant(str(ROOT / "benchmarks/quality/variants/movielens.json"))
    history = config.history
    if kind == "collapsed":
        history = replace(history, collapse_by=BY)
    epochs = options.epochs or config.training.epochs
    config = replace(
        config, history=history, training=replace(config.training, seed=seed, epochs=epochs)
    )
    out = options.work / f"{kind}-{seed}"
    job = plan_job(
        options.logs,
        options.features,
        config,
        held_out=HELD_OUT,
        history=ROOT / "modern" / "feature_sets" / "movielens.json",
    )
    started = time.process_time()
    outcome = run_job(job, out)
    cost = options.work / f"{kind}-{seed}.json"
    if outcome.trained:
        cost.write_text(json.dumps({"cpu_s": time.process_time() - started}))
        print(f"{out.name}: {time.process_time() - started:.0f} s of a processor", flush=True)
    return load_artifact(out), float(json.loads(cost.read_text())["cpu_s"])


def judge(artifact: TransformerArtifact, train_s: float, batch: RequestBatch) -> Side:
    """What it predicts for the labelled candidates."""
    history: HistoryConfig = artifact.config.history
    inputs = inputs_from_batch(batch, artifact.feature_set, history)
    before = time.process_time()
    logits = logits_of(artifact.model, inputs)[:, 0]
    cpu_ms = (time.process_time() - before) * 1e3 / batch.num_requests
    known, _, _ = controls.labelled(batch)
    return Side(
        artifact=artifact,
        train_s=train_s,
        pctr=pctr_from_logits(logits, artifact.calibrations["click"])[known],
        steps=float((inputs.step_place >= 0).sum() / batch.num_requests),
        cpu_ms=cpu_ms,
    )


def table_of(sides: Sequence[dict[str, Side]], batch: RequestBatch) -> str:
    """Means over the seeds, and what each seed says of the difference."""
    _, click, request = controls.labelled(batch)
    lines = [
        "| history | steps read, mean | NE | AUC | training, CPU s | CPU ms a request |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind in HISTORIES:
        mine = [one[kind] for one in sides]
        quality = [quality_of(side.pctr, click) for side in mine]
        lines.append(
            f"| {kind} | {mine[0].steps:.1f} | {shown([q.ne for q in quality])} | "
            f"{shown([q.auc for q in quality])} | {np.mean([s.train_s for s in mine]):.0f} | "
            f"{np.mean([s.cpu_ms for s in mine]):.2f} |"
        )
    pairs = [(one["whole"].pctr, one["collapsed"].pctr) for one in sides]
    found = [controls.difference_in_ne(*pair, click, request) for pair in pairs]
    said = "; ".join(f"[{low:+.4f}, {high:+.4f}]" for low, high in found)
    return "\n".join(lines) + f"\n\nNE collapsed less whole, seed by seed: {said}."


def shown(values: Sequence[float | None]) -> str:
    """The mean, and how far the seeds lie apart."""
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.4f} ({min(known):.4f} to {max(known):.4f})"


if __name__ == "__main__":
    main()
