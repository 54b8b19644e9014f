"""Adapted models keep the contract of every stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from replay.conformance import CLAIMS, Claim
from replay.stack import Stack
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import exported, from_export, from_module

HERE = Path(__file__).parent


@pytest.fixture(
    scope="module",
    params=["torch mlp", "torch transformer", "onnx mlp", "onnx transformer", "dynamo mlp"],
)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    kind, name = request.param.split()
    module = getattr(models, name)()
    if kind == "torch":
        return from_module(module)
    if kind == "dynamo":
        return from_export(HERE / f"{name}_dynamo.onnx")
    return from_export(exported(module, tmp_path_factory.mktemp("exported") / f"{name}.onnx"))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
def test_an_adapted_model_keeps_the_contract(claim: Claim, stack: Stack) -> None:
    assert claim(stack, random_batch(24, 6, seed=8)) == []
