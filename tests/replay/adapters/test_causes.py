"""A fault in a user's own model is named where it was planted, and nothing beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from parity.compare.alignment import align
from parity.plan import Plan
from replay.adapters.model_stack import ModelStack
from replay.stack import Stack
from tests.replay.adapters import models
from tests.replay.adapters.opened import (
    causes_between,
    changed,
    exported,
    from_export,
    from_module,
)


def weight_row(module: Any) -> None:
    module.layers[1].mlp[0].weight[3] *= 1.01


def value_rows(module: Any) -> None:
    module.layers[0].attention.in_proj_weight[40] *= 1.01


def norm_eps(module: Any) -> None:
    module.layers[0].norm2.eps = 1e-3


def gelu_tanh(module: Any) -> None:
    module.layers[0].mlp[1] = nn.GELU(approximate="tanh")


def embedding_row(module: Any) -> None:
    module.ids.weight[1] += 0.01


def head_bias(module: Any) -> None:
    module.head.bias += 0.001


FAULTS: list[tuple[Callable[[Any], None], str]] = [
    (weight_row, "layers.1.mlp.0"),
    (value_rows, "layers.0.attention"),
    (norm_eps, "layers.0.norm2"),
    (gelu_tanh, "layers.0.mlp.1"),
    (embedding_row, "ids"),
    (head_bias, "head"),
]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return models.transformer()


@pytest.fixture(scope="module")
def reference(module: nn.Module) -> ModelStack:
    return from_module(module)


@pytest.fixture(params=["torch", "onnx"])
def challenger_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[nn.Module], Stack]:
    if request.param == "torch":
        return from_module
    return lambda module: from_export(exported(module, tmp_path / "model.onnx"))


def test_a_faithful_copy_has_no_cause(
    module: nn.Module, reference: ModelStack, challenger_of: Callable[[nn.Module], Stack]
) -> None:
    assert causes_between(reference, challenger_of(module)) == []


@pytest.mark.parametrize("opset", [14, 18, 20])
def test_an_export_by_other_operators_has_no_cause(
    module: nn.Module, reference: ModelStack, tmp_path: Path, opset: int
) -> None:
    """At opset 14 norms and activations are taken to pieces."""
    path = exported(module, tmp_path / "model.onnx", opset=opset)

    assert causes_between(reference, from_export(path)) == []


@pytest.mark.parametrize(("fault", "place"), FAULTS)
def test_a_planted_fault_is_the_only_cause(
    fault: Callable[[Any], None],
    place: str,
    module: nn.Module,
    reference: ModelStack,
    challenger_of: Callable[[nn.Module], Stack],
) -> None:
    assert causes_between(reference, challenger_of(changed(module, fault))) == [place]


def test_several_faults_are_all_named(
    module: nn.Module, reference: ModelStack, challenger_of: Callable[[nn.Module], Stack]
) -> None:
    def all_of_them(copied: Any) -> None:
        for fault, _ in FAULTS:
            fault(copied)

    found = causes_between(reference, challenger_of(changed(module, all_of_them)))

    assert sorted(found) == sorted(place for _, place in FAULTS)


def test_a_fault_in_the_inputs_is_a_feature_and_no_layer(
    module: nn.Module, reference: ModelStack
) -> None:
    challenger = from_module(module, models.arrays_with_log)

    assert causes_between(reference, challenger) == ["features.clicks"]


def test_a_fault_in_an_exports_inputs_is_a_feature_and_no_layer(
    module: nn.Module, reference: ModelStack, tmp_path: Path
) -> None:
    challenger = from_export(
        exported(module, tmp_path / "model.onnx"),
        inputs="tests.replay.adapters.models:arrays_with_log",
    )

    assert causes_between(reference, challenger) == ["features.clicks"]


def test_a_fault_between_two_exports_is_named_at_its_operator(
    module: nn.Module, tmp_path: Path
) -> None:
    right = from_export(exported(module, tmp_path / "right.onnx"))
    wrong = from_export(exported(changed(module, value_rows), tmp_path / "wrong.onnx"))

    assert causes_between(right, wrong) == ["/layers.0/attention/MatMul_output_0"]


@pytest.mark.parametrize("name", ["transformer", "mlp"])
def test_what_torchs_exporter_wrote_aligns_by_module_path(name: str) -> None:
    """Written by `torch.onnx.export(models.<name>(), ..., dynamo=True)` of torch 2.13, with
    dynamic rows, `external_data=False` and the inputs' names; stack traces left out."""
    reference = from_module(getattr(models, name)())
    challenger = from_export(Path(__file__).parent / f"{name}_dynamo.onnx")

    alignment = align(reference.checkpoints, challenger.checkpoints, Plan(same_training=False))

    assert alignment.unmatched_reference == ()
    assert not alignment.mismatched
    assert causes_between(reference, challenger) == []
