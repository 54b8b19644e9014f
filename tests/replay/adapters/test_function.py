"""Any code that can be called as a stack: its features are compared and given, nothing within it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from replay.adapters.function import open_stack
from replay.adapters.model_stack import ModelStack
from replay.conformance import CLAIMS, Claim
from replay.errors import ArtifactError, ConfigError, StackError
from replay.request import RequestBatch
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import OPTIONS, causes_between

HERE = "tests.replay.adapters.test_function"
BATCH = random_batch(24, 6, seed=8)
Inputs = Mapping[str, NDArray[Any]]


def scorer(artifact: Path) -> Callable[[Inputs], Mapping[str, NDArray[Any]]]:
    weights = np.load(artifact)

    def score(inputs: Inputs) -> Mapping[str, NDArray[Any]]:
        clicks = inputs["dense"] @ weights + 0.01 * inputs["ids"][:, 1]
        return {"logit": clicks.astype(np.float32), "view": np.tanh(inputs["age"])}

    return score


def no_function() -> int:
    return 7


def failing() -> Callable[[Inputs], NDArray[Any]]:
    return lambda inputs: inputs["price"]


def too_few() -> Callable[[Inputs], NDArray[Any]]:
    return lambda inputs: inputs["age"][:3]


def arrays_with_log(batch: RequestBatch) -> Inputs:
    return models.arrays_with_log(batch)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("function") / "weights.npy"
    np.save(path, np.array([0.2, -0.1, 0.3], np.float32))
    return path


def opened(artifact: Path | None, **options: Any) -> ModelStack:
    chosen = {**OPTIONS, "function": f"{HERE}:scorer", "logit": "logit", **options}
    return open_stack(artifact, **chosen)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_a_function_keeps_the_contract(claim: Claim, weights: Path) -> None:
    assert claim(opened(weights), BATCH) == []


def test_what_it_returns_stands_after_the_features_that_move_it(weights: Path) -> None:
    stack = opened(weights)
    assert set(stack.checkpoints["return.view"].after) == {"features.age"}
    assert "features.slot" in stack.checkpoints["logit"].after
    assert "features.ad" not in stack.checkpoints["logit"].after
    assert stack.variations() == ("64 rows at a time",)


def test_a_feature_and_other_weights_are_two_causes(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "weights.npy"
    np.save(other, np.load(weights) * 1.01)
    reference = opened(weights)
    assert causes_between(reference, opened(weights)) == []
    challenger = opened(other, inputs=f"{HERE}:arrays_with_log")
    assert causes_between(reference, challenger) == ["features.clicks", "logit"]
    assert reference.identity().digest != challenger.identity().digest


def test_what_can_not_be_used_is_refused_with_what_to_do(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        opened(tmp_path / "nowhere.npy")
    with pytest.raises(ArtifactError, match="could not be built: TypeError"):
        opened(None)
    with pytest.raises(ConfigError, match="returned a int"):
        opened(None, function=f"{HERE}:no_function")
    with pytest.raises(StackError, match="the function failed: KeyError"):
        opened(None, function=f"{HERE}:failing")
    with pytest.raises(StackError, match=r"\[3\] for 81 rows"):
        opened(None, function=f"{HERE}:too_few")
    with pytest.raises(ConfigError, match="there is no option 'inpts'"):
        opened(weights, inpts="x")
    with pytest.raises(StackError, match="float64 from outside"):
        opened(weights).recompute(BATCH, ["logit"], {})
