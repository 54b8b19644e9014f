"""Every fault that can be planted really changes its checkpoint, and there alone."""

from __future__ import annotations

import numpy as np
import pytest

from modern.port.stack import PortStack, open_stack
from replay.capabilities import Fault
from replay.errors import ConfigError
from replay.trace import Array
from tests.artifacts import write_artifact
from tests.builders import random_batch

BATCH = random_batch(40, 6, seed=8)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> PortStack:
    return open_stack(
        write_artifact(tmp_path_factory.mktemp("port_faults") / "legacy", num_trees=40, depth=5)
    )


def on_the_thresholds(stack: PortStack) -> dict[str, Array]:
    """Real features drawn from their own split points, a tenth missing, for the trees' faults."""
    rng = np.random.default_rng(1)
    given = {}
    for name, points in zip(stack.tree_features(), stack.split_points(), strict=True):
        checkpoint = stack.checkpoints[f"features.{name}"]
        drawn = rng.choice(points, BATCH.keys.num_rows(checkpoint.rows)).astype(np.float32)
        drawn[rng.random(len(drawn)) < 0.1] = np.nan
        given[checkpoint.name] = drawn
    return given


def differing(stack: PortStack, other: PortStack, given: dict[str, Array]) -> set[str]:
    everything = list(stack.checkpoints)
    a = stack.score(BATCH, capture=everything, given=given)
    b = other.score(BATCH, capture=everything, given=given)
    return {
        name
        for name in everything
        if not np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f")
    }


def test_each_fault_is_found_where_it_says_and_nowhere_else(stack: PortStack) -> None:
    """With everything given from the plain stack, only the faulty step can differ."""
    everything, without_effect = list(stack.checkpoints), set()
    reals = on_the_thresholds(stack)
    plain = stack.score(BATCH, capture=everything)
    at_thresholds = stack.score(BATCH, capture=everything, given=reals).values | reals

    for fault in stack.faults():
        given = at_thresholds if fault.checkpoint == "gbdt.leaves" else plain.values

        found = differing(stack, stack.planted(fault), dict(given))

        assert found <= {fault.checkpoint}, fault
        if not found:
            without_effect.add((fault.kind, fault.checkpoint))

    # Whole numbers, texts without capitals and a batch without ties have nothing to lose.
    assert without_effect == {
        ("integer_column", "features.slot"), ("integer_column", "features.fresh"),
        ("stored_float16", "features.fresh"), ("hash_case", "features.member_hash"),
        ("tie_order", "rank"),
    }  # fmt: skip


def test_tied_candidates_are_ranked_otherwise(stack: PortStack) -> None:
    tied = {"ecpm_micros": np.ones(BATCH.num_candidates)}
    fault = next(fault for fault in stack.faults() if fault.kind == "tie_order")

    assert differing(stack, stack.planted(fault), tied) == {"rank"}


def test_the_faults_promised_are_there(stack: PortStack) -> None:
    kinds = {fault.kind for fault in stack.faults()}

    assert kinds >= {
        "bucket_edge_side", "hash_seed", "hash_encoding", "log_for_log1p", "utc_offset",
        "unknown_id_forgotten", "threshold_le", "float64_thresholds", "nan_direction",
        "tree_limit", "weight_scale",
    }  # fmt: skip
    assert len(kinds) > 70
    assert {fault.where for fault in stack.faults()} == {"code", "configuration", "artifact"}


def test_planting_changes_a_copy_and_its_identity(stack: PortStack) -> None:
    everything = list(stack.checkpoints)
    before = stack.score(BATCH, capture=everything)
    digests = {stack.identity().digest}

    for fault in stack.faults():
        digests.add(stack.planted(fault).identity().digest)

    after = stack.score(BATCH, capture=everything)
    assert len(digests) == 1 + len(stack.faults())
    for name in everything:
        np.testing.assert_array_equal(before[name], after[name])


def test_several_faults_stand_side_by_side(stack: PortStack) -> None:
    wanted = [
        ("hash_seed", "features.cross"),
        ("hash_encoding", "features.title_hash"),
        ("nan_direction", "gbdt.leaves"),
        ("tree_limit", "regression.leaf_sum"),
        ("weight_scale", "regression.category_sum"),
    ]
    plain = stack.score(BATCH, capture=list(stack.checkpoints))
    other = stack
    for fault in stack.faults():
        if (fault.kind, fault.checkpoint) in wanted:
            other = other.planted(fault)

    found = differing(stack, other, dict(plain.values))

    assert found == {checkpoint for _, checkpoint in wanted}
    assert len(other.plants) == 5


def test_an_unknown_fault_is_refused_with_those_there_are(stack: PortStack) -> None:
    fault = Fault(kind="hash_seed", checkpoint="features.price", where="code", says="")

    with pytest.raises(ConfigError, match=r"hash_seed:features\.cross"):
        stack.planted(fault)
