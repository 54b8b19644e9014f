"""`parity replay` judges what a server answers, also one that is killed on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from replay.logs.writing import write_day
from tests.modern.serve.served import ROOT, SCHEMA, Server, logged_batch, serving

DAY = date(2019, 11, 30)
REQUESTS = 1100  # three row groups


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    table = pa.Table.from_batches([logged_batch(REQUESTS).records])
    write_day(folder / "logs", DAY, [table], schema=SCHEMA)
    return folder


def configure(folder: Path, server: Server) -> Path:
    """A parity.yaml in which the toy meets the server."""
    path = folder / f"parity-{server.port}.yaml"
    path.write_text(f"""
logs: logs
runs: runs
stacks:
  ours: {{open: "tests.modern.serve.served:open_stack"}}
  served:
    open: replay.adapters.open_inference:open_stack
    options: {{url: "{server.url}", model: toy, retry_s: 30}}
plans:
  - {{reference: ours, challenger: served, outputs: bounded, same_training: false}}
""")
    return path


def replaying(config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "parity", "replay", "--config", str(config), "--no-cache"),
            *("--date", DAY.isoformat(), "--reference", "ours", "--challenger", "served"),
            *("--format", "json"),
        ],
        cwd=config.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verdict_of(replay: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = replay.communicate(timeout=200)
    assert out, err
    verdict: dict[str, Any] = json.loads(out)
    return verdict


def test_a_server_killed_and_restarted_mid_replay_changes_nothing(workplace: Path) -> None:
    slow = ("--options", json.dumps({"row_ms": 0.3}), "--probe")
    with serving(*slow) as whole:
        undisturbed = verdict_of(replaying(configure(workplace, whole)))
    with serving(*slow) as first:
        replay = replaying(configure(workplace, first))
        deadline = time.monotonic() + 60
        while first.counter("answered") < 4:
            assert time.monotonic() < deadline and replay.poll() is None
            time.sleep(0.02)
        first.process.kill()
        first.process.wait()
        time.sleep(0.5)
        assert replay.poll() is None, "it was killed before the replay was over"
        with serving(*slow, port=first.port) as second:
            verdict = verdict_of(replay)
            again = second.counter("answered")

    assert again > 4
    assert verdict["verdict"] == undisturbed["verdict"] == "PARITY"
    assert verdict["report_digest"] == undisturbed["report_digest"]
    assert verdict["requests"]["compared"] == REQUESTS


def test_a_fault_behind_the_server_is_named_where_it_is(workplace: Path) -> None:
    options = ("--options", json.dumps({"scale": {"left": 1.01}}), "--probe")
    with serving(*options) as server:
        verdict = verdict_of(replaying(configure(workplace, server)))

    assert verdict["verdict"] == "DIVERGED"
    assert [cause["checkpoint"] for cause in verdict["causes"]] == ["left"]
