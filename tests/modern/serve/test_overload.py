"""The law of overload, with a real server whose capacity is known by construction."""

from __future__ import annotations

import asyncio
import json

from benchmarks.server_load.load import LOST, Target, offer_load, summary_of
from tests.modern.serve.served import logged_batch, serving
from tests.modern.serve.test_server import json_body, log  # noqa: F401 - a fixture

# 20 ms a candidate and 4 candidates on average: 13 requests a second at most, however batched. Slow,
# so that what else the machine does is small beside it.
ROW_MS = 20.0
DEADLINE_MS = 2000.0


def test_beyond_capacity_every_request_is_answered_and_those_admitted_in_time(log) -> None:  # noqa: F811
    bodies = [json.dumps(json_body(logged_batch(1, seed=seed))).encode() for seed in range(50)]
    options = json.dumps({"row_ms": ROW_MS})
    with serving("--like", str(log), "--options", options) as server:
        target = Target("127.0.0.1", server.port, "/v2/models/toy/infer", DEADLINE_MS)
        asyncio.run(offer_load(target, bodies, rate=8, seconds=2))  # it learns what a row costs
        before = server.memory_kib()

        outcomes = asyncio.run(offer_load(target, bodies, rate=60, seconds=6))

        grown = server.memory_kib() - before
        after, _ = server.infer(json_body(logged_batch(1)), {"X-Deadline-Ms": "5000"})
        counted = sum(
            server.counter(name) for name in ("answered", "shed_late", "shed_full", "late")
        )
    summary = summary_of(outcomes, deadline_ms=DEADLINE_MS)

    assert summary.sent == 360 and LOST not in summary.by_status
    assert set(summary.by_status) <= {200, 503, 504}
    answered = summary.by_status[200]
    # It goes on at capacity: 6 s are worth 80 requests; half of that on a busy machine.
    assert answered > 40
    assert summary.by_status[503] > 150
    assert summary.admitted_late <= 0.01 * answered + 3
    assert after == 200
    assert grown < 50_000
    assert counted == 360 + 16 + 1
