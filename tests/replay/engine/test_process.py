"""A stack in its own process answers as it would in this one, and fails without taking us along."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from replay.engine.failures import StackRaisedError, WorkerCrashedError, WorkerHungError
from replay.engine.process import StackProcess
from replay.errors import ArtifactError, ConfigError, LogError, StackError, WorkerError
from replay.registry import StackSpec, Wrapper
from replay.stack import Stack
from replay.threads import VARIABLES
from tests.replay.engine.descriptors import num_descriptors
from tests.replay.engine.requests import some_requests, toy_spec
from tests.replay.engine.toy_stack import CHECKPOINTS, EVERY, open_stack

MODULE = "tests.replay.engine.toy_stack"


@pytest.fixture(scope="module")
def toy() -> Iterator[StackProcess]:
    with StackProcess(toy_spec("legacy"), threads=3) as stack:
        yield stack


def exists(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not exists(pid) or "Z (zombie)" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.02)
    return False


def test_it_is_a_stack_with_the_declared_checkpoints(toy: StackProcess) -> None:
    assert isinstance(toy, Stack)
    assert toy.name == "legacy"
    assert tuple(toy.checkpoints.values()) == CHECKPOINTS
    assert [fault.kind for fault in toy.faults()] == ["heavier"]


def test_its_bits_are_those_of_the_stack_in_this_process(toy: StackProcess) -> None:
    batch = some_requests(40)
    here = open_stack().score(batch, capture=EVERY)

    there = toy.score(batch, capture=EVERY)

    assert there.keys is batch.keys
    assert list(there.values) == list(EVERY)
    for name in EVERY:
        assert there[name].dtype == here[name].dtype
        assert there[name].tobytes() == here[name].tobytes()
        assert not there[name].flags.writeable


def test_given_values_travel_and_are_used(toy: StackProcess) -> None:
    batch = some_requests(12)
    given = {
        "features.hour": np.arange(12, dtype=np.float32),
        "logit": np.linspace(-9, 9, batch.num_candidates, dtype=np.float32),
    }
    here = open_stack().score(batch, capture=EVERY, given=given)

    there = toy.score(batch, capture=EVERY, given=given)

    assert all(there[name].tobytes() == here[name].tobytes() for name in EVERY)
    assert np.array_equal(there["pctr"], 1 / (1 + np.exp(-given["logit"])))


@pytest.mark.parametrize("limit", [1, 200, 1000])
def test_a_batch_that_captures_too_much_is_scored_in_pieces_with_the_same_result(
    tmp_path: Path, limit: int
) -> None:
    batch = some_requests(12)
    given = {"gbdt.leaves": np.ones((batch.num_candidates, 6), np.int32)}
    whole = open_stack().score(batch, capture=EVERY, given=given)
    calls = tmp_path / "calls"

    with StackProcess(toy_spec(calls=str(calls)), capture_bytes=limit) as stack:
        found = stack.score(batch, capture=EVERY, given=given)

    assert len(calls.read_text().splitlines()) > 1
    assert all(found[name].tobytes() == whole[name].tobytes() for name in EVERY)
    assert not any(found[name].flags.writeable for name in EVERY)


def test_an_empty_batch_and_an_empty_capture_need_no_stack(tmp_path: Path) -> None:
    calls = tmp_path / "calls"

    with StackProcess(toy_spec(calls=str(calls))) as stack:
        empty = stack.score(some_requests(2).slice(0, 0), capture=EVERY)
        nothing = stack.score(some_requests(2), capture=())

    assert empty["gbdt.leaves"].shape == (0, 6)
    assert dict(nothing.values) == {}
    assert not calls.exists()


def test_its_identity_records_the_threads_of_its_process(toy: StackProcess) -> None:
    identity = toy.identity()

    assert identity.threads == dict.fromkeys(VARIABLES, "3")
    assert identity.versions == {"numpy": np.__version__}
    assert identity.digest == open_stack().identity().digest


def test_an_unknown_checkpoint_is_refused_before_anything_is_sent(toy: StackProcess) -> None:
    with pytest.raises(StackError, match="no checkpoint is called 'logits'"):
        toy.score(some_requests(1), capture=["logits"])


def test_given_that_does_not_fit_is_refused(toy: StackProcess) -> None:
    with pytest.raises(StackError, match="can not be given"):
        toy.score(some_requests(1), capture=["logit"], given={"rank": np.zeros(1, np.int32)})


def test_its_usage_counts_processes_that_ended(toy: StackProcess) -> None:
    toy.score(some_requests(1), capture=["logit"])
    before = toy.usage()

    toy.restart()
    toy.score(some_requests(1), capture=["logit"])

    assert toy.usage().cpu_s > before.cpu_s > 0
    assert 10 << 20 < before.peak_rss_bytes < 1 << 30


def test_an_opening_error_arrives_as_the_kind_it_was_raised_with(tmp_path: Path) -> None:
    spec = StackSpec(name="toy", opener=f"{MODULE}:open_stack", artifact=tmp_path / "none")

    with pytest.raises(ArtifactError, match="there is no artifact") as raised:
        StackProcess(spec)

    assert raised.value.fix == "train one"


@pytest.mark.parametrize("opener", ["tests.nowhere:open_stack", f"{MODULE}:nothing", "no_colon"])
def test_an_opener_that_can_not_be_imported_is_a_configuration_error(opener: str) -> None:
    with pytest.raises(ConfigError, match="can not be imported"):
        StackProcess(StackSpec(name="toy", opener=opener))


def test_an_opener_that_raises_is_told_with_its_frames() -> None:
    spec = StackSpec(name="toy", opener=f"{MODULE}:open_without_a_file")

    with pytest.raises(StackRaisedError, match="FileNotFoundError") as raised:
        StackProcess(spec)

    assert "open_without_a_file" in raised.value.where


def test_an_opener_that_ends_its_process_is_told_with_its_output() -> None:
    spec = StackSpec(name="toy", opener=f"{MODULE}:open_noisily")

    with pytest.raises(WorkerCrashedError, match="killed by SIGABRT while opening") as raised:
        StackProcess(spec)

    assert "loading the weights" in raised.value.where
    assert "native chatter" in raised.value.where


def test_an_option_that_is_no_plain_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="no plain value"):
        StackProcess(toy_spec(calls=Path("x")))


def test_a_stack_that_reorders_rows_broke_its_contract() -> None:
    with (
        StackProcess(StackSpec(name="toy", opener=f"{MODULE}:open_shuffled")) as stack,
        pytest.raises(StackError, match="rows are not the batch's"),
    ):
        stack.score(some_requests(3), capture=EVERY)


def test_an_exception_leaves_the_process_usable() -> None:
    with StackProcess(toy_spec(fail=["r1"])) as stack:
        with pytest.raises(StackRaisedError, match="RuntimeError: no good: r1"):
            stack.score(some_requests(3), capture=EVERY)

        assert stack.score(some_requests(1), capture=["rank"])["rank"].size


def test_a_toolkit_error_of_the_stack_keeps_its_kind() -> None:
    with (
        StackProcess(StackSpec(name="toy", opener=f"{MODULE}:open_with_log_errors")) as stack,
        pytest.raises(LogError, match="no field 'x'"),
    ):
        stack.score(some_requests(3), capture=EVERY)


def test_a_crash_is_told_with_its_status_and_output_and_mended_by_a_restart() -> None:
    with StackProcess(toy_spec(crash=["r1"])) as stack:
        with pytest.raises(WorkerCrashedError, match="exited with status 1 while scoring 3") as e:
            stack.score(some_requests(3), capture=EVERY)
        assert "about to leave" in e.value.where
        assert not stack.is_alive
        with pytest.raises(WorkerCrashedError):
            stack.score(some_requests(1), capture=EVERY)

        stack.restart()

        assert stack.score(some_requests(1), capture=["rank"])["rank"].size


def test_a_hang_ends_after_the_allowed_time() -> None:
    with StackProcess(toy_spec(hang=["r1"]), timeout_s=3.0) as stack:
        started = time.monotonic()
        with pytest.raises(WorkerHungError, match=r"no answer within 0\.3 s"):
            stack.score(some_requests(2), capture=EVERY, time_share=0.01)

        assert time.monotonic() - started < 3
        assert not exists(stack.pid)


def test_an_artifact_that_changes_during_a_replay_is_refused(tmp_path: Path) -> None:
    artifact = tmp_path / "weights"
    artifact.write_text("1")
    spec = StackSpec(name="toy", opener=f"{MODULE}:open_stack", artifact=artifact)

    with StackProcess(spec) as stack:
        artifact.write_text("2")
        with pytest.raises(ArtifactError, match="not what it was"):
            stack.restart()
        assert not stack.is_alive


def test_a_closed_stack_ends_its_process_and_does_not_start_again() -> None:
    stack = StackProcess(toy_spec())
    pid = stack.pid

    stack.close()
    stack.close()

    assert not exists(pid)
    with pytest.raises(WorkerError, match="was closed"):
        stack.restart()


def test_closing_from_another_thread_ends_a_call_that_hangs() -> None:
    stack = StackProcess(toy_spec(hang=["r0"]))
    closer = threading.Timer(0.3, stack.close)
    closer.start()

    with pytest.raises(WorkerError):
        stack.score(some_requests(1), capture=EVERY)

    closer.join()
    assert not exists(stack.pid)


def test_many_calls_and_restarts_leave_no_descriptor_open(toy: StackProcess) -> None:
    batch = some_requests(3)
    given = {"logit": np.zeros(batch.num_candidates, np.float32)}
    toy.score(batch, capture=EVERY, given=given)
    gc.collect()
    here = num_descriptors()
    there = num_descriptors(toy.pid)

    for _ in range(50):
        toy.score(batch, capture=EVERY, given=given)
    # The worker closes its last answer's memory a moment after it was received here.
    assert num_descriptors(toy.pid) <= there + 1
    toy.restart()
    toy.score(batch, capture=EVERY)

    assert num_descriptors() == here


OWNER = """
import sys
from replay.engine.process import StackProcess
from tests.replay.engine.requests import some_requests, toy_spec
stack = StackProcess(toy_spec(hang=["r0"]))
print(stack.pid, flush=True)
stack.score(some_requests(int(sys.argv[1])), capture=["logit"])
sys.stdin.read()
"""


@pytest.mark.parametrize("busy", [0, 1], ids=["idle", "busy"])
def test_a_worker_ends_when_its_owner_is_killed(busy: int) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(busy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        time.sleep(0.3)
        assert exists(pid)

        owner.send_signal(signal.SIGKILL)

    assert wait_until_gone(pid)


def test_wrappers_are_exchanged_without_a_new_process(toy: StackProcess) -> None:
    batch, pid = some_requests(3), toy.pid
    bare = toy.score(batch, capture=EVERY)

    toy.wrap(Wrapper(function=f"{MODULE}:heavier"))
    heavier = toy.score(batch, capture=EVERY)
    toy.wrap()

    assert toy.pid == pid
    assert not np.array_equal(heavier["logit"], bare["logit"])
    again = toy.score(batch, capture=EVERY)
    for name in EVERY:
        np.testing.assert_array_equal(again[name], bare[name])


def test_a_wrapper_that_can_not_be_put_leaves_the_others(toy: StackProcess) -> None:
    with pytest.raises(ConfigError, match="can not be imported"):
        toy.wrap(Wrapper(function="nowhere:none"))

    assert toy.score(some_requests(1), capture=EVERY)
