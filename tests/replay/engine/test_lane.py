"""Both sides score at once; requests that crash, hang or fail a side are found and listed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from replay.engine import isolation
from replay.engine.failures import MAX_DETAIL, Failure, StackRaisedError, detail_of
from replay.engine.lane import BothTraces, Lane, LaneSpec
from replay.engine.process import StackProcess
from replay.engine.trace_cache import CachedStack
from replay.errors import ArtifactError, LogError, StackError, WorkerError
from replay.registry import StackSpec
from replay.request import RequestBatch
from tests.replay.engine.descriptors import num_descriptors
from tests.replay.engine.requests import some_requests, toy_spec
from tests.replay.engine.toy_stack import EVERY, open_stack

MODULE = "tests.replay.engine.toy_stack"


def a_lane(
    reference: dict[str, object] | None = None,
    challenger: dict[str, object] | None = None,
    *,
    timeout_s: float = 60.0,
) -> Lane:
    return LaneSpec(
        reference=toy_spec("legacy", **(reference or {})),
        challenger=toy_spec("port", weight=0.2, **(challenger or {})),
        timeout_s=timeout_s,
    ).open()


def score(lane: Lane, batch: RequestBatch) -> BothTraces:
    return lane.score_both(batch, capture_reference=EVERY, capture_challenger=["logit", "rank"])


def assert_all_but(both: BothTraces, batch: RequestBatch, lost: list[str]) -> None:
    """The survivors' rows are bit for bit what the stacks give for them here."""
    kept = [
        place for place, id_ in enumerate(batch.keys.request_ids.to_pylist()) if id_ not in lost
    ]
    rest = batch.take(kept)
    assert both.batch.records.equals(rest.records)
    assert [failure.request_id for failure in both.failures] == lost
    reference = open_stack().score(rest, capture=EVERY)
    challenger = open_stack(weight=0.2).score(rest, capture=EVERY)
    for name in EVERY:
        assert both.reference[name].tobytes() == reference[name].tobytes()
    for name in ("logit", "rank"):
        assert both.challenger[name].tobytes() == challenger[name].tobytes()
    assert both.reference.keys.same_rows(rest.keys)
    assert both.challenger.keys.same_rows(rest.keys)


def test_both_sides_answer_for_the_same_rows() -> None:
    batch = some_requests(20)

    with a_lane() as lane:
        both = score(lane, batch)

    assert both.batch is batch
    assert (both.reference.stack, both.challenger.stack) == ("legacy", "port")
    assert set(both.challenger.values) == {"logit", "rank"}
    assert_all_but(both, batch, [])


def test_both_sides_work_at_the_same_time(tmp_path: Path) -> None:
    """Each waits, while it scores, for the other to score: one after the other would hang."""
    one, other = str(tmp_path / "one"), str(tmp_path / "other")

    with a_lane({"meet": [one, other]}, {"meet": [other, one]}, timeout_s=20.0) as lane:
        both = score(lane, some_requests(3))

    assert both.failures == ()


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"crash": ["r7"]}, "crashed", "stack 'port' exited with status 1 while scoring 1 request"),
        ({"hang": ["r7"]}, "hung", "stack 'port' gave no answer within 0.3 s while scoring 1 req"),
        ({"fail": ["r7"]}, "raised", "RuntimeError: no good: r7 of <object object at 0x...>"),
    ],
)
def test_a_request_that_fails_the_challenger_is_listed_and_all_others_are_scored(
    options: dict[str, object], kind: str, says: str
) -> None:
    batch = some_requests(20)

    with a_lane(challenger=options, timeout_s=3.0) as lane:
        both = score(lane, batch)
        again = score(lane, some_requests(5, prefix="x"))

    assert_all_but(both, batch, ["r7"])
    assert (both.failures[0].side, both.failures[0].kind) == ("challenger", kind)
    assert both.failures[0].detail.startswith(says)
    assert again.failures == ()


def test_requests_that_fail_either_side_are_each_listed_once() -> None:
    batch = some_requests(20)
    reference = {"crash": ["r3"], "fail": ["r4"]}
    challenger = {"fail": ["r3", "r19"], "crash": ["r0"]}

    with a_lane(reference, challenger) as lane:
        both = score(lane, batch)

    assert_all_but(both, batch, ["r0", "r3", "r4", "r19"])
    assert [(f.side, f.kind) for f in both.failures] == [
        ("challenger", "crashed"),
        ("both", "crashed"),
        ("reference", "raised"),
        ("challenger", "raised"),
    ]
    assert "exited with status 1" in both.failures[1].detail
    assert "no good: r3" in both.failures[1].detail


def test_a_small_batch_may_fail_whole() -> None:
    batch = some_requests(3)

    with a_lane(challenger={"fail": ["r0", "r1", "r2"]}) as lane:
        both = score(lane, batch)

    assert_all_but(both, batch, ["r0", "r1", "r2"])
    assert both.batch.num_requests == 0
    assert both.reference["gbdt.leaves"].shape == (0, 6)


