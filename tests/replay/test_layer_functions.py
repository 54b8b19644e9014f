"""One word for one function: torch's classes, aten's operators, ONNX's, and what exporters take apart."""

from __future__ import annotations

import pytest

from replay.layer_functions import settings_of_class, settings_of_operators

GELU = {"activation": "gelu"}
DECOMPOSED_GELU = ["Constant", "Div", "Erf", "Constant", "Add", "Mul", "Constant", "Mul"]
TANH_GELU = ["Pow", "Mul", "Add", "Mul", "Tanh", "Add", "Mul", "Mul"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("GELU", GELU),
        ("aten::gelu", GELU),
        ("Gelu", GELU),
        ("SiLU", {"activation": "silu"}),
        ("Swish", {"activation": "silu"}),
        ("aten::leaky_relu", {"activation": "leaky relu"}),
        ("LeakyRelu", {"activation": "leaky relu"}),
        ("Hardswish", {"activation": "hard swish"}),
        ("HardSwish", {"activation": "hard swish"}),
        ("aten::native_layer_norm", {"norm": "layer norm"}),
        ("LayerNormalization", {"norm": "layer norm"}),
        ("RMSNorm", {"norm": "RMS norm"}),
        ("Linear", {}),
        ("MyGELU", {}),
        ("Gelulike", {}),
    ],
)
def test_every_frameworks_name_leads_to_one_word(name: str, word: dict[str, str]) -> None:
    assert settings_of_class(name) == word
    assert settings_of_operators([name]) == word


@pytest.mark.parametrize(
    ("operators", "says"),
    [
        (DECOMPOSED_GELU, {"activation": "gelu", "approximate": "none"}),
        (TANH_GELU, {"activation": "gelu", "approximate": "tanh"}),
        (["Sigmoid", "Mul"], {"activation": "silu"}),
        (["Sigmoid", "Mul"] * 3, {"activation": "silu"}),
        (["Sigmoid"], {"activation": "sigmoid"}),
        (["Softplus", "Tanh", "Mul"], {"activation": "mish"}),
        (["Pow", "ReduceMean", "Add", "Sqrt", "Reciprocal", "Mul", "Mul"], {"norm": "RMS norm"}),
        (["aten::pow", "aten::mean", "aten::add", "aten::rsqrt", "aten::mul"], {"norm": "RMS norm"}),
        (["ReduceMean", "Sub", "Pow", "ReduceMean", "Add", "Sqrt", "Div", "Mul", "Add"], {"norm": "layer norm"}),
        (["aten::addmm", "aten::gelu", "aten::addmm"], GELU),
        (["aten::gelu", "aten::addmm", "aten::relu"], {"activation": "gelu, relu"}),
    ],
)  # fmt: skip
def test_operators_say_what_they_compute_together(operators: list[str], says: dict) -> None:
    assert settings_of_operators(operators) == says


@pytest.mark.parametrize(
    "operators",
    [
        ["Gemm", "Sigmoid", "Mul"],  # a gate, as likely as an activation
        ["Gemm", "Tanh"],
        ["Sigmoid", "Mul", "Mul"],  # x sigmoid(1.702 x): another function
        ["Div", "Erf", "Add", "Mul", "Mul", "Gemm"],
        ["Tanh", "Add"],
        ["Sigmoid", "Mul", "Div"],
        ["MatMul", "ReduceMean", "Sqrt", "Mul"],  # a mean and a root make no norm
        ["ReduceMean", "Sqrt"],
        ["MatMul", "Softmax"],
        [],
    ],
)
def test_what_may_be_something_else_is_not_told(operators: list[str]) -> None:
    assert settings_of_operators(operators) == {}
