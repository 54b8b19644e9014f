"""What is named of bugs that are planted in the real stacks, on logged requests.

    .venv/bin/python benchmarks/diagnosis/stacks.py               # after `make demo`
    .venv/bin/python benchmarks/diagnosis/stacks.py --root DIR    # another folder's logs and artifacts

The port against the legacy model, and the transformer against itself; each plant alone. Of a
part of the day, 64 requests that diverge and as many that agree are probed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT))

from parity.compare.alignment import Alignment, align  # noqa: E402  # after the path to it
from parity.explain.causes import find_faults  # noqa: E402
from parity.explain.diagnose import diagnose, evidence_of  # noqa: E402
from parity.explain.probe import Probe, probe  # noqa: E402
from parity.plan import Plan  # noqa: E402
from parity.planting import parse_plant, plant  # noqa: E402
from replay.logs.parquet import open_day, read_shard  # noqa: E402
from replay.request import RequestBatch, concat_batches  # noqa: E402
from replay.stack import Stack  # noqa: E402
from replay.trace import Trace  # noqa: E402

OF_EACH = 64
PORT = [
    "hour_shift:features.hour_tokyo",
    "utc_offset:features.hour_tokyo",
    "utc_offset:features.weekday_tokyo",
    "day_shift:features.weekday_tokyo",
    "scale=86400:features.affinity",
    "scale:features.item_ctr",
    "scale=1.01:features.item_feature_0",
    "scale:pctr",
    "scale:logit",
    "missing_zero_swap:features.item_click_recency",
    "constant_default:features.item_click_recency",
    "missing_zero_swap:features.affinity",
    "swap_columns:features.item_ctr",
    "swap_columns:features.affinity",
    "swap_columns:features.campaign",
    "swap_columns:regression.leaf_sum",
    "swap_columns:encoded.ad",
    "permute_candidates:features.item_ctr",
    "permute_candidates:features.affinity",
    "permute_candidates:features.ad",
    "permute_candidates:logit",
    "permute_candidates:gbdt.leaves",
    "permute_candidates:rank",
    "rounding:features.item_ctr",
    "rounding=float16:features.item_ctr",
    "rounding:pctr",
    "rounding=float16:logit",
    "rounding:regression.leaf_sum",
    "off_by_one:features.ad",
    "off_by_one:features.affinity_bucket",
    "off_by_one:encoded.ad",
    "off_by_one:gbdt.leaves",
    "off_by_one:rank",
    "hash_seed:features.campaign",
    "hash_seed:features.segment_0",
    "hash_seed:features.segment_2_x_item_group_2",
    "hash_seed:features.campaign_x_slot",
    "hash_encoding:features.segment_1",
    "bucket_edge_side:features.affinity_bucket",
    "bucket_edge_side:features.item_impressions_bucket",
    "log_for_log1p:features.affinity_total",
    "log_for_log1p:features.item_impressions",
    "log_for_log1p:features.item_clicks",
    "unknown_id_forgotten:encoded.ad",
    "threshold_le:gbdt.leaves",
    "float64_thresholds:gbdt.leaves",
    "nan_direction:gbdt.leaves",
    "tree_limit:regression.leaf_sum",
    "weight_scale:regression.leaf_sum",
    "weight_scale:regression.category_sum",
]


def main() -> None:
    """Plant one by one, print a line each, and write the table down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--date", type=date.fromisoformat, default=date(2019, 11, 30))
    parser.add_argument("--requests", type=int, default=1200)
    parser.add_argument("--layers", type=int, default=200, help="requests of the transformer")
    options = parser.parse_args()
    batch = _spread(options.root / "logs", options.date, options.requests)
    with ExitStack() as opened:
        from legacy.stack import open_stack as open_legacy
        from modern.port.stack import open_stack as open_port

        artifact = options.root / "artifacts" / "legacy"
        legacy, port = (_enter(opened, one(artifact)) for one in (open_legacy, open_port))
        lines = [*_table("port against legacy", legacy, port, PORT, batch)]
    with ExitStack() as opened:
        from modern.transformer.stack import open_stack as open_transformer

        artifact = options.root / "artifacts" / "modern"
        transformer = _enter(opened, open_transformer(artifact))
        plants = [f"{fault.kind}:{fault.checkpoint}" for fault in transformer.faults()]
        batch = batch.slice(0, options.layers)
        title = "transformer against itself"
        lines += [*_table(title, transformer, transformer, plants, batch)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "stacks.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _enter(opened: ExitStack, stack: Any) -> Any:
    return opened.enter_context(stack) if hasattr(stack, "__enter__") else stack


def _spread(logs: Path, day: date, requests: int) -> RequestBatch:
    whole = concat_batches(read_shard(shard).batch for shard in open_day(logs, day).shards)
    return whole.take(np.linspace(0, whole.num_requests - 1, requests).astype(np.int64))


def _table(
    title: str, reference: Stack, challenger: Stack, plants: Sequence[str], batch: RequestBatch
) -> list[str]:
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    recorded: dict[str, Trace] = {}
    lines = [f"## {title}", "", "| planted | ms | kind | told |", "| --- | --- | --- | --- |"]
    for text in plants:
        planted = plant(challenger, [parse_plant(text)])
        seen = _probed(_Remembering(reference, recorded), planted, batch, alignment)
        faults = find_faults(seen)
        if not faults:
            lines.append(f"| `{text}` | | | below the tolerance |")
        for fault in faults:
            start = time.process_time()
            found = diagnose(evidence_of(fault.checkpoint, seen))
            spent = 1e3 * (time.process_time() - start)
            told = "unexplained" if found is None else found.text
            kind = "" if found is None else found.kind
            lines.append(f"| `{text}` | {spent:.0f} | {kind} | {told} |")
        print(lines[-1], flush=True)
    return [*lines, ""]


class _Remembering:
    """A stack that scores one batch once."""

    def __init__(self, stack: Stack, recorded: dict[str, Trace]) -> None:
        self._stack, self._recorded = stack, recorded
        self.name, self.checkpoints = stack.name, stack.checkpoints

    def score(self, batch: RequestBatch, *, capture: Any) -> Trace:
        key = f"{batch.num_requests}:{batch.keys.request_ids[0]}"
        if batch.num_requests <= 2 * OF_EACH:
            return self._stack.score(batch, capture=capture)
        if key not in self._recorded:
            self._recorded[key] = self._stack.score(batch, capture=capture)
        return self._recorded[key]


def _probed(reference: Any, challenger: Stack, batch: RequestBatch, alignment: Alignment) -> Probe:
    """The probe of some diverging requests and as many agreeing ones."""
    whole = probe(reference, challenger, batch, alignment)
    hit = np.zeros(batch.num_requests, dtype=np.bool_)
    for fault in find_faults(whole):
        hit |= whole.requests(whole.local, fault.checkpoint)
    rng = np.random.default_rng(0)
    chosen = [rng.permutation(np.flatnonzero(mask))[:OF_EACH] for mask in (hit, ~hit)]
    places = np.sort(np.concatenate(chosen))
    if not hit.any() or len(places) == batch.num_requests:
        return whole
    return probe(reference, challenger, batch.take(places), alignment)


if __name__ == "__main__":
    main()
