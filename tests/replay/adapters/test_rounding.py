"""The measured bounds hold real float32 errors, and are not much larger than these."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from replay.adapters.rounding import MARGIN, measure_rounding
from replay.adapters.torch_program import TorchProgram
from replay.adapters.torch_terms import terms_of
from replay.trace import Array
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import exported, from_export, from_module


def rows(seed: int, requests: int = 24) -> dict[str, Array]:
    batch = random_batch(requests, 6, seed=seed)
    found = dict(models.arrays(batch))
    return found | {"age": found["age"][batch.keys.request_of("candidate")]}


def errors(module: nn.Module, inputs: dict[str, Array]) -> dict[str, float]:
    """Largest float32 error of each tensor against the same module in float64."""
    narrow = TorchProgram(module, inputs)
    wide_inputs = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in inputs.items()}
    wide = TorchProgram(copy.deepcopy(module).double(), wide_inputs)
    names = [tensor.name for tensor in narrow.tensors]
    ours, exact = narrow.run(inputs, record=names), wide.run(wide_inputs, record=names)
    return {name: float(np.abs(ours[name] - exact[name]).max()) for name in names}


@pytest.mark.parametrize("build", [models.transformer, models.mlp])
def test_float32_errors_lie_within_the_bounds_on_requests_not_measured(build) -> None:
    bounds = measure_rounding(TorchProgram(build(), rows(3)), rows(3))

    for name, error in errors(build(), rows(8, requests=200)).items():
        assert error <= bounds[name].absolute, name


@pytest.mark.parametrize("build", [models.transformer, models.mlp])
def test_bounds_are_within_two_orders_of_the_errors(build) -> None:
    """Looser ones would hide a weight that is off by 1e-4."""
    bounds = measure_rounding(TorchProgram(build(), rows(3)), rows(3))

    found = errors(build(), rows(3))

    for name in found:
        if found[name] > 0.0:
            assert bounds[name].absolute < 100 * found[name], name


def test_they_are_the_same_each_time_they_are_measured() -> None:
    program = TorchProgram(models.mlp(), rows(3))

    assert measure_rounding(program, rows(3)) == measure_rounding(program, rows(3))


def test_two_runtimes_of_one_model_measure_alike(tmp_path: Path) -> None:
    ours = from_module(models.transformer())
    theirs = from_export(exported(models.transformer(), tmp_path / "model.onnx"))

    for name in ("layers.0.norm1", "layers.1.attention", "head", "logit"):
        ratio = (
            ours.checkpoints[name].rounding.absolute / theirs.checkpoints[name].rounding.absolute
        )
        assert 0.2 < ratio < 5.0, name


def test_a_lookup_is_bound_by_its_own_rounding_alone() -> None:
    bounds = measure_rounding(TorchProgram(models.mlp(), rows(3)), rows(3))
    largest = float(models.mlp().ids.weight.detach().abs().max())

    assert bounds["ids"].absolute <= MARGIN * 2.0**-24 * largest
    assert "sums" not in bounds["ids"].why


def test_a_coarser_type_has_a_coarser_bound() -> None:
    class Half(nn.Module):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.lin = nn.Linear(3, 8).to(dtype)
            self.dtype = dtype

        def forward(self, dense, ids, age):
            return self.lin(dense.to(self.dtype)).float().sum(dim=1)

    single = measure_rounding(TorchProgram(Half(torch.float32), rows(3)), rows(3))
    brain = measure_rounding(TorchProgram(Half(torch.bfloat16), rows(3)), rows(3))

    assert 1e4 < brain["lin"].absolute / single["lin"].absolute < 1e6


def test_infinite_values_leave_no_infinite_bound() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask = nn.Module()
            self.soft = nn.Softmax(dim=1)
            self.mask.forward = lambda x: x.masked_fill(x > 1.0, -torch.inf)

        def forward(self, dense, ids, age):
            return self.soft(torch.cat([self.mask(dense), age[:, None]], dim=1))[:, 0]

    bounds = measure_rounding(TorchProgram(Masked(), rows(3)), rows(3))

    assert all(0 < bound.absolute < 1e-3 for bound in bounds.values())


@pytest.mark.parametrize(
    ("operation", "shapes", "results", "terms"),
    [
        ("aten::addmm", [(8,), (7, 32), (32, 8)], 56, 32),
        ("aten::native_layer_norm", [(7, 4, 16), (16,), (16,)], 448, 16),
        ("aten::mean", [(7, 4, 16)], 112, 4),
        ("aten::convolution", [(7, 3, 9), (5, 3, 4)], 0, 12),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [(7, 2, 4, 8)] * 3, 448, 8),
        ("aten::add", [(7, 4), (7, 4)], 28, 1),
    ],
)
def test_terms_of_a_sum(operation: str, shapes: list, results: int, terms: int) -> None:
    assert terms_of(operation, shapes, results) == terms
