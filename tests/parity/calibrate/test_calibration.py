"""Measured tolerances: honest exports pass, faults of 1e-5 do not, and bugs never widen them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.calibrate import PRECISIONS, Calibration, alignment_to_measure, calibrate
from parity.calibrate.steps import own_rounding
from parity.compare.alignment import align
from parity.explain.causes import find_causes
from parity.explain.probe import probe
from parity.noise import ChannelNoise, Envelope
from parity.plan import Plan
from replay.adapters.model_stack import ModelStack
from replay.checkpoint import CheckpointGraph
from replay.request import RequestBatch
from replay.stack import Stack, StackIdentity
from replay.trace import EMPTY, Array, Trace
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import changed, exported, from_export, from_module
from tests.toys import ToyStack, bugs_of, toy_batch

SAMPLE, OTHERS = random_batch(24, 6, seed=21), random_batch(32, 6, seed=22)
PLAN = Plan(same_training=False)


def one_row_of_weights(module: Any) -> None:
    module.layers[1].mlp[0].weight[3] *= 1 + 1e-5


def whole_matrix(module: Any) -> None:
    module.layers[0].mlp[2].weight *= 1 + 1e-5


def norm_eps(module: Any) -> None:
    module.layers[0].norm2.eps = 1.2e-5


def embedding_row(module: Any) -> None:
    module.ids.weight[1] *= 1 + 1e-5


def gelu_tanh(module: Any) -> None:
    module.layers[1].mlp[1] = nn.GELU(approximate="tanh")


FAULTS: list[tuple[Callable[[Any], None], str]] = [
    (one_row_of_weights, "layers.1.mlp.0"),
    (whole_matrix, "layers.0.mlp.2"),
    (norm_eps, "layers.0.norm2"),
    (embedding_row, "ids"),
    (gelu_tanh, "layers.1.mlp.1"),
]


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return models.transformer()


@pytest.fixture(scope="module")
def reference(module: nn.Module) -> ModelStack:
    return from_module(module)


@pytest.fixture(scope="module")
def export(module: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ModelStack:
    return from_export(exported(module, tmp_path_factory.mktemp("calibrate") / "model.onnx"))


@pytest.fixture(scope="module")
def found(reference: ModelStack, export: ModelStack) -> Calibration:
    return measured(reference, export)


def measured(reference: Stack, challenger: Stack, *, precision: str = "fp32") -> Calibration:
    alignment = alignment_to_measure(reference.checkpoints, challenger.checkpoints, PLAN)
    return calibrate(reference, challenger, SAMPLE, alignment, precision=PRECISIONS[precision])


def causes(
    reference: Stack, challenger: Stack, found: Calibration, batch: RequestBatch = OTHERS
) -> list[str]:
    plan = replace(PLAN, tolerances=found.tolerances)
    alignment = align(reference.checkpoints, challenger.checkpoints, plan)
    return [one.checkpoint for one in find_causes(probe(reference, challenger, batch, alignment))]


def test_every_real_step_is_measured_with_its_reason(
    reference: ModelStack, found: Calibration
) -> None:
    real = {
        name
        for name, one in reference.checkpoints.items()
        if one.after and one.dtype == "float32" and one.stage != "feature"
    }
    tolerances = found.tolerances

    assert set(tolerances) == real
    assert all(isinstance(one, ChannelNoise) for one in tolerances.values())
    assert "errors against float64" in tolerances["layers.0.mlp.0"].why
    assert "sums of 16 terms" in tolerances["layers.0.mlp.0"].why
    assert found.candidates == SAMPLE.num_candidates


def test_a_copy_and_an_export_have_no_cause_on_other_requests(
    module: nn.Module, reference: ModelStack, export: ModelStack, found: Calibration
) -> None:
    assert causes(reference, export, found) == []
    assert causes(reference, from_module(copy.deepcopy(module)), found) == []


@pytest.fixture(params=["torch", "onnx"])
def stack_of(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[nn.Module], Stack]:
    if request.param == "torch":
        return from_module
    return lambda module: from_export(exported(module, tmp_path / "model.onnx"))


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case[0].__name__)
def test_a_fault_of_1e_5_is_named_where_it_is(
    case: tuple[Callable[[Any], None], str],
    module: nn.Module,
    reference: ModelStack,
    found: Calibration,
    stack_of: Callable[[nn.Module], Stack],
) -> None:
    fault, place = case

    challenger = stack_of(changed(module, fault))

    assert causes(reference, challenger, found) == [place]


def test_the_challengers_bugs_do_not_widen_its_tolerances(
    module: nn.Module, reference: ModelStack
) -> None:
    honest = measured(reference, from_module(module))
    broken = measured(reference, from_module(changed(module, whole_matrix)))

    assert broken.tolerances == honest.tolerances


def test_a_floor_of_rounding_is_allowed_for(module: nn.Module, reference: ModelStack) -> None:
    name = "layers.0.mlp.0"
    unsteady = Unsteady(from_module(module), name, 2e-7)

    one, other = measured(reference, from_module(module)), measured(reference, unsteady)

    assert all(units < 1 for _, units in one.floors.values())
    found = [found for side, found in other.floors.items() if "challenger" in side]
    assert all(place == name and 1 < units < 16 for place, units in found)
    assert min(other.tolerances[name].noise) > 2 * max(one.tolerances[name].noise)


def test_a_side_that_answers_by_chance_is_not_allowed_to(
    module: nn.Module, reference: ModelStack
) -> None:
    """Dropout left on must not become its own tolerance."""
    name = "layers.0.mlp.0"
    unsteady = Unsteady(from_module(module), name, 1e-3)

    found = measured(reference, unsteady)

    assert found.tolerances[name] == measured(reference, from_module(module)).tolerances[name]
    assert any(f"{name} does not repeat itself" in note for note in found.notes)
    assert causes(reference, unsteady, found) == [name]


def test_sides_that_declare_no_rounding_get_a_bound_end_to_end() -> None:
    reference, challenger = Undeclared(ToyStack("a")), Undeclared(ToyStack("b"))
    wrong = Undeclared(ToyStack("c", bugs=bugs_of("logit", factor=1.0001)))
    alignment = alignment_to_measure(reference.checkpoints, challenger.checkpoints, PLAN)

    found = calibrate(reference, challenger, toy_batch(24), alignment)

    logit = found.tolerances["logit"]
    assert isinstance(logit, ChannelNoise)
    assert 1e-8 < logit.total < 1e-4
    assert causes(reference, challenger, found, toy_batch(12)) == []
    assert causes(reference, wrong, found, toy_batch(12)) == ["logit"]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_narrow_copy_stays_within_its_envelope_and_a_wrong_row_does_not(
    precision: str, dtype: torch.dtype, module: nn.Module, reference: ModelStack
) -> None:
    def wrong(model: Any) -> None:
        model.layers[1].mlp[0].weight[3] *= 1.2

    honest = from_module(Narrow(module, dtype))
    broken = from_module(Narrow(changed(module, wrong), dtype))

    found = measured(reference, honest, precision=precision)

    assert isinstance(found.tolerances["logit"], Envelope)
    assert causes(reference, honest, found) == []
    assert causes(reference, broken, found) == ["layers.1.mlp.0"]


def test_a_narrow_copy_is_not_within_the_tolerances_of_float32(
    module: nn.Module, reference: ModelStack, found: Calibration
) -> None:
    assert causes(reference, from_module(Narrow(module, torch.bfloat16)), found) != []


class Narrow(nn.Module):
    """The transformer with weights and values of another type; inputs and logit stay float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        for name, child in copy.deepcopy(module).to(dtype).named_children():
            setattr(self, name, child)

    def forward(self, dense: torch.Tensor, ids: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        narrow = models.SmallTransformer.forward(
            self, dense.to(self.dtype), ids, age.to(self.dtype)
        )
        return narrow.float()


class Around:
    """A stack around a stack."""

    def __init__(self, inner: Stack) -> None:
        self.inner = inner

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self.inner.checkpoints

    def identity(self) -> StackIdentity:
        return self.inner.identity()

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        return self.inner.score(batch, capture=capture, given=given)


class Unsteady(Around):
    """Adds another small noise at one place each time it is asked."""

    def __init__(self, inner: Stack, place: str, size: float) -> None:
        super().__init__(inner)
        self.place, self.size = place, size
        self.rng = np.random.default_rng(0)

    def score(
        self, batch: RequestBatch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        trace = self.inner.score(batch, capture=capture, given=given)
        if self.place not in trace.values:
            return trace
        noise = self.size * self.rng.standard_normal(trace[self.place].shape)
        moved = trace[self.place] + noise.astype(np.float32)
        return replace(trace, values={**trace.values, self.place: moved})


class Undeclared(Around):
    """Says nothing of its rounding."""

    @property
    def checkpoints(self) -> CheckpointGraph:
        found = [
            replace(one, rounding=None) if one.stage in {"layer", "output"} else one
            for one in self.inner.checkpoints.values()
        ]
        return CheckpointGraph(found, stack=self.name)


def test_what_masks_a_score_hides_no_fault_of_the_scores_beside_it() -> None:
    """-1e9 rounds by 60; it is written there, and no arithmetic moves it."""
    values = np.float32([[0.5, -1e9], [0.25, 1.0]])
    moved = np.array([[1e-14, 0.0], [1e-14, 0.0]])

    found = own_rounding(values, moved, PRECISIONS["fp32"])

    assert found[0, 1] == 0.0
    assert found[0, 0] > 0.0
    assert found[1, 1] > 0.0  # saturated, not masked: another side may round it otherwise
