"""What an adapted model can also do: float64, gradients, and runs under changes that do not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from replay.adapters.model_stack import FEW_ROWS, ModelStack
from replay.adapters.torch_gradients import TorchStack
from replay.capabilities import Differentiates, Recomputes, Varies
from replay.errors import StackError
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import exported, from_export, from_module

BATCH = random_batch(12, 6, seed=31)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return models.transformer()


@pytest.fixture(scope="module")
def ours(module: nn.Module) -> TorchStack:
    stack = from_module(module)
    assert isinstance(stack, TorchStack)
    return stack


@pytest.fixture(scope="module")
def export(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ModelStack:
    return from_export(exported(module, tmp_path_factory.mktemp("numerics") / "model.onnx"))


def real(stack: ModelStack) -> list[str]:
    return [name for name, one in stack.checkpoints.items() if one.dtype == "float32"]


def test_what_each_can_do(ours: ModelStack, export: ModelStack) -> None:
    for protocol in (Recomputes, Varies):
        assert isinstance(ours, protocol)
        assert isinstance(export, protocol)
    assert isinstance(ours, Differentiates)
    assert not isinstance(export, Differentiates)


@pytest.mark.parametrize("side", ["ours", "export"])
def test_float64_is_near_float32_and_is_not_it(side: str, request: pytest.FixtureRequest) -> None:
    stack: ModelStack = request.getfixturevalue(side)
    names = [name for name in real(stack) if not name.startswith("features.")]

    narrow, wide = stack.score(BATCH, capture=names), stack.recompute(BATCH, names, {})

    assert all(array.dtype == np.float64 for array in wide.values())
    for name in names:
        size = np.abs(wide[name]).max()
        assert np.abs(narrow[name] - wide[name]).max() < 1e-5 * size, name
    assert np.any(wide["logit"].astype(np.float32) != wide["logit"])


def test_a_module_and_its_export_are_one_function_in_float64(
    ours: ModelStack, export: ModelStack
) -> None:
    shared = [name for name in real(ours) if name in export.checkpoints]

    one, other = ours.recompute(BATCH, shared, {}), export.recompute(BATCH, shared, {})

    # Not to the last digit: an export keeps a norm's epsilon as a float32 constant.
    for name in shared:
        np.testing.assert_allclose(one[name], other[name], atol=1e-7 * np.abs(one[name]).max())


def test_what_is_given_is_where_float64_starts(ours: ModelStack) -> None:
    given = {"norm": ours.score(BATCH, capture=["norm"])["norm"] * np.float32(1.5)}

    wide = ours.recompute(BATCH, ["head", "norm"], given)

    head = ours.program.module.head  # type: ignore[attr-defined]  # a torch program's own
    by_hand = (
        given["norm"].astype(np.float64).mean(axis=1) @ head.weight.detach().double().numpy().T
    )
    np.testing.assert_allclose(wide["head"], by_hand + head.bias.item(), rtol=1e-12)
    assert np.abs(wide["norm"] - given["norm"]).max() > 0.1


@pytest.mark.parametrize("place", ["layers.0.mlp.1", "layers.1", "features.age", "features.price"])
def test_a_gradient_is_what_a_small_change_does(ours: TorchStack, place: str) -> None:
    rng = np.random.default_rng(0)
    weights = rng.choice([-1.0, 1.0], BATCH.num_candidates)
    name = next(n for n in ours.checkpoints if n == place or n.endswith(f".{place}"))
    value = ours.score(BATCH, capture=[name])[name]
    by = rng.standard_normal(value.shape)

    gradient = ours.gradients(BATCH, [name], weights)[name]
    up, down = (
        float(weights @ ours.recompute(BATCH, ["logit"], {name: value + step * by})["logit"])
        for step in (1e-5, -1e-5)
    )

    assert gradient.shape == value.shape
    assert float(np.sum(gradient * by)) == pytest.approx((up - down) / 2e-5, rel=1e-3)


def test_codes_and_what_follows_the_logit_have_no_gradient(ours: TorchStack) -> None:
    found = ours.gradients(BATCH, list(ours.checkpoints), np.ones(BATCH.num_candidates))

    assert {"features.ad", "pctr", "rank"} & set(found) == set()
    assert {"layers.0.attention", "norm", "logit"} <= set(found)


@pytest.mark.parametrize("side", ["ours", "export"])
def test_a_variation_changes_no_more_than_last_bits(
    side: str, request: pytest.FixtureRequest
) -> None:
    stack: ModelStack = request.getfixturevalue(side)
    names = list(stack.checkpoints)
    plain = stack.score(BATCH, capture=names)

    for variation in stack.variations():
        varied = stack.vary(variation, BATCH, names)
        for name in real(stack):
            np.testing.assert_allclose(varied[name], plain[name], rtol=1e-4, atol=1e-6)
    with pytest.raises(StackError, match="nothing is called 'upside down'"):
        stack.vary("upside down", BATCH, ["logit"])


def test_a_variation_really_runs_otherwise() -> None:
    class RowsAtOnce(nn.Module):
        def forward(self, dense: Tensor, ids: Tensor, age: Tensor) -> Tensor:
            return dense.sum(dim=1) + dense.shape[0] + torch.get_num_threads() * 1000

    stack = from_module(RowsAtOnce())
    batch = random_batch(60, 6, seed=3)
    plain = stack.score(batch, capture=["logit"])["logit"]

    few = stack.vary(FEW_ROWS, batch, ["logit"])["logit"]
    threads = stack.vary("2 threads", batch, ["logit"])["logit"]

    assert np.abs(few - plain).max() > 100
    assert threads - plain == pytest.approx(1000, abs=1e-2)
    assert torch.get_num_threads() == 1


def test_a_model_that_insists_on_float32_says_so() -> None:
    class Insists(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 1)

        def forward(self, dense: Tensor, ids: Tensor, age: Tensor) -> Tensor:
            return self.head(dense.float())[:, 0]

    stack = from_module(Insists())

    with pytest.raises(StackError, match="does not run in float64"):
        stack.recompute(BATCH, ["logit"], {})
    with pytest.raises(StackError, match="'rank' is discrete"):
        stack.recompute(BATCH, ["rank"], {})


def test_a_graph_in_half_precision_has_no_float64_form(tmp_path: Path) -> None:
    class Half(nn.Module):
        def forward(self, dense: Tensor, ids: Tensor, age: Tensor) -> Tensor:
            return dense.half().float().sum(dim=1) + age

    stack = from_export(exported(Half(), tmp_path / "half.onnx"))

    with pytest.raises(StackError, match="half precision"):
        stack.recompute(BATCH, ["logit"], {})
