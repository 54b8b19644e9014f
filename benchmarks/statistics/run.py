"""Do the intervals cover, does the correction hold, and is an early end as sure as it says?

    .venv/bin/python benchmarks/statistics/run.py                  # about five minutes; writes results/
    .venv/bin/python benchmarks/statistics/run.py --logs 100       # quicker

Logs are drawn with known chances; a request's candidates share luck, so they are no independent
witnesses. A metric's truth is its value on a log of two million candidates. Coverage is
the share of logs whose 95 % interval holds the truth; with 1,000 logs its own error is +- 1.4 %.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import hypergeom

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT))

from parity.judge.early import needed, wealth  # noqa: E402  # after the path to it
from parity.judge.metrics import Outcomes, metrics_of  # noqa: E402
from parity.judge.metrics.outcomes import SliceColumn  # noqa: E402
from parity.judge.metrics.slice_calibration import slices_of  # noqa: E402
from parity.judge.policy import Policy  # noqa: E402

PER_REQUEST = 5
SEGMENTS = 20
COVERED = ("ne", "auc", "gauc", "calibration", "log_loss", "bid_weighted_flips", "auction_kept")


def main() -> None:
    """Simulate, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=1000)
    logs = parser.parse_args().logs
    figures: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "logs": logs,
        "coverage": {f"{n} requests": coverage(n, logs) for n in (200, 1000, 4000)},
        "slices": {f"{n} requests": false_findings(n, logs) for n in (300, 1000, 4000)},
        "early": {
            "just at the rate": ever_passes(1.0, logs),
            "twice the rate": ever_passes(2.0, logs),
            "a tenth of the rate": ever_passes(0.1, logs),
            "none": ever_passes(0.0, logs),
        },
        "needed": {
            f"{day:,} requests a day": needed(day, 1e-4, 0.99)
            for day in (8_006, 60_000, 1_000_000, 1_000_000_000)
        },
    }
    text = as_text(figures)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "statistics.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (RESULTS / "statistics.md").write_text(text, encoding="utf-8")
    print(text)


def a_log(seed: int, requests: int, *, noise: float = 0.6) -> Outcomes:
    """A reference that knows each candidate's chance, and a challenger that knows it with noise."""
    rng = np.random.default_rng(seed)
    rows = requests * PER_REQUEST
    request = np.repeat(np.arange(requests), PER_REQUEST)
    logit = -2.4 + 0.7 * rng.normal(size=rows)
    p = 1 / (1 + np.exp(-logit))
    theirs = 1 / (1 + np.exp(-(logit + noise * rng.normal(size=rows) - noise**2 / 2)))
    luck = rng.choice([0.5, 1.5], requests)[request]
    value = rng.uniform(1.0, 3.0, requests)
    return Outcomes(
        request_hash=request.astype(np.uint64),
        label=(rng.random(rows) < p * luck).astype(np.int8),
        p_reference=p,
        p_challenger=theirs,
        top_k_overlap=rng.integers(0, 4, requests) / 3,
        rank_correlation=rng.uniform(-1, 1, requests),
        bid_flips=rng.beta(0.5, 2.0, requests),
        value_reference=value,
        value_challenger=value * rng.uniform(0.5, 1.0, requests),
        label_value_reference=np.full(requests, np.nan),
        label_value_challenger=np.full(requests, np.nan),
        slices={
            "segment": SliceColumn(
                values=tuple(map(str, range(SEGMENTS))),
                codes=rng.integers(0, SEGMENTS, requests)[request].astype(np.int32),
            )
        },
        top_k=3,
    )


def differences(outcomes: Outcomes, resamples: int = 200) -> Mapping[str, tuple[float, ...]]:
    found = metrics_of(outcomes, Policy(resamples=resamples), seed=1)
    return {
        one.name: (one.difference, one.low, one.high)
        for one in found
        if one.name in COVERED and one.difference is not None and one.low is not None
    }


def coverage(requests: int, logs: int) -> dict[str, float]:
    """Metric to the share of logs whose interval holds the truth."""
    truth = {name: value for name, (value, *_) in differences(a_log(10**9, 400_000), 100).items()}
    hits: dict[str, list[bool]] = {name: [] for name in COVERED}
    for seed in range(logs):
        for name, (_, low, high) in differences(a_log(seed, requests)).items():
            hits[name].append(low <= truth[name] <= high)
    return {name: float(np.mean(held)) for name, held in hits.items() if held}


