"""The port once more: float64 beside float32, gradients of its sums, another number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from modern.port.stack import PortStack, open_stack
from replay.capabilities import Differentiates, Recomputes, Varies
from replay.errors import StackError
from tests.artifacts import write_artifact
from tests.builders import random_batch

BATCH = random_batch(8, 6, seed=4)
STEPS = ["regression.leaf_sum", "regression.category_sum", "logit", "pctr"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> PortStack:
    folder = tmp_path_factory.mktemp("port_numerics") / "legacy"
    return open_stack(write_artifact(folder, num_trees=30, depth=4))


def test_it_has_these_capabilities(stack: PortStack) -> None:
    for protocol in (Recomputes, Differentiates, Varies):
        assert isinstance(stack, protocol)


def test_float64_is_within_the_declared_bounds(stack: PortStack) -> None:
    narrow, wide = stack.score(BATCH, capture=STEPS), stack.recompute(BATCH, STEPS, {})

    for name in STEPS:
        bound = stack.checkpoints[name].rounding
        assert np.abs(narrow[name] - wide[name]).max() <= bound.absolute
        assert np.any(narrow[name] != wide[name])


def test_what_is_given_is_used(stack: PortStack) -> None:
    sums = stack.score(BATCH, capture=STEPS[:2])
    given = {STEPS[0]: sums[STEPS[0]] + np.float32(1)}

    moved, free = (stack.recompute(BATCH, STEPS, one) for one in (given, {}))

    assert moved["logit"] - free["logit"] == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(moved[STEPS[0]], free[STEPS[0]])
    with pytest.raises(StackError, match="'rank' is discrete"):
        stack.recompute(BATCH, ["rank"], {})


def test_the_logit_moves_as_its_sums_do(stack: PortStack) -> None:
    weights = np.linspace(-1, 1, BATCH.num_candidates)

    found = stack.gradients(BATCH, list(stack.checkpoints), weights)

    assert set(found) == {*STEPS[:2], "logit"}
    assert all(np.array_equal(one, weights) for one in found.values())


def test_two_threads_give_the_same_within_rounding(stack: PortStack) -> None:
    plain, varied = (
        stack.score(BATCH, capture=STEPS),
        stack.vary(stack.variations()[0], BATCH, STEPS),
    )

    for name in STEPS:
        np.testing.assert_allclose(plain[name], varied[name], atol=1e-6)
    with pytest.raises(StackError, match="nothing is called"):
        stack.vary("half as fast", BATCH, STEPS)
