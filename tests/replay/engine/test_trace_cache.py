"""What the reference recorded once is read the next time, bit for bit, or recorded again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from replay.engine.process import StackProcess
from replay.engine.trace_cache import CacheCounts, CachedStack
from replay.errors import ConfigError, StackError
from replay.registry import StackSpec, Wrapper
from replay.stack import Stack
from tests.replay.engine.requests import TOY, some_requests, toy_spec
from tests.replay.engine.toy_stack import EVERY


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    path = tmp_path / "calls"
    path.touch()
    return path


@pytest.fixture
def toy(calls: Path) -> Iterator[StackProcess]:
    with StackProcess(toy_spec(calls=str(calls))) as stack:
        yield stack


def num_calls(calls: Path) -> int:
    return len(calls.read_text().splitlines())


def same_stack(stack: Stack) -> Stack:
    return stack


def test_a_batch_is_scored_once_and_read_bit_for_bit(
    toy: StackProcess, calls: Path, tmp_path: Path
) -> None:
    batch, folder = some_requests(30), tmp_path / "traces"
    first = CachedStack(toy, folder=folder).score(batch, capture=EVERY)
    assert num_calls(calls) == 1

    again = CachedStack(toy, folder=folder)
    second = again.score(some_requests(30), capture=tuple(reversed(EVERY)))

    assert num_calls(calls) == 1
    assert again.counts == CacheCounts(hits=1)
    assert isinstance(again, Stack)
    assert second.stack == first.stack
    for name in EVERY:
        assert second[name].dtype == first[name].dtype
        assert second[name].tobytes() == first[name].tobytes()
        assert not second[name].flags.writeable


def test_another_batch_or_capture_or_given_is_scored(
    toy: StackProcess, calls: Path, tmp_path: Path
) -> None:
    batch = some_requests(5)
    stack = CachedStack(toy, folder=tmp_path / "traces")
    stack.score(batch, capture=["logit"])

    stack.score(some_requests(5, seed=1), capture=["logit"])
    stack.score(batch, capture=["logit", "pctr"])
    for _ in range(2):
        given = {"logit": np.zeros(batch.num_candidates, np.float32)}
        stack.score(batch, capture=["logit"], given=given)

    assert num_calls(calls) == 5
    assert len(list((tmp_path / "traces").iterdir())) == 3


def test_another_weight_wrapper_or_thread_count_is_another_stack(tmp_path: Path) -> None:
    batch = some_requests(3)
    wrapper = Wrapper(function=f"{__name__}:same_stack")
    specs = [
        (toy_spec(), 1),
        (toy_spec(weight=0.3), 1),
        (StackSpec(name="toy", opener=TOY, wrappers=(wrapper,)), 1),
        (toy_spec(), 2),
    ]

    for spec, threads in specs:
        with StackProcess(spec, threads=threads) as inner:
            stack = CachedStack(inner, folder=tmp_path)
            stack.score(batch, capture=["logit"])
            assert stack.counts == CacheCounts(misses=1)


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "exchanged"])
def test_a_damaged_file_is_recorded_again(
    toy: StackProcess, calls: Path, tmp_path: Path, damage: str
) -> None:
    batch, folder = some_requests(9), tmp_path / "traces"
    stack = CachedStack(toy, folder=folder)
    first = stack.score(batch, capture=EVERY)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "changed":
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        stack.score(some_requests(9, seed=1), capture=EVERY)
        (other,) = set(folder.iterdir()) - {path}
        path.write_bytes(other.read_bytes())
    before = num_calls(calls)

    second = stack.score(batch, capture=EVERY)

    assert stack.counts.damaged == 1
    assert num_calls(calls) == before + 1
    assert path.read_bytes() == data
    assert all(second[name].tobytes() == first[name].tobytes() for name in EVERY)


def test_the_files_longest_unused_make_room(toy: StackProcess, tmp_path: Path) -> None:
    folder = tmp_path / "traces"
    stack = CachedStack(toy, folder=folder)
    batches = [some_requests(9, seed=seed) for seed in range(4)]
    paths = []
    for age, batch in enumerate(batches[:3]):
        stack.score(batch, capture=EVERY)
        (path,) = set(folder.iterdir()) - set(paths)
        os.utime(path, (1000 + age, 1000 + age))
        paths.append(path)
    stack.score(batches[0], capture=EVERY)
    limit = sum(path.stat().st_size for path in paths) + 1

    CachedStack(toy, folder=folder, limit_bytes=limit).score(batches[3], capture=EVERY)

    left = set(folder.iterdir())
    assert paths[0] in left, "read just now"
    assert paths[1] not in left, "longest unused"
    assert sum(path.stat().st_size for path in left) <= limit


def test_a_disk_that_refuses_costs_the_cache_and_not_the_replay(
    toy: StackProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "traces"
    stack = CachedStack(toy, folder=folder)
    folder.rmdir()

    trace = stack.score(some_requests(3), capture=["logit"])

    assert trace["logit"].size
    assert stack.counts == CacheCounts(misses=1, unwritten=1)


def test_a_folder_that_can_not_be_made_is_told(toy: StackProcess, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="can not be kept"):
        CachedStack(toy, folder=tmp_path / "file" / "traces")


def test_it_passes_on_what_the_stack_says_and_refuses(toy: StackProcess, tmp_path: Path) -> None:
    stack = CachedStack(toy, folder=tmp_path / "traces")

    assert stack.name == toy.name
    assert stack.checkpoints is toy.checkpoints
    assert stack.identity() == toy.identity()
    assert stack.faults() == toy.faults()
    with pytest.raises(StackError, match="no checkpoint"):
        stack.score(some_requests(1), capture=["nothing"])
