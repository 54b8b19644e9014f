"""Every real fault of an adapted model changes the checkpoint that it names, and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from replay.adapters.model_stack import ModelStack
from replay.capabilities import Fault
from replay.errors import ConfigError
from tests.builders import random_batch
from tests.replay.adapters import models, opened

BATCH = random_batch(16, 5, seed=4)


def torch_stack(_: Path) -> ModelStack:
    return opened.from_module(models.transformer())


def onnx_stack(folder: Path) -> ModelStack:
    return opened.from_export(opened.exported(models.transformer(), folder / "model.onnx"))


@pytest.mark.parametrize("make", [torch_stack, onnx_stack])
def test_each_fault_moves_its_own_step_alone(make: object, tmp_path: Path) -> None:
    """With everything given, only the faulty step can differ; some weights have nothing to lose."""
    stack: ModelStack = make(tmp_path)  # type: ignore[operator]
    everything = list(stack.checkpoints)
    bare = stack.score(BATCH, capture=everything)
    clean = stack.score(BATCH, capture=everything, given=bare.values)
    without_effect = set()

    faults = stack.faults()
    for fault in faults:
        found = stack.planted(fault).score(BATCH, capture=everything, given=bare.values)
        moved = {
            name
            for name in everything
            if not np.array_equal(found[name], clean[name], equal_nan=found[name].dtype.kind == "f")
        }
        assert moved <= {fault.checkpoint}, fault
        if not moved:
            without_effect.add(fault.kind)

    assert len({fault.kind for fault in faults}) > 14
    assert without_effect <= {"norm_gain_left_out", "bias_left_out", "bias_twice", "reserved_row"}


@pytest.mark.parametrize("make", [torch_stack, onnx_stack])
def test_the_stack_itself_stays_as_it_is_and_a_planted_one_is_another(
    make: object, tmp_path: Path
) -> None:
    stack: ModelStack = make(tmp_path)  # type: ignore[operator]
    everything = list(stack.checkpoints)
    before = stack.score(BATCH, capture=everything)

    fault = next(one for one in stack.faults() if one.kind == "weight_scale")
    planted = stack.planted(fault)
    twice = planted.planted(next(one for one in planted.faults() if one.kind == "norm_eps"))

    digests = {one.identity().digest for one in (stack, planted, twice)}
    assert len(digests) == 3
    assert planted.checkpoints == stack.checkpoints
    after = stack.score(BATCH, capture=everything)
    assert all(np.array_equal(before[n], after[n], equal_nan=after[n].dtype.kind == "f") for n in everything)  # fmt: skip


def test_a_planted_graph_is_served_as_it_is_recorded(tmp_path: Path) -> None:
    stack = onnx_stack(tmp_path)
    fault = next(one for one in stack.faults() if one.kind == "weights_scaled")
    features = stack.features.produced(BATCH)
    inputs = stack.features.inputs(features, BATCH.keys)

    program = stack.planted(fault).program

    bare = program.run_bare(inputs)
    seen = program.run(inputs, record=list(bare))
    assert all(np.allclose(bare[name], seen[name], atol=1e-6) for name in bare)
    assert any(not np.array_equal(bare[n], stack.program.run_bare(inputs)[n]) for n in bare)


def test_tied_weights_are_left_alone() -> None:
    module = models.transformer()
    before = {one.checkpoint for one in opened.from_module(module).faults()}
    layers = [m for m in module.modules() if isinstance(m, models.nn.Linear)]
    tied = next(
        (a, b) for a in layers for b in layers if a is not b and a.weight.shape == b.weight.shape
    )
    tied[1].weight = tied[0].weight

    after = {one.checkpoint for one in opened.from_module(module).faults()}

    assert after < before


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    fault = Fault(kind="norm_eps", checkpoint="features.age", where="code", says="")

    with pytest.raises(ConfigError, match=r"norm_eps:"):
        torch_stack(Path()).planted(fault)
