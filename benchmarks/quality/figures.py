"""The table: every side's figures on the same held-out rows, with intervals resampled by request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from runs import LOGS, Work

from parity.judge.metrics.entropy import entropy, losses
from parity.judge.metrics.intervals import draws, interval
from parity.judge.metrics.ranking import auc, ranked_rows

RESAMPLES = 400
KEYS = ["request_id", "ad_id"]
SIDES = {
    "prior": "prior: the training days' rate",
    "legacy": "legacy: trees into a regression",
    "no_history": "transformer without history",
    "others": "transformer, another's history",
    "shuffled": "transformer, history in other order",
    "transformer": "transformer",
    "truth": "the generating truth",
}

Floats = NDArray[np.float64]


def figures_of(logs: Sequence[str], work: Work, seeds: int) -> dict[str, Any]:
    """Everything that the files below `work` tell."""
    return {
        "logs": {log: _log_figures(log, work, seeds) for log in logs},
        "cost_s": {
            path.stem: json.loads(path.read_text())
            for path in sorted((work.root / "cost").glob("*"))
        },
    }


def _log_figures(log: str, work: Work, seeds: int) -> dict[str, Any]:
    whole = _read(work, f"{log}-transformer-1")
    tasks = [
        name.removeprefix("label_") for name in whole.column_names if name.startswith("label_")
    ]
    return {task: _task_figures(log, task, work, seeds) for task in tasks}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """Rows of a task whose outcome is known, and the requests they belong to."""

    label: Floats
    request: NDArray[np.int64]

    @property
    def num_requests(self) -> int:
        return int(self.request.max()) + 1


def _task_figures(log: str, task: str, work: Work, seeds: int) -> dict[str, Any]:
    base = _read(work, f"{log}-transformer-1")
    known = base[f"label_{task}"].is_valid()
    base = base.filter(known)
    _, request = np.unique(base["request_id"].to_numpy().astype(str), return_inverse=True)
    rows = _Rows(label=base[f"label_{task}"].to_numpy().astype(np.float64), request=request)
    sides = _sides(log, task, work, seeds, base.select(KEYS))
    measured = _resampled(rows, {n: p for n, many in sides.items() for p in [many]})
    reference = measured["transformer"]
    return {
        "rows": len(rows.label),
        "requests": rows.num_requests,
        "ones": int(rows.label.sum()),
        "sides": {
            name: {
                "ne": _summary(found.ne),
                "auc": _summary(found.auc),
                "calibration": _summary(found.calibration),
                "ne_less_transformer": None
                if name == "transformer"
                else _difference(found.ne, reference.ne),
            }
            for name, found in measured.items()
        },
    }


def _sides(log: str, task: str, work: Work, seeds: int, keys: pa.Table) -> dict[str, list[Floats]]:
    """Name to the probabilities of each seed, in the order of `keys`."""
    found: dict[str, list[Floats]] = {}

    def read(side: str, name: str) -> None:
        if work.predictions(name).exists():
            table = _read(work, name)
            if f"p_{task}" in table.column_names:
                found.setdefault(side, []).append(_aligned(keys, table, f"p_{task}"))

    found["prior"] = [np.full(keys.num_rows, _prior(log, task, work))]
    for seed in range(1, seeds + 1):
        read("legacy", f"{log}-legacy-{seed}")
        read("no_history", f"{log}-no_history-{seed}")
        read("others", f"{log}-transformer-{seed}-others")
        read("shuffled", f"{log}-transformer-{seed}-shuffled")
        read("transformer", f"{log}-transformer-{seed}")
    if task in LOGS[log].truth:
        found["truth"] = [_truth(log, LOGS[log].truth[task], work, keys)]
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Measured:
    """[seed, resample]; the first resample is the log itself."""

    ne: Floats
    auc: Floats
    calibration: Floats


def _resampled(rows: _Rows, sides: Mapping[str, Sequence[Floats]]) -> dict[str, _Measured]:
    """All sides on the same draws of requests."""
    count = rows.num_requests
    whole = np.ones((1, count))
    seed = np.random.SeedSequence(7)
    many = draws(count, resamples=RESAMPLES, seed=seed, num_rows=len(rows.label))
    label = rows.label.astype(np.int8)
    ranked = {n: [ranked_rows(p, label) for p in ps] for n, ps in sides.items()}
    parts: dict[str, list[list[list[Floats]]]] = {n: [[] for _ in ps] for n, ps in sides.items()}
    for drawn in (whole, *many):
        weights = drawn[:, rows.request]
        num, ones = weights.sum(axis=1), weights @ rows.label
        bits = entropy(ones / num)
        for name, probabilities in sides.items():
            for place, p in enumerate(probabilities):
                loss = weights @ losses(p, label) / num
                parts[name][place].append(
                    [loss / bits, auc(ranked[name][place], weights), weights @ p / ones]
                )
    found = {}
    for name, by_seed in parts.items():
        stacked = np.stack([np.concatenate(chunks, axis=1) for chunks in by_seed])
        ne, area, level = stacked[:, 0], stacked[:, 1], stacked[:, 2]
        found[name] = _Measured(ne=ne, auc=area, calibration=level)
    return found


def _summary(values: Floats) -> dict[str, Any]:
    """The mean over seeds with its interval, and each seed's figure."""
    mean = values.mean(axis=0)
    return {"mean": float(mean[0]), **_bounds(mean[1:]), "seeds": values[:, 0].tolist()}


