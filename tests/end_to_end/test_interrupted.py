"""A replay that is killed goes on where it was, and its report is that of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.end_to_end.workplace import DAY, ROOT, Workplace


def test_a_killed_replay_resumes_and_counts_every_request_once(
    workplace: Workplace, tmp_path: Path
) -> None:
    arguments = ("--out", tmp_path / "whole", "--plant", "scale:features.price")
    whole = workplace.replay("cpp", *arguments)
    killed = _killed_after_one_shard(workplace, tmp_path / "killed")

    resumed = workplace.replay("cpp", "--resume", killed, "--plant", "scale:features.price")

    assert (resumed.code, resumed.causes) == (1, ["features.price"])
    assert resumed.verdict["run"]["resumed"] >= 1
    assert not (killed / "journal").exists()
    assert resumed.verdict["report_digest"] == whole.verdict["report_digest"]


def test_another_replay_does_not_go_on_with_it(workplace: Workplace, tmp_path: Path) -> None:
    killed = _killed_after_one_shard(workplace, tmp_path / "killed")

    other = workplace.replay("cpp", "--resume", killed, "--plant", "scale:logit")

    assert other.code == 2
    assert "where:" in other.err


def _killed_after_one_shard(workplace: Workplace, out: Path) -> Path:
    """The directory of a replay whose every process was killed once a shard was finished."""
    command = [
        sys.executable, "-m", "parity", "replay", "--date", DAY, "--reference", "legacy",
        "--challenger", "cpp", "--out", str(out), "--plant", "scale:features.price", "--no-cache",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=workplace.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as replay:
        deadline = time.monotonic() + 120
        while not (shards := list(out.glob("*/journal/*.shard"))):
            assert replay.poll() is None, "the replay ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(replay.pid, signal.SIGKILL)
    return shards[0].parents[1]
