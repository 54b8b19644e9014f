"""Real faults of the transformer: the parity tool names each where it stands, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

pytest.importorskip("torch", reason="the transformer needs torch")

from modern.transformer.stack import TransformerStack, open_stack
from parity.compare.alignment import align
from parity.explain.causes import find_causes, unexplained
from parity.explain.probe import Probe, probe
from parity.plan import Plan
from replay.capabilities import Fault
from tests.builders import random_batch
from tests.modern.small_transformer import config, write_artifact

BATCH = random_batch(24, 5, seed=5)
# One checkpoint after another, each with a fault of its own kind where the model has it.
TOGETHER = (
    "hash_seed:features.history.action",
    "age_in_days:history.age_hours",
    "truncate_newest:history.place",
    "age_bucket:step_tokens.age",
    "padding_id_shared:step_tokens",
    "mask_inverted:history.layers.0.attention",
    "layernorm_eps:history.norm",
    "weight_scale:interest",
    "dropout_left_on:interaction.layers.0.attention",
    "gelu_tanh:interaction.layers.1.feed_forward",
    "weight_scale:heads",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> TransformerStack:
    return open_stack(write_artifact(tmp_path_factory.mktemp("planted") / "modern"))


def faults_by_name(stack: TransformerStack) -> dict[str, Fault]:
    return {f"{fault.kind}:{fault.checkpoint}": fault for fault in stack.faults()}


def probed(reference: TransformerStack, challenger: TransformerStack) -> Probe:
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    return probe(reference, challenger, BATCH, alignment)


def named(reference: TransformerStack, challenger: TransformerStack) -> list[str]:
    found = probed(reference, challenger)
    assert unexplained(found) == ()
    return [cause.checkpoint for cause in find_causes(found)]


def test_every_fault_it_can_have_is_named_at_its_place_and_nowhere_else(
    stack: TransformerStack,
) -> None:
    offered = faults_by_name(stack)
    assert len(offered) > 50

    for name, fault in offered.items():
        assert named(stack, stack.planted(fault)) == [fault.checkpoint], name


def test_eleven_faults_at_once_are_all_named_in_causal_order(stack: TransformerStack) -> None:
    offered, challenger = faults_by_name(stack), stack
    for name in TOGETHER:
        challenger = challenger.planted(offered[name])

    assert named(stack, challenger) == [offered[name].checkpoint for name in TOGETHER]


def pairs() -> Iterator[tuple[str, str]]:
    return itertools.pairwise(TOGETHER)


@pytest.mark.parametrize("pair", list(pairs()), ids="+".join)
def test_a_fault_is_not_hidden_by_the_one_before_it(
    stack: TransformerStack, pair: tuple[str, str]
) -> None:
    offered = faults_by_name(stack)
    first, second = (offered[name] for name in pair)

    found = named(stack, stack.planted(second).planted(first))

    assert found == [first.checkpoint, second.checkpoint]


def test_a_history_cut_at_the_wrong_end_shows_as_missing_rows(stack: TransformerStack) -> None:
    cut = stack.planted(faults_by_name(stack)["truncate_newest:history.place"])

    found = probed(stack, cut)

    assert found.total["step_tokens"].missing_mismatch > 0
    assert found.local["step_tokens"].differing == 0


def test_what_is_shared_is_nobodys_fault(
    stack: TransformerStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Rung 5 of the ladder: every module of `plain` is within both sides' rounding of `shared`."""
    folder = tmp_path_factory.mktemp("planted") / "plain"
    plain = open_stack(write_artifact(folder, of=config(form="plain")), name="plain")

    found = probed(plain, stack)

    assert find_causes(found) == unexplained(found) == ()
    assert found.total["rank"].differing == 0
    offered = faults_by_name(stack)
    for name in TOGETHER:
        assert named(plain, stack.planted(offered[name])) == [offered[name].checkpoint]
