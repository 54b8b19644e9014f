from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modern.bench.accuracy import accuracy_of
from modern.engine.config import EngineConfig, Precision
from modern.engine.engine import Engine
from modern.engine.narrow import NarrowLinear, quantised
from modern.engine.precision import prepared, running
from tests.modern.engine.ranked import MODEL, exact, ragged

# Against float64, as a share of the logits' spread. bf16 keeps 8 bits: each product's inputs are off by
# 2^-9; int8 by half a step of 1/127 of the largest in a row. Measured 1.5e-2 and 4e-2.
ENVELOPE: dict[Precision, tuple[float, float]] = {
    "fp32": (0.0, 1e-5),
    "bf16": (1e-3, 5e-2),
    "int8": (1e-3, 1e-1),
}


@pytest.mark.parametrize("precision", ENVELOPE)
def test_each_precision_is_as_far_from_float64_as_its_rounding_says(precision: Precision) -> None:
    """Not further, and not nearer either: else it would not be that precision that ran."""
    inputs = ragged(20)

    found = Engine(MODEL, EngineConfig(precision=precision)).logits(inputs)

    least, most = ENVELOPE[precision]
    assert least <= accuracy_of(found, exact(inputs)).logit_error <= most


@given(rows=st.integers(1, 50), seed=st.integers(0, 1000), kind=st.sampled_from(["int8", "fp8"]))
def test_a_narrow_layer_is_off_by_no_more_than_its_steps(rows: int, seed: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(32, 48)
    nn.init.normal_(linear.weight, generator=generator)
    x = torch.randn(rows, 32, generator=generator) * 10 ** torch.randn(rows, 1, generator=generator)

    narrow = NarrowLinear(linear, kind=kind, out_dtype=torch.float32)(x)

    exact_y = x.double() @ linear.weight.detach().double().t() + linear.bias.detach().double()
    # int8: half a step of each factor. fp8: a relative 2^-4 of each; its product is given in bf16.
    step = 0.5 / 127 if kind == "int8" else 2.0**-4
    of_x = (x.abs().amax(1, keepdim=True) * step).double()
    of_w = (linear.weight.detach().abs().amax(1) * step).double()
    bound = (
        of_x @ linear.weight.detach().double().abs().sum(1, keepdim=True).t()
        + x.double().abs().sum(1, keepdim=True) * of_w
        + 32 * of_x * of_w
    )
    rounding = 2.0**-8 * exact_y.abs() if kind == "fp8" else 1e-5 * exact_y.abs()
    assert ((narrow.double() - exact_y).abs() <= bound + rounding + 1e-6).all()


def test_a_row_of_zeros_is_quantised_to_zeros() -> None:
    values, scale = quantised(torch.zeros(2, 16), "int8")

    assert not values.any()
    assert scale.tolist() == [[1.0], [1.0]]


def test_the_model_that_was_given_stays_as_it_is() -> None:
    before = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}

    prepared(MODEL, EngineConfig(precision="int8"))
    prepared(MODEL, EngineConfig(precision="bf16"))

    after = MODEL.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_settings_are_put_back() -> None:
    before = (torch.get_float32_matmul_precision(), torch.is_grad_enabled())

    with running(EngineConfig(precision="bf16")):
        assert torch.is_autocast_enabled("cpu") and not torch.is_grad_enabled()

    assert (torch.get_float32_matmul_precision(), torch.is_grad_enabled()) == before
    assert not torch.is_autocast_enabled("cpu")


def test_accuracy_sees_a_flip_a_shift_and_nan() -> None:
    reference = np.array([[0.0], [1.0], [2.0]])

    assert accuracy_of(reference, reference).pair_flips == 0
    assert accuracy_of(reference[[1, 0, 2]], reference).pair_flips == 0.5
    assert accuracy_of(reference + 1, reference).sum_p_ratio > 1.1
    assert np.isnan(accuracy_of(reference * np.nan, reference).largest_dp)