def _difference(theirs: Floats, ours: Floats) -> dict[str, Any]:
    """Paired by request, and by seed where both have as many."""
    paired = theirs - ours if len(theirs) in {1, len(ours)} else theirs[:1] - ours
    return _summary(paired) | {"each_seed": [_bounds(one[1:]) for one in paired]}


def _bounds(values: Floats) -> dict[str, float | None]:
    found = interval(values)
    return {"low": None, "high": None} if found is None else {"low": found.low, "high": found.high}


def _prior(log: str, task: str, work: Work) -> float:
    """The rate of the training days, as the training noted it."""
    metrics = json.loads((work.modern(f"{log}-transformer-1") / "metrics.json").read_text())
    prior = metrics["tasks"][task]["prior"]
    return float(prior["calibration"] * prior["clicks"] / prior["rows"])


def _truth(log: str, field: str, work: Work, keys: pa.Table) -> Floats:
    first, _, last = LOGS[log].held_out.partition(":")
    parts = []
    for path in sorted(work.logs(log).glob("date=*/part-*.parquet")):
        if f"date={first}" <= path.parent.name <= f"date={last}":
            table = pq.read_table(path, columns=["request_id", "candidates"])
            candidates = table["candidates"].combine_chunks()
            owner = pc.list_parent_indices(candidates)
            flat = candidates.flatten()
            parts.append(
                pa.table(
                    {
                        "request_id": table["request_id"].take(owner),
                        "ad_id": flat.field("ad_id"),
                        "truth": flat.field(field),
                    }
                )
            )
    return _aligned(keys, pa.concat_tables(parts), "truth")


def _aligned(keys: pa.Table, table: pa.Table, column: str) -> Floats:
    """The column's values in the order of the keys."""
    ordered = keys.append_column("place", pa.array(np.arange(keys.num_rows)))
    joined = ordered.join(table.select([*KEYS, column]), KEYS).sort_by("place")
    if joined[column].null_count or joined.num_rows != keys.num_rows:
        raise SystemExit(f"{column}: predictions are missing for some labelled candidates")
    values: Floats = joined[column].to_numpy().astype(np.float64)
    return values


def _read(work: Work, name: str) -> pa.Table:
    return pq.read_table(work.predictions(name))


def text_of(figures: Mapping[str, Any]) -> str:
    """The figures as markdown."""
    machine = figures["machine"]
    lines = [
        "# Quality on held-out days",
        "",
        (
            f"{machine['processor']}, {machine['cores']} cores. NE: log loss over the entropy of "
            "the rows' own rate, lower is better. Intervals: 95 %, requests resampled; means over "
            "the seeds. The last column is the NE lost against the transformer, paired by request; "
            "a dagger marks those whose interval excludes zero in every seed."
        ),
    ]
    for log, tasks in figures["logs"].items():
        for task, found in tasks.items():
            lines += [
                "",
                f"## {log}: {task}",
                "",
                (
                    f"{found['rows']:,} labelled candidates of {found['requests']:,} requests, "
                    f"{found['ones']:,} of them 1"
                    + ("; of an earlier run" if log in figures.get("earlier", ()) else "")
                ),
                "",
                "| | NE | AUC | calibration | NE lost |",
                "| --- | --- | --- | --- | --- |",
            ]
            for name, side in found["sides"].items():
                lines.append(_row(SIDES.get(name, name), side))
    costs = [c["cpu_s"] for c in figures["cost_s"].values() if "cpu_s" in c]
    if costs:
        lines += ["", f"{len(costs)} trainings, {max(costs):.0f} s of one processor at most."]
    return "\n".join(lines) + "\n"


def _row(label: str, side: Mapping[str, Any]) -> str:
    def shown(figure: Mapping[str, Any], digits: int) -> str:
        if figure["low"] is None:
            return f"{figure['mean']:.{digits}f}"
        return f"{figure['mean']:.{digits}f} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"

    lost = side["ne_less_transformer"]
    cell = ""
    if lost is not None:
        excludes = all(
            one["low"] is not None and (one["low"] > 0 or one["high"] < 0)
            for one in lost["each_seed"]
        )
        cell = shown(lost, 4) + (" †" if excludes else "")
    return f"| {label} | {shown(side['ne'], 4)} | {shown(side['auc'], 4)} | {shown(side['calibration'], 3)} | {cell} |"
