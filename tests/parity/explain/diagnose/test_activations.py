"""An activation is told from its input and its output; where two would do, none is claimed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from parity.explain.diagnose import Evidence, diagnose
from parity.explain.diagnose.activations import ACTIVATIONS
from parity.tolerance import Absolute

ROWS, WIDTH = 200, 16
# By torch's own kernels, in float32.
FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "no activation": nn.Identity(),
    "ReLU": nn.ReLU(),
    "leaky ReLU": nn.LeakyReLU(),
    "ELU": nn.ELU(),
    "SELU": nn.SELU(),
    "GELU (erf)": nn.GELU(),
    "GELU (tanh)": nn.GELU(approximate="tanh"),
    "GELU (sigmoid)": lambda x: x * torch.sigmoid(1.702 * x),
    "SiLU": nn.SiLU(),
    "Mish": nn.Mish(),
    "hard swish": nn.Hardswish(),
    "sigmoid": nn.Sigmoid(),
    "hard sigmoid": nn.Hardsigmoid(),
    "hard sigmoid (ONNX's)": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "tanh": nn.Tanh(),
    "hard tanh": nn.Hardtanh(),
    "softsign": nn.Softsign(),
    "softplus": nn.Softplus(),
}


def a_layer(
    ours: Callable[[torch.Tensor], torch.Tensor],
    theirs: Callable[[torch.Tensor], torch.Tensor],
    *,
    positive: bool = False,
) -> Evidence:
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    x = x.abs() if positive else x
    return Evidence(
        name="act",
        stage="layer",
        reference=ours(x).numpy(),
        challenger=theirs(x).numpy(),
        tolerance=Absolute(bound=1e-6, why="rounding of a few float32 operations"),
        requests=np.arange(ROWS) // 10,
        others={"up": x.numpy()},
        stages={"up": "layer"},
        parents=("up",),
    )


def test_the_catalogue_is_torchs_functions() -> None:
    x = torch.linspace(-6, 6, 1001, dtype=torch.float64)

    assert FUNCTIONS.keys() == ACTIVATIONS.keys()
    for name, function in FUNCTIONS.items():
        np.testing.assert_allclose(
            ACTIVATIONS[name](x.numpy()), function(x).numpy(), rtol=1e-12, atol=1e-12, err_msg=name
        )


# No activation at all is told as a step left out.
@pytest.mark.parametrize("other", sorted(FUNCTIONS.keys() - {"GELU (erf)", "no activation"}))
def test_what_stands_for_a_gelu_is_named(other: str) -> None:
    found = diagnose(a_layer(FUNCTIONS["GELU (erf)"], FUNCTIONS[other]))

    assert found is not None
    assert (found.kind, found.parameters) == (
        "activation",
        {"reference": "GELU (erf)", "challenger": other},
    )
    assert found.text.startswith(f"{other} of up instead of GELU (erf) on 100 % of")


def test_of_positive_inputs_every_function_that_fits_the_reference_is_named() -> None:
    found = diagnose(a_layer(nn.ReLU(), nn.SiLU(), positive=True))

    assert found is not None
    assert found.parameters["reference"] == "no activation or ReLU or leaky ReLU or ELU"


def test_where_several_functions_give_the_challenger_none_is_claimed() -> None:
    found = diagnose(a_layer(nn.SiLU(), nn.ReLU(), positive=True))

    assert found is None or found.kind != "activation"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.GELU(), lambda x: torch.relu(x) + 0.03 * torch.sin(9 * x)),  # no candidate
        (lambda x: torch.sin(3 * x), nn.ReLU()),  # the reference is none of them
        (nn.GELU(), lambda x: nn.functional.relu(x + 0.1)),  # of another input
    ],
)
def test_what_no_function_of_the_input_gives_is_not_claimed(ours, theirs) -> None:
    found = diagnose(a_layer(ours, theirs))

    assert found is None or found.kind != "activation"