def false_findings(requests: int, logs: int) -> dict[str, float]:
    """Between two honest models: how often any slice is found worse, with and without correction."""
    found = {"holm": 0.0, "benjamini_hochberg": 0.0, "uncorrected": 0.0, "tried": 0.0}
    for seed in range(logs):
        outcomes = both_honest(seed, requests)
        for method in ("holm", "benjamini_hochberg"):
            slices = slices_of(outcomes, Policy(slice_correction=method))
            assert slices is not None
            found[method] += any(one.worse for one in slices.figures) / logs
        found["uncorrected"] += any(one.p_value <= 0.05 for one in slices.figures) / logs
        found["tried"] += slices.tried / logs
    return {name: round(value, 4) for name, value in found.items()}


def both_honest(seed: int, requests: int) -> Outcomes:
    """The challenger knows each chance averaged over what only the reference knows.

    So it is calibrated in every slice and in every decile of its own scores. A challenger with mere
    noise on its scores would not be: its highest scores would be too high.
    """
    outcomes = a_log(seed, requests, noise=0.0)
    rng = np.random.default_rng(seed + 10**6)
    rows = outcomes.num_labelled
    known = 0.1 * np.exp(0.5 * rng.normal(size=rows) - 0.125)
    p = np.clip(known * np.exp(0.3 * rng.normal(size=rows) - 0.045), 0.0, 0.6)
    luck = np.repeat(rng.choice([0.5, 1.5], requests), PER_REQUEST)
    arrays = {name: getattr(outcomes, name) for name in Outcomes.__slots__}
    label = (rng.random(rows) < p * luck).astype(np.int8)
    return Outcomes(**{**arrays, "label": label, "p_reference": p, "p_challenger": known})


def ever_passes(multiple: float, logs: int) -> dict[str, float]:
    """A day of 2,000 requests, looked at 100 times: how often it passes, and after how many."""
    day, rate, level = 2000, 0.01, 0.95
    there = math.ceil(multiple * rate * day)
    rng = np.random.default_rng(0)
    at = np.arange(20, day, 20)
    passed, peeked, read = 0, 0, []
    for _ in range(logs):
        seen = np.cumsum(rng.permutation(np.arange(day) < there))[at - 1]
        enough = [
            int(n)
            for n, k in zip(at, seen, strict=True)
            if wealth(int(n), int(k), day=day, rate=rate) >= 1 / (1 - level)
        ]
        passed += bool(enough)
        read += enough[:1]
        peeked += bool((hypergeom.cdf(seen, day, math.ceil(rate * day), at) < 1 - level).any())
    return {
        "passes": passed / logs,
        "a fixed test peeked at passes": peeked / logs,
        "median requests read": float(np.median(read)) if read else math.nan,
    }


def as_text(figures: dict[str, Any]) -> str:
    """Three tables."""
    lines = [f"{figures['logs']} simulated logs a row, on {figures['machine']}.", ""]
    lines += ["Coverage of the 95 % interval of a difference, resampled by request:", ""]
    lines += ["| log | " + " | ".join(COVERED) + " |", "| --- |" + " --- |" * len(COVERED)]
    for name, row in figures["coverage"].items():
        lines.append(
            f"| {name} | "
            + " | ".join(f"{row[m]:.3f}" if m in row else "-" for m in COVERED)
            + " |"
        )
    lines += [
        "",
        "Any slice found worse between two models that are both calibrated everywhere:",
        "",
    ]
    lines += [
        "| log | slices tried | Holm | Benjamini-Hochberg | uncorrected |",
        "| --- |" + " --- |" * 4,
    ]
    for name, row in figures["slices"].items():
        lines.append(
            f"| {name} | {row['tried']:.1f} | {row['holm']:.3f} | {row['benjamini_hochberg']:.3f} | {row['uncorrected']:.3f} |"
        )
    lines += [
        "",
        "An early end at level 95 %, rate 1 %, a day of 2,000 requests looked at 100 times:",
        "",
    ]
    lines += [
        "| requests of the day that differ | passes | a fixed test, peeked at | median read |",
        "| --- |" + " --- |" * 3,
    ]
    for name, row in figures["early"].items():
        lines.append(
            f"| {name} | {row['passes']:.3f} | {row['a fixed test peeked at passes']:.3f} | {row['median requests read']:.0f} |"
        )
    lines += ["", "Requests that pass a rate of 1e-4 at 99 % when none differs:", ""]
    lines += [f"- {name}: {value:,}" for name, value in figures["needed"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
