"""Every shard is replayed exactly once, in order, however many workers and kills there are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from replay.engine.journal import Journal
from replay.engine.lane import LaneSpec
from replay.engine.local import run_shards
from replay.errors import ArtifactError, ConfigError
from replay.registry import StackSpec
from tests.replay.engine.descriptors import num_descriptors
from tests.replay.engine.requests import TOY, toy_spec
from tests.replay.engine.toy_work import Breaks, Digests, ToyShard, some_shards

REFERENCE, CHALLENGER = toy_spec("legacy"), toy_spec("port", weight=0.2)


def run(
    shards: list[ToyShard], work: object, run_dir: Path, **options: object
) -> list[tuple[ToyShard, bytes]]:
    sides = {"reference": REFERENCE, "challenger": CHALLENGER}
    journal = Journal(run_dir)
    return list(run_shards(shards, work, **{**sides, **options}, journal=journal))


def test_results_come_in_the_order_of_the_shards_however_many_workers(tmp_path: Path) -> None:
    shards = some_shards(9)

    one = run(shards, Digests(), tmp_path / "one", workers=1)
    two = run(shards, Digests(), tmp_path / "two", workers=2)

    assert [shard for shard, _ in one] == shards
    assert one == two
    assert len({payload for _, payload in one}) == 9


def test_results_are_the_same_with_a_cold_and_a_warm_cache_and_without(tmp_path: Path) -> None:
    shards, cache = some_shards(3), tmp_path / "traces"

    plain = run(shards, Digests(), tmp_path / "plain")
    cold = run(shards, Digests(), tmp_path / "cold", cache=cache)
    warm = run(shards, Digests(), tmp_path / "warm", cache=cache)

    assert plain == cold == warm
    assert len(list(cache.iterdir())) == 3


def test_finished_shards_need_no_stack(tmp_path: Path) -> None:
    shards = some_shards(3)
    first = run(shards, Digests(), tmp_path)
    nothing = StackSpec(name="legacy", opener="tests.nowhere:open_stack")

    second = run(shards, Digests(), tmp_path, reference=nothing, challenger=nothing)

    assert first == second


def test_a_lent_lane_is_used_and_left_open(tmp_path: Path) -> None:
    nothing = StackSpec(name="legacy", opener="tests.nowhere:open_stack")

    with LaneSpec(reference=REFERENCE, challenger=CHALLENGER).open() as lane:
        results = run(
            some_shards(3), Digests(), tmp_path, reference=nothing, challenger=nothing, lane=lane
        )
        assert lane.reference.is_alive

    assert len(results) == 3


def test_a_stack_that_can_not_be_opened_ends_the_run_before_any_work(tmp_path: Path) -> None:
    bad = StackSpec(name="bad", opener=TOY, artifact=tmp_path / "none")

    with pytest.raises(ArtifactError):
        run(some_shards(9), Digests(), tmp_path, challenger=bad, workers=2)

    assert not list((tmp_path / "journal").glob("*.shard"))


def test_a_mistake_in_the_work_is_raised_as_it_is_and_ends_the_lanes(tmp_path: Path) -> None:
    shards = some_shards(9)
    before = num_descriptors()

    with pytest.raises(ZeroDivisionError, match=shards[4].id):
        run(shards, Breaks(shard=shards[4].id), tmp_path, workers=2)

    assert num_descriptors() == before


def test_a_reader_who_stops_early_ends_the_lanes(tmp_path: Path) -> None:
    before = num_descriptors()
    results = run_shards(
        some_shards(9),
        Digests(),
        reference=REFERENCE,
        challenger=CHALLENGER,
        workers=2,
        journal=Journal(tmp_path),
    )

    next(results)
    results.close()

    assert num_descriptors() == before


def test_no_workers_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 workers"):
        run([], Digests(), tmp_path, workers=0)


RUN = """
import sys
from pathlib import Path
from replay.engine.journal import Journal
from replay.engine.local import run_shards
from tests.replay.engine.test_local import REFERENCE, CHALLENGER
from tests.replay.engine.toy_work import Digests, some_shards
folder = Path(sys.argv[1])
work = Digests(seen=folder / "seen", pause_s=0.05)
for shard, _ in run_shards(some_shards(12), work, reference=REFERENCE, challenger=CHALLENGER,
                           workers=2, journal=Journal(folder, fingerprint="f")):
    print(shard.id, flush=True)
"""


def test_a_killed_run_resumes_and_counts_each_request_once(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as killed:
        assert killed.stdout is not None
        for _ in range(3):
            killed.stdout.readline()
        killed.send_signal(signal.SIGKILL)
    seen = tmp_path / "seen"
    replayed_before = set(seen.read_text().split()[::2])
    finished_before = len(list((tmp_path / "journal").glob("*.shard")))
    assert 3 <= finished_before < 12
    # Late workers of the killed run write nothing any more.
    time.sleep(0.2)
    seen.write_text("")

    work = Digests(seen=seen)
    journal = Journal(tmp_path, fingerprint="f")
    results = list(
        run_shards(
            some_shards(12), work, reference=REFERENCE, challenger=CHALLENGER, journal=journal
        )
    )

    again = Counter(seen.read_text().split()[::2])
    assert len(again) == 12 - finished_before
    assert set(again.values()) == {1}
    assert len(replayed_before | set(again)) == 12
    quiet = run(some_shards(12), Digests(), tmp_path / "quiet")
    assert results == quiet
    with pytest.raises(ConfigError, match="another replay"):
        Journal(tmp_path, fingerprint="g")


STUCK = """
import signal
import sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from replay.engine.journal import Journal
from replay.engine.local import run_shards
from tests.replay.engine.requests import toy_spec
from tests.replay.engine.toy_work import Digests, some_shards
folder = Path(sys.argv[1])
stuck = toy_spec(hang=["part-00000.parquet#0:0"], calls=str(folder / "calls"))
for _ in run_shards(some_shards(2), Digests(), reference=stuck, challenger=stuck,
                    journal=Journal(folder)):
    pass
"""


def test_an_interrupt_ends_a_run_whose_stacks_hang(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    calls = tmp_path / "calls"
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, str(tmp_path)], stderr=subprocess.PIPE, env=environment
    ) as stuck:
        while not calls.exists() or len(calls.read_text().splitlines()) < 2:
            time.sleep(0.05)

        stuck.send_signal(signal.SIGINT)

        assert stuck.stderr is not None
        assert b"KeyboardInterrupt" in stuck.communicate(timeout=30)[1]
    for line in calls.read_text().splitlines():
        assert not Path(f"/proc/{line.split()[0]}").exists()
