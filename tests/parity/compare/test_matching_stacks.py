from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from parity.compare.match_stacks import align_stacks, proven_no_ops
from parity.plan import Plan
from replay.trace import Array
from tests.parity.compare.graph_stacks import (
    GraphStack,
    Node,
    drawn_nodes,
    renamed,
    some_layers,
    truths,
    with_bug,
    with_identities,
)
from tests.toys import ToyStack, bugs_of, toy_batch

BATCH = toy_batch(16)
BUGS: dict[str, Callable[[Array], Array]] = {
    "scaled": lambda v: v * np.float32(1.01),
    "negated": lambda v: -v,
    "rows reversed": lambda v: v[::-1],
    "noise": lambda v: np.random.default_rng(1).normal(size=v.shape),
}


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize("seed", range(3))
def test_a_fault_does_not_hide_what_comes_after_it(seed: int, bug: str) -> None:
    """Given the reference's values, everything but the fault agrees; and its children tell of it."""
    nodes = drawn_nodes(seed)
    place = some_layers(nodes, seed + 5, 1)[0]
    theirs = renamed(with_identities(with_bug(nodes, place, BUGS[bug]), seed), seed + 1)
    reference, challenger = GraphStack("r", nodes), GraphStack("c", theirs)

    proposal = align_stacks(reference, challenger, BATCH, Plan()).proposal

    truth = truths(reference, challenger)
    assert {m.challenger: m.reference for m in proposal.matches} == {
        name: ours for name, ours in truth.items() if name not in reference.checkpoints
    }
    assert all(match.sure for match in proposal.matches)
    assert proposal.is_complete()


def test_a_step_that_only_seems_to_pass_values_on_is_no_no_op() -> None:
    """A rectifier over positive values: equal on these requests, and not on others."""

    def node(name: str, after: tuple[str, ...], compute: Callable[[list[Array]], Array]) -> Node:
        return Node(name=name, truth=name, after=after, compute=compute)

    nodes = [
        node("positive", (), lambda i: np.abs(i[0][:, :4]) + 1),
        node("rectified", ("positive",), lambda i: np.maximum(i[0], 0)),
        node("same", ("rectified",), lambda i: i[0]),
    ]
    stack = GraphStack("s", nodes)
    trace = stack.score(BATCH, capture=list(stack.checkpoints))

    assert proven_no_ops(stack, BATCH, trace) == {"same"}


def test_which_of_two_seeming_equals_is_meant_stays_unsure() -> None:
    """The reference fused a rectifier that does nothing on these requests."""
    base = drawn_nodes(0, inner=6)
    last = next(node for node in reversed(base) if node.stage == "layer")
    positive = Node(name="p", truth="p", after=(last.name,), compute=lambda i: np.abs(i[0]) + 1)
    relu = Node(name="q", truth="q", after=("p",), compute=lambda i: np.maximum(i[0], 0))
    nodes = [*base[:-1], positive, relu, base[-1]]
    reference = GraphStack("r", nodes, hidden=["p"])
    challenger = GraphStack("c", renamed(nodes, 1))

    proposal = align_stacks(reference, challenger, BATCH, Plan()).proposal

    (match,) = [m for m in proposal.matches if m.reference == "q"]
    assert not match.sure
    assert "any of them could be meant" in match.structure


def test_a_faulty_step_is_not_matched_with_one_nearer_in_value() -> None:
    """The challenger also records the step before; the fault makes it the likelier one."""
    base = drawn_nodes(2, inner=8)
    read = base[-2].name
    step = Node(name="half", truth="half", after=(read,), compute=lambda i: np.sin(i[0]))
    faulty = Node(name="s", truth="s", after=("half",), compute=lambda i: np.sin(i[0]) * -3 + 1)
    after = Node(name="t", truth="t", after=("s",), compute=lambda i: np.cos(i[0]))
    right = replace(faulty, compute=lambda i: np.sin(i[0]) * 1.01)
    ends = replace(base[-1], after=(*base[-1].after, "t"))
    reference = GraphStack("r", [*base[:-1], step, right, after, ends], hidden=["half"])
    challenger = GraphStack("c", renamed([*base[:-1], step, faulty, after, ends], 5))

    proposal = align_stacks(reference, challenger, BATCH, Plan()).proposal

    truth = truths(reference, challenger)
    assert all(truth.get(m.challenger) == m.reference for m in proposal.matches)
    (match,) = [m for m in proposal.matches if m.reference == "s"]
    assert match.sure
    assert "with the reference's values given here, and at no other place, t" in match.values


def test_two_toys_that_name_one_layer_differently_are_matched_with_a_fault_inside() -> None:
    reference = ToyStack("reference", inner="inner.mix")
    challenger = ToyStack("challenger", inner="block.0", bugs=bugs_of("block.0", factor=-3.0))

    found = align_stacks(reference, challenger, toy_batch(40), Plan())

    assert found.proposal.renames() == {"block.0": "inner.mix"}
    assert (found.requests, found.needs_tolerance) == (32, ())
