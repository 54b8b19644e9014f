"""Capabilities across processes: the same arrays, in pieces too, and none where there are none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from replay.adapters.model_stack import ModelStack
from replay.adapters.torch_module import open_stack
from replay.capabilities import Differentiates
from replay.engine.capability_calls import describing, differentiating, recomputing, varying
from replay.engine.process import StackProcess
from replay.errors import StackError
from replay.registry import StackSpec
from tests.builders import random_batch
from tests.replay.adapters.opened import MODELS, OPTIONS

MODULE = {"module": f"{MODELS}:transformer", "logit": "return", **OPTIONS}
BATCH = random_batch(10, 5, seed=8)


@pytest.fixture(scope="module")
def here() -> ModelStack:
    return open_stack(**MODULE)


@pytest.fixture(scope="module")
def there() -> Iterator[StackProcess]:
    spec = StackSpec(name="there", opener="replay.adapters.torch_module:open_stack", options=MODULE)
    with StackProcess(spec) as process:
        yield process


@pytest.mark.parametrize("capture_bytes", [1 << 28, 40_000])
def test_the_same_arrays_come_over_whole_and_in_pieces(
    here: ModelStack, there: StackProcess, capture_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(there, "capture_bytes", capture_bytes)
    names = ["features.age", "layers.0.mlp", "logit"]
    weights = np.linspace(-1, 1, BATCH.num_candidates)
    given = {"norm": here.score(BATCH, capture=["norm"])["norm"] + np.float32(1)}
    assert isinstance(here, Differentiates)

    found = [
        recomputing(there).recompute(BATCH, names, given),
        differentiating(there).gradients(BATCH, names, weights),
        varying(there).vary("2 threads", BATCH, names, given).values,
    ]

    wanted = [
        here.recompute(BATCH, names, given),
        here.gradients(BATCH, names, weights),
        here.vary("2 threads", BATCH, names, given).values,
    ]
    for theirs, ours in zip(found, wanted, strict=True):
        assert set(theirs) == set(ours)
        for name, array in ours.items():
            np.testing.assert_allclose(theirs[name], array, rtol=1e-6)
            assert theirs[name].dtype == array.dtype
    assert varying(there).variations() == here.variations()


def test_weights_and_configuration_come_over(here: ModelStack, there: StackProcess) -> None:
    described = describing(there)

    assert dict(described.configuration()) == dict(here.configuration())
    for name, array in here.weights().items():
        np.testing.assert_array_equal(described.weights()[name], array)


def test_a_refusal_comes_over_as_it_was_raised(there: StackProcess) -> None:
    with pytest.raises(StackError, match="'rank' is discrete"):
        recomputing(there).recompute(BATCH, ["rank"], {})


def test_a_stack_that_can_do_nothing_more_is_asked_for_nothing() -> None:
    spec = StackSpec(name="toy", opener="tests.toys:open_stack")
    with StackProcess(spec) as toy:
        for asked in (recomputing, differentiating, varying, describing):
            assert asked(toy) is None


def test_a_stack_in_this_process_is_asked_itself(here: ModelStack) -> None:
    assert recomputing(here) is here
    assert describing(here) is here