def test_a_process_killed_between_batches_costs_nothing_but_a_restart() -> None:
    batch = some_requests(20)

    with a_lane() as lane:
        score(lane, batch)
        assert isinstance(lane.reference, StackProcess)
        os.kill(lane.reference.pid, signal.SIGKILL)
        both = score(lane, batch)

    assert_all_but(both, batch, [])


def test_a_process_killed_from_outside_leaves_its_batch_whole(tmp_path: Path) -> None:
    """A batch that is tried again as a whole gives the bits that a quiet replay gives."""
    calls = tmp_path / "calls"
    batch = some_requests(20)

    with a_lane(challenger={"calls": str(calls)}) as lane:
        assert isinstance(lane.challenger, StackProcess)
        os.kill(lane.challenger.pid, signal.SIGKILL)
        score(lane, batch)

    assert [line.split()[1] for line in calls.read_text().splitlines()] == ["20"]


def test_a_stack_that_raises_on_every_request_ends_the_replay_with_its_own_error(
    tmp_path: Path,
) -> None:
    calls = tmp_path / "calls"
    options = {"fail": [f"r{place}" for place in range(64)], "calls": str(calls)}

    with a_lane(challenger=options) as lane, pytest.raises(StackRaisedError, match="no good"):
        score(lane, some_requests(64))

    assert len(calls.read_text().splitlines()) == 1 + isolation.WITNESSES


def test_a_toolkit_error_on_every_request_ends_the_replay_as_itself() -> None:
    spec = LaneSpec(
        reference=toy_spec(),
        challenger=StackSpec(name="c", opener=f"{MODULE}:open_with_log_errors"),
    )

    with spec.open() as lane, pytest.raises(LogError, match="no field 'x'"):
        score(lane, some_requests(20))


def test_a_stack_that_crashes_on_every_request_is_not_restarted_for_each(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    options = {"crash": [f"r{place}" for place in range(64)], "calls": str(calls)}

    with a_lane(reference=options) as lane, pytest.raises(WorkerError, match="every request"):
        score(lane, some_requests(64))

    assert len(calls.read_text().splitlines()) == 2 + isolation.WITNESSES


def test_a_stack_that_crashes_too_often_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MAX_LOST_PER_BATCH", 1)

    with (
        a_lane(challenger={"crash": ["r1", "r3"]}) as lane,
        pytest.raises(WorkerError, match="more than 1 of 10 requests"),
    ):
        score(lane, some_requests(10))


def test_a_stack_that_can_not_be_started_again_ends_the_replay(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()

    with a_lane(challenger={"opens": str(key), "crash": ["r3"]}) as lane:
        key.unlink()
        with pytest.raises(WorkerError, match="exited with status 3 while opening"):
            score(lane, some_requests(10))
        assert isinstance(lane.reference, StackProcess)
        assert not lane.reference.is_alive


def test_an_unknown_checkpoint_is_wrong_use_and_no_finding() -> None:
    with a_lane() as lane:
        with pytest.raises(StackError, match="no checkpoint is called 'nothing'"):
            lane.score_both(
                some_requests(1), capture_reference=["logit"], capture_challenger=["nothing"]
            )

        assert score(lane, some_requests(1)).failures == ()


@pytest.mark.parametrize("broken", ["reference", "challenger"])
def test_a_side_that_can_not_be_opened_closes_the_other(tmp_path: Path, broken: str) -> None:
    bad = StackSpec(name="bad", opener=f"{MODULE}:open_stack", artifact=tmp_path / "none")
    sides = {"reference": toy_spec(), "challenger": toy_spec(), broken: bad}
    before = num_descriptors()

    with pytest.raises(ArtifactError):
        LaneSpec(**sides).open()

    assert num_descriptors() == before


def test_with_a_cache_only_the_reference_is_kept(tmp_path: Path) -> None:
    spec = LaneSpec(reference=toy_spec(), challenger=toy_spec(), cache=tmp_path / "traces")

    with spec.open() as lane:
        score(lane, some_requests(3))
        score(lane, some_requests(3))

        assert isinstance(lane.reference, CachedStack)
        assert lane.reference.counts.hits == 1
        assert isinstance(lane.challenger, StackProcess)


def test_a_crash_of_a_cached_reference_is_isolated_too(tmp_path: Path) -> None:
    batch = some_requests(20)
    spec = LaneSpec(
        reference=toy_spec(crash=["r5"]), challenger=toy_spec(weight=0.2), cache=tmp_path
    )

    with spec.open() as lane:
        assert_all_but(score(lane, batch), batch, ["r5"])
        assert_all_but(score(lane, batch), batch, ["r5"])


def test_a_failure_s_detail_is_one_short_line_without_addresses() -> None:
    error = StackError(f"a\n  b <X at 0x7f3a00aa> {'x' * 999}", where="", fix="")

    detail = detail_of(error)

    assert detail.startswith("a b <X at 0x...> xxx")
    assert len(detail) == MAX_DETAIL
    assert Failure(request_id="r", side="both", kind="raised", detail=detail).kind == "raised"
    assert np.char.count(detail, "\n") == 0
