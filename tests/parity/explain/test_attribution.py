"""Shares by one backward pass agree with repairing, and say where they can not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from parity.compare.alignment import align
from parity.explain.attribution import Attribution, attribute
from parity.explain.probe import probe
from parity.explain.repair import Repair, repair
from parity.plan import Plan
from replay.stack import Stack
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import changed, exported, from_export, from_module
from tests.toys import bugs_of, toy_batch, toys

BATCH = random_batch(24, 6, seed=41)


def weight_row(module: Any) -> None:
    module.layers[0].mlp[0].weight[3] *= 1.05


def norm_eps(module: Any) -> None:
    module.layers[1].norm1.eps = 1e-2


def head_bias(module: Any) -> None:
    module.head.bias += 0.01


def embedding(module: Any) -> None:
    module.ids.weight[:] *= 1.01


def shares(reference: Stack, challenger: Stack, batch=BATCH) -> tuple[Repair, Attribution | None]:
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan(same_training=False))
    seen = probe(reference, challenger, batch, alignment)
    return repair(challenger, seen), attribute(reference, challenger, seen)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    return models.transformer()


@pytest.mark.parametrize(
    "faults",
    [
        (weight_row,),
        (norm_eps,),
        (head_bias,),
        (weight_row, norm_eps, head_bias),
        (embedding, weight_row, norm_eps, head_bias),
    ],
    ids=lambda faults: "+".join(fault.__name__ for fault in faults),
)
def test_it_agrees_with_repairing_within_one_per_cent(
    faults: tuple[Callable[[Any], None], ...], module: nn.Module
) -> None:
    broken = module
    for fault in faults:
        broken = changed(broken, fault)

    repaired, attributed = shares(from_module(module), from_module(broken))

    assert len(attributed.shares) == len(faults)
    assert attributed.shares == pytest.approx(repaired.shares, abs=0.01)
    assert attributed.remainder == pytest.approx(0.0, abs=0.01)


def test_one_side_that_differentiates_is_enough(module: nn.Module, tmp_path) -> None:
    broken = from_export(exported(changed(module, weight_row), tmp_path / "model.onnx"))

    repaired, attributed = shares(from_module(module), broken)

    assert attributed.shares == pytest.approx(repaired.shares, abs=0.02)


def test_a_feature_has_a_slope_and_a_code_has_none(module: nn.Module) -> None:
    def other_ids(batch: Any) -> Any:
        found = dict(models.arrays(batch))
        return found | {"ids": (found["ids"] + 1) % models.NUM_IDS}

    def older(batch: Any) -> Any:
        found = dict(models.arrays(batch))
        return found | {"age": (found["age"] + 0.01).astype(np.float32)}

    _, codes = shares(from_module(module), from_module(module, other_ids))
    repaired, ages = shares(from_module(module), from_module(module, older))

    assert codes is None
    assert ages.shares == pytest.approx(repaired.shares, abs=0.01)


def test_a_code_among_others_has_no_share_and_leaves_no_remainder(module: nn.Module) -> None:
    def other_ids(batch: Any) -> Any:
        found = dict(models.arrays(batch))
        return found | {"ids": (found["ids"] + 1) % models.NUM_IDS}

    broken = from_module(changed(module, head_bias), other_ids)

    _, found = shares(from_module(module), broken)

    assert found.shares[:2] == (None, None)
    assert found.shares[2] is not None
    assert found.remainder is None


def test_without_a_gradient_or_a_gap_there_is_none(module: nn.Module) -> None:
    assert shares(*toys(bugs_of("left")), toy_batch(10))[1] is None
    assert shares(from_module(module), from_module(module))[1] is None
