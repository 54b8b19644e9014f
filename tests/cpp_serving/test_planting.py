"""Every fault a scorer offers really changes it, at the checkpoint it names and nowhere above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cpp_serving.stack import CppStack
from replay.capabilities import Fault, Plants
from replay.errors import ArtifactError, ConfigError
from replay.request import RequestBatch, concat_batches
from tests.artifacts import random_batch
from tests.builders import a_candidate, a_request, batch_of
from tests.cpp_serving.opened import exported, opened, with_feature

KINDS = {
    "bucket_edge_side", "hash_seed", "utc_offset", "rate_prior", "vocabulary_shift", "threshold_le",
    "nan_direction", "tree_limit", "weight_scale", "bias_dropped", "slope_scale",
}  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> CppStack:
    return opened(tmp_path_factory.mktemp("planting"), num_trees=20, depth=4)


def batch_on_split_points(stack: CppStack) -> RequestBatch:
    """Random requests, and one whose prices are the thresholds of the trees."""
    place = stack.tree_features().index("price")
    points = stack.split_points()[place]
    assert len(points) > 0
    on = a_request(
        "on", candidates=[a_candidate(i + 1, price=float(p)) for i, p in enumerate(points)]
    )
    return concat_batches([random_batch(60, 8, seed=9), batch_of(on)])


def test_each_fault_moves_its_checkpoint_and_nothing_above(stack: CppStack) -> None:
    batch = batch_on_split_points(stack)
    names = list(stack.checkpoints)
    sound = stack.score(batch, capture=names)
    assert isinstance(stack, Plants)
    assert {fault.kind for fault in stack.faults()} == KINDS
    for fault in stack.faults():
        planted = stack.planted(fault)
        trace = planted.score(batch, capture=names)
        label = f"{fault.kind}:{fault.checkpoint}"
        assert trace[fault.checkpoint].tobytes() != sound[fault.checkpoint].tobytes(), label
        moved = {name for name in names if trace[name].tobytes() != sound[name].tobytes()}
        assert moved <= {fault.checkpoint, *stack.checkpoints.descendants(fault.checkpoint)}, label
        # Given the sound inputs of every step, only the planted step differs.
        local = planted.score(batch, capture=names, given=dict(sound.values))
        differs = [name for name in names if local[name].tobytes() != sound[name].tobytes()]
        assert differs == [fault.checkpoint], label


def test_a_planted_stack_is_another_one_and_leaves_the_first_alone(stack: CppStack) -> None:
    batch = random_batch(5, 4, seed=1)
    before = stack.score(batch, capture=["pctr"])["pctr"].tobytes()
    faults = [fault for fault in stack.faults() if fault.kind in ("hash_seed", "weight_scale")]

    once = stack.planted(faults[0])
    twice = once.planted(faults[-1])

    digests = {s.identity().digest for s in (stack, once, twice)}
    assert len(digests) == 3
    assert stack.score(batch, capture=["pctr"])["pctr"].tobytes() == before
    assert twice.plants == tuple(f"{f.kind}:{f.checkpoint}" for f in (faults[0], faults[-1]))
    assert twice.checkpoints is stack.checkpoints


def test_two_code_faults_stand_together(stack: CppStack) -> None:
    edges = [fault for fault in stack.faults() if fault.kind == "bucket_edge_side"]
    assert len(edges) == 2
    batch = batch_of(
        a_request(context={"temperature": 10.0}, candidates=[a_candidate(1, price=19.5)])
    )

    both = stack.planted(edges[0]).planted(edges[1])

    sound = stack.score(batch, capture=[e.checkpoint for e in edges])
    trace = both.score(batch, capture=[e.checkpoint for e in edges])
    for edge in edges:
        assert trace[edge.checkpoint][0] == sound[edge.checkpoint][0] - 1


def test_a_fault_without_room_is_not_offered_and_refused(tmp_path: Path) -> None:
    stack = opened(
        tmp_path,
        features=[{"name": "price", "kind": "number", "source": "candidate.price"}],
        num_trees=1,
        depth=2,
    )

    kinds = {(fault.kind, fault.checkpoint) for fault in stack.faults()}

    assert not {kind for kind, _ in kinds} & {"hash_seed", "tree_limit", "vocabulary_shift"}
    assert ("weight_scale", "regression.category_sum") not in kinds
    fault = Fault(kind="hash_seed", checkpoint="features.x", where="configuration", says="")
    with pytest.raises(ConfigError, match=r"weight_scale:regression\.leaf_sum"):
        stack.planted(fault)


@pytest.mark.parametrize("vocabulary", [[0], [2**63 - 1], [0, 5, 2**63 - 1]])
def test_a_vocabulary_moves_at_the_ends_of_int64_too(tmp_path: Path, vocabulary: list[int]) -> None:
    stack = with_feature(
        tmp_path, {"kind": "id", "source": "candidate.advertiser_id", "vocabulary": vocabulary}
    )
    batch = batch_of(a_request(candidates=[a_candidate(1, advertiser_id=vocabulary[-1])]))
    fault = next(f for f in stack.faults() if f.kind == "vocabulary_shift")

    planted = stack.planted(fault)

    sound = stack.score(batch, capture=["encoded.f"])["encoded.f"]
    assert not np.array_equal(planted.score(batch, capture=["encoded.f"])["encoded.f"], sound)


def test_a_file_replaced_since_it_was_opened_is_refused(tmp_path: Path) -> None:
    stack = opened(tmp_path / "a")
    other = exported(tmp_path / "b", seed=1)
    other.replace(stack.path)

    with pytest.raises(ArtifactError, match="replaced"):
        stack.planted(stack.faults()[0])
