"""On a Ray cluster of two nodes the shards give what they give here, also when a node is lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replay.engine import local, on_ray
from replay.engine.journal import Journal
from replay.errors import ArtifactError, ConfigError, WorkerError
from replay.registry import StackSpec
from tests.replay.engine.requests import TOY, toy_spec
from tests.replay.engine.toy_work import (
    Breaks,
    Digests,
    EndsItsProcess,
    ToyShard,
    some_shards,
)

ray = pytest.importorskip("ray", reason="needs the [ray] extra")
pytestmark = [
    # Ray's own, about handles it leaves to the garbage collector and its future defaults.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SIDES = {
    "reference": toy_spec("legacy", fail=["part-00001.parquet#0:3"]),
    "challenger": toy_spec("port", weight=0.2, crash=["part-00002.parquet#0:5"]),
}


class TwoNodes:
    """A head without CPUs, so that work stands on the two others."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster: Any = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.nodes: list[Any] = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        self.cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        return str(self.cluster.address)


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[TwoNodes]:
    found = TwoNodes()
    yield found
    ray.shutdown()
    found.cluster.shutdown()


@pytest.fixture
def connected(two_nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch) -> TwoNodes:
    monkeypatch.setenv("RAY_ADDRESS", two_nodes.address)
    return two_nodes


def run(
    shards: list[ToyShard], work: Any, run_dir: Path, **options: Any
) -> list[tuple[ToyShard, bytes]]:
    options = {**SIDES, "workers": 2, **options}
    return list(on_ray.run_shards(shards, work, **options, journal=Journal(run_dir)))


def test_a_cluster_gives_the_bytes_of_a_local_run_failures_included(
    connected: TwoNodes, tmp_path: Path
) -> None:
    shards, seen = some_shards(6), tmp_path / "seen"
    here = list(local.run_shards(shards, Digests(), **SIDES, journal=Journal(tmp_path / "local")))

    there = run(shards, Digests(seen=seen, pause_s=0.2), tmp_path / "ray")

    assert there == here
    assert b'"crashed"' in here[2][1]
    places = Counter(seen.read_text().split()[1::2])
    assert len(places) == 2, "both nodes worked"
    assert not ray.is_initialized()


def test_what_a_local_run_finished_is_not_sent(connected: TwoNodes, tmp_path: Path) -> None:
    shards, seen = some_shards(4), tmp_path / "seen"
    first = list(local.run_shards(shards[:3], Digests(), **SIDES, journal=Journal(tmp_path)))

    second = run(shards, Digests(seen=seen), tmp_path)

    assert second[:3] == first
    assert seen.read_text().split()[::2] == [shards[3].id]


def test_an_opening_error_arrives_as_its_kind(connected: TwoNodes, tmp_path: Path) -> None:
    bad = StackSpec(name="bad", opener=TOY, artifact=tmp_path / "none")

    with pytest.raises(ArtifactError, match="there is no artifact"):
        run(some_shards(2), Digests(), tmp_path, challenger=bad)


def test_a_mistake_in_the_work_is_raised_as_it_is(connected: TwoNodes, tmp_path: Path) -> None:
    shards = some_shards(2)

    with pytest.raises(ZeroDivisionError):
        run(shards, Breaks(shard=shards[1].id), tmp_path)


def test_a_shard_whose_actor_ends_is_run_again_and_not_for_ever(
    connected: TwoNodes, tmp_path: Path
) -> None:
    shards = some_shards(4)
    once = EndsItsProcess(shard=shards[1].id, seen=tmp_path / "once", times=1)
    always = EndsItsProcess(shard=shards[1].id, seen=tmp_path / "always", times=99)

    results = run(shards, once, tmp_path / "a")

    assert [payload.decode() for _, payload in results] == [shard.id for shard in shards]
    with pytest.raises(WorkerError, match=f"{shards[1].id!r} ended 3 actors"):
        run(shards, always, tmp_path / "b")


def test_a_node_that_is_lost_midway_changes_nothing(connected: TwoNodes, tmp_path: Path) -> None:
    shards, seen = some_shards(6), tmp_path / "seen"
    here = list(local.run_shards(shards, Digests(), **SIDES, journal=Journal(tmp_path / "local")))

    def lose_a_node() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if seen.exists() and len(set(seen.read_text().split()[1::2])) == 2:
                break
            time.sleep(0.05)
        connected.cluster.remove_node(connected.nodes[1], allow_graceful=False)

    loser = threading.Thread(target=lose_a_node)
    loser.start()
    there = run(shards, Digests(seen=seen, pause_s=0.7), tmp_path / "ray")
    loser.join()

    assert there == here
    assert max(Counter(seen.read_text().split()[::2]).values()) == 2, "a shard was run again"


ALONE = """
import sys
from pathlib import Path
import ray
from replay.engine import on_ray
from replay.engine.journal import Journal
from tests.replay.engine.requests import toy_spec
from tests.replay.engine.toy_work import Digests, some_shards
results = on_ray.run_shards(some_shards(2), Digests(), reference=toy_spec(), challenger=toy_spec(),
                            workers=1, journal=Journal(Path(sys.argv[1])))
print([shard.id for shard, _ in results], ray.is_initialized())
"""


def test_without_a_cluster_one_is_started_and_ended(tmp_path: Path) -> None:
    """In a process of its own: one that went from cluster to cluster and back confuses Ray."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}

    found = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path)],
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.stdout.splitlines() == [f"{[shard.id for shard in some_shards(2)]} False"], found


def test_an_initialised_ray_is_used_and_left_running(two_nodes: TwoNodes, tmp_path: Path) -> None:
    ray.init(address=two_nodes.address, log_to_driver=False)

    results = run(some_shards(1), Digests(), tmp_path)

    assert len(results) == 1
    assert ray.is_initialized()


def test_an_address_without_a_cluster_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", _refuse)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")

    with pytest.raises(ConfigError, match="no Ray cluster can be used") as raised:
        run(some_shards(1), Digests(), tmp_path)

    assert "127.0.0.1:1" in raised.value.where


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(ConfigError, match="can not be imported") as raised:
        run(some_shards(1), Digests(), tmp_path)

    assert "[ray]" in raised.value.fix


def _refuse(**_: object) -> None:
    raise ConnectionError("nobody answers")
