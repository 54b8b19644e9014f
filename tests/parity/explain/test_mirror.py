"""A challenger that can only be recorded: its later faults are told apart by the reference's steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from parity.calibrate import alignment_to_measure, calibrate
from parity.compare.alignment import align
from parity.explain.causes import find_causes
from parity.explain.probe import Probe, probe
from parity.plan import Plan
from replay.stack import Stack
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.opened import changed, from_module
from tests.toys import ToyStack, bugs_of, toy_batch

PLACES = tuple(ToyStack().checkpoints)
BATCH = toy_batch(12)


def recorded_only(*places: str) -> ToyStack:
    return ToyStack("challenger", bugs=bugs_of(*places, factor=1.5), unsettable=PLACES)


def probed(reference: Stack, challenger: Stack, plan: Plan = Plan()) -> Probe:  # noqa: B008  # it is frozen
    return probe(
        reference, challenger, BATCH, align(reference.checkpoints, challenger.checkpoints, plan)
    )


def names(found: Probe) -> list[str]:
    return [cause.checkpoint for cause in find_causes(found)]


@pytest.mark.parametrize(
    "places",
    [
        (),
        ("left",),
        ("left", "logit"),
        ("features.price", "left", "right", "pctr"),
        ("encoded.bucket", "ecpm_micros", "rank"),
        PLACES,
    ],
    ids="+".join,
)
def test_every_fault_is_named_and_nothing_it_leads_to(places: tuple[str, ...]) -> None:
    found = probed(ToyStack("reference"), recorded_only(*places))

    assert names(found) == sorted(places, key=PLACES.index)
    assert found.given == frozenset()


def test_a_fault_between_two_aligned_places_has_its_segment() -> None:
    challenger = ToyStack(
        "challenger",
        inner="block.0",
        bugs=bugs_of("features.price", "block.0", factor=1.1),
        unsettable=[name if name != "inner.mix" else "block.0" for name in PLACES],
    )

    price, left = find_causes(probed(ToyStack("reference"), challenger))

    assert (price.checkpoint, price.segment) == ("features.price", ())
    assert (left.checkpoint, left.segment) == ("left", ("block.0",))


def test_the_examples_are_of_the_step_on_the_challengers_inputs() -> None:
    found = probed(ToyStack("reference"), recorded_only("features.price", "left"))

    cause = find_causes(found)[1]

    for example in cause.examples:
        assert example.challenger == pytest.approx(1.5 * example.reference, rel=1e-5)


def test_where_neither_side_can_be_given_later_faults_stay_clouded() -> None:
    reference = ToyStack("reference", unsettable=["left"])
    challenger = ToyStack(
        "challenger", bugs=bugs_of("left", "logit", factor=1.1), unsettable=["left"]
    )

    (cause,) = find_causes(probed(reference, challenger))

    assert cause.checkpoint == "left"
    assert "logit" in cause.inherited


class Sealed:
    """A stack whose checkpoints can only be recorded."""

    def __init__(self, inner: Stack) -> None:
        from dataclasses import replace

        from replay.checkpoint import CheckpointGraph

        self.inner = inner
        self.name = inner.name
        self.checkpoints = CheckpointGraph(
            [replace(one, settable=False) for one in inner.checkpoints.values()], stack=inner.name
        )

    def identity(self) -> Any:
        return self.inner.identity()

    def score(self, batch: Any, *, capture: Any, given: Any = None) -> Any:
        assert not given
        return self.inner.score(batch, capture=capture)


def first(module: Any) -> None:
    module.layers[0].mlp[0].weight[3] *= 1 + 1e-4


def second(module: Any) -> None:
    module.layers[1].norm2.eps = 1e-4


@pytest.mark.parametrize(
    ("faults", "places"),
    [
        ((), []),
        ((first,), ["layers.0.mlp.0"]),
        ((first, second), ["layers.0.mlp.0", "layers.1.norm2"]),
    ],
)
def test_a_sealed_module_is_judged_in_float64(
    faults: tuple[Callable[[Any], None], ...], places: list[str]
) -> None:
    module: nn.Module = models.transformer()
    broken = module
    for fault in faults:
        broken = changed(broken, fault)
    reference, challenger = from_module(module), Sealed(from_module(broken))
    batch, plan = random_batch(24, 6, seed=5), Plan(same_training=False)
    graphs = reference.checkpoints, challenger.checkpoints
    sample = random_batch(16, 6, seed=6)
    measured = calibrate(reference, challenger, sample, alignment_to_measure(*graphs, plan))
    plan = Plan(same_training=False, tolerances=measured.tolerances)

    found = probe(reference, challenger, batch, align(*graphs, plan))

    assert names(found) == places
    assert found.mirrored["layers.0.mlp.0"].dtype == np.float64
