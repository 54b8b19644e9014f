"""Drawn graphs of some 40 checkpoints, parallel branches of one form, every inner name changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest

from parity.compare.alignment import align
from parity.compare.matching import Proposal, propose
from parity.config_plan import PlanEntry
from parity.plan import Plan
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError
from replay.trace import Trace
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
from tests.toys import ToyStack, toy_batch

BATCH = toy_batch(16)


def proposed(
    reference: GraphStack, challenger: GraphStack, *, values: bool = True, plan: Plan | None = None
) -> Proposal:
    sides = reference, challenger
    traces = [side.score(BATCH, capture=list(side.checkpoints)) for side in sides]
    return propose(
        reference.checkpoints,
        challenger.checkpoints,
        witness=(traces[0], traces[1]) if values else None,
        plan=plan or Plan(),
    )


def wrong(proposal: Proposal, truth: dict[str, str]) -> list[tuple[str, str]]:
    return [
        (m.challenger, m.reference)
        for m in proposal.matches
        if truth.get(m.challenger) != m.reference
    ]


def hidden_of(nodes: list[Node], names: Collection[str]) -> list[str]:
    return [node.name for node in nodes if node.truth in names]


@pytest.mark.parametrize("seed", range(5))
def test_renamed_and_reordered_parallel_branches_are_all_recovered_by_values(seed: int) -> None:
    nodes = drawn_nodes(seed)
    reference, challenger = GraphStack("r", nodes), GraphStack("c", renamed(nodes, seed + 1))

    proposal = proposed(reference, challenger)

    assert len(nodes) == 40
    assert len(proposal.matches) == 36
    assert wrong(proposal, truths(reference, challenger)) == []
    assert all(match.sure for match in proposal.matches)
    assert proposal.is_complete()


@pytest.mark.parametrize("seed", range(3))
def test_without_values_what_the_structure_can_not_tell_apart_is_never_sure(seed: int) -> None:
    nodes = drawn_nodes(seed)
    reference, challenger = GraphStack("r", nodes), GraphStack("c", renamed(nodes, seed + 1))

    proposal = proposed(reference, challenger, values=False)

    sure = {match.challenger for match in proposal.matches if match.sure}
    mistaken = wrong(proposal, truths(reference, challenger))
    assert sure, "some places are the only ones of their kind"
    assert not sure & {name for name, _ in mistaken}
    assert not proposal.is_complete()


@pytest.mark.parametrize("seed", range(3))
def test_inserted_no_ops_are_explained_and_shift_nothing(seed: int) -> None:
    nodes = drawn_nodes(seed)
    theirs = renamed(with_identities(nodes, seed), seed + 1)
    reference, challenger = GraphStack("r", nodes), GraphStack("c", theirs)

    proposal = proposed(reference, challenger)

    assert wrong(proposal, truths(reference, challenger)) == []
    assert len(proposal.matches) == 36
    no_ops = {node.name for node in theirs if node.truth.startswith("no-op")}
    assert {one.name for one in proposal.unmatched} == no_ops
    assert all("passes on the values of" in one.reason for one in proposal.unmatched)
    assert all(one.explained for one in proposal.unmatched)


@pytest.mark.parametrize("seed", range(3))
def test_fused_steps_are_explained_and_shift_nothing(seed: int) -> None:
    nodes = drawn_nodes(seed)
    theirs = renamed(nodes, seed + 1)
    fused = some_layers(nodes, seed + 2, 4)
    reference = GraphStack("r", nodes)
    challenger = GraphStack("c", theirs, hidden_of(theirs, fused))

    proposal = proposed(reference, challenger)

    assert wrong(proposal, truths(reference, challenger)) == []
    assert [one.name for one in proposal.unmatched] == reference.checkpoints.sorted(fused)
    assert all(one.explained and "fused there" in one.reason for one in proposal.unmatched)
    assert proposal.is_complete()


@pytest.mark.parametrize("scale", [1.01, 86400.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_value_moves_neither_its_match_nor_its_neighbours(seed: int, scale: float) -> None:
    """The free run only: everything after the fault has other values too."""
    nodes = drawn_nodes(seed)
    place = some_layers(nodes, seed + 5, 1)[0]
    theirs = renamed(with_bug(nodes, place, lambda v: v * np.float32(scale)), seed + 1)
    reference, challenger = GraphStack("r", nodes), GraphStack("c", theirs)

    proposal = proposed(reference, challenger)

    truth = truths(reference, challenger)
    graph = reference.checkpoints
    around = {place, *graph[place].after, *graph.children[place]}
    given = {m.reference: m.challenger for m in proposal.matches} | dict(proposal.fixed)
    assert {truth.get(given[name]) for name in around} == around


def drawn_pair(seed: int) -> tuple[GraphStack, GraphStack]:
    """Two sides that part in most ways at once: no-ops, fused steps on both sides, a bug."""
    rng = np.random.default_rng(seed)
    nodes = drawn_nodes(seed, inner=18)
    theirs: list[Node] = list(nodes)
    if rng.random() < 0.6:
        bugs = (lambda v: v * np.float32(1.01), lambda v: -v, lambda v: v[::-1], np.zeros_like)
        place = some_layers(nodes, seed + 5, 1)[0]
        theirs = with_bug(theirs, place, bugs[int(rng.integers(len(bugs)))])
    if rng.random() < 0.5:
        theirs = with_identities(theirs, seed, 3)
    theirs = renamed(theirs, seed + 1)
    fused = some_layers(nodes, seed + 2, int(rng.integers(3)))
    hidden = some_layers(nodes, seed + 3, int(rng.integers(3)))
    return GraphStack("r", nodes, hidden), GraphStack("c", theirs, hidden_of(theirs, fused))


def test_a_wrong_match_is_never_sure_in_a_hundred_drawn_graphs() -> None:
    sure = 0
    for seed in range(100):
        reference, challenger = drawn_pair(seed)

        proposal = proposed(reference, challenger)

        truth = truths(reference, challenger)
        certain = [match for match in proposal.matches if match.sure]
        sure += len(certain)
        assert [m for m in certain if truth.get(m.challenger) != m.reference] == [], seed
    assert sure > 1000, "and most are sure"


def test_a_written_plan_aligns_the_graphs() -> None:
    nodes = drawn_nodes(3)
    reference, challenger = GraphStack("r", nodes), GraphStack("c", renamed(nodes, 4))
    renames = proposed(reference, challenger).renames()

    plan = PlanEntry(reference="r", challenger="c", renames=renames).to_plan()
    alignment = align(reference.checkpoints, challenger.checkpoints, plan)

    truth = truths(reference, challenger)
    assert alignment.unmatched_reference == alignment.unmatched_challenger == ()
    assert all(truth[p.challenger.name] == p.name for p in alignment.pairs)


def test_what_counts_already_is_left_alone_and_helps_the_rest() -> None:
    nodes = drawn_nodes(6)
    reference, challenger = GraphStack("r", nodes), GraphStack("c", renamed(nodes, 7))
    truth = truths(reference, challenger)
    inner = [name for name in truth if name not in reference.checkpoints]
    plan = Plan(renames={name: truth[name] for name in inner[:30]})

    without = proposed(reference, challenger, values=False)
    with_some = proposed(reference, challenger, values=False, plan=plan)

    assert dict(plan.renames).items() <= {v: k for k, v in with_some.fixed.items()}.items()
    assert {m.challenger for m in with_some.matches} <= set(inner[30:])
    assert len(wrong(with_some, truth)) < len(wrong(without, truth))


def test_a_rename_of_nothing_is_an_error_that_offers_names() -> None:
    toy = ToyStack()

    with pytest.raises(ConfigError, match=r"no checkpoint 'nowhere' \(known: features\.hour"):
        propose(toy.checkpoints, toy.checkpoints, witness=None, plan=Plan(renames={"nowhere": "x"}))


def test_traces_of_different_requests_are_refused() -> None:
    toy = ToyStack()
    traces = [toy.score(toy_batch(n), capture=list(toy.checkpoints)) for n in (4, 5)]

    with pytest.raises(ConfigError, match="recorded for different requests"):
        propose(toy.checkpoints, toy.checkpoints, witness=(traces[0], traces[1]), plan=Plan())


def test_what_the_plan_leaves_out_needs_no_partner() -> None:
    reference, challenger = ToyStack(inner="inner.mix"), ToyStack(inner="block.0")
    plan = Plan(left_out={"inner.*": "printed, never used"})

    proposal = propose(reference.checkpoints, challenger.checkpoints, witness=None, plan=plan)

    assert proposal.matches == ()
    assert proposal.unmatched[0].reason == "left out by the plan: printed, never used"
    assert proposal.is_complete()


def layer(name: str, *after: str, shape: tuple[int, ...] = (2, 3), **more: object) -> Checkpoint:
    axes = ("candidate", *(("head", "channel") if shape[:1] == (2,) else ("channel", "head")))
    return Checkpoint(
        **{
            "name": name,
            "stage": "layer",
            "axes": axes[: 1 + len(shape)],
            "shape": shape,
            "dtype": "float32",
            "after": after,
        }
        | more
    )


def test_a_transposed_layout_is_reported_with_what_it_needs_and_not_proposed() -> None:
    values = np.random.default_rng(0).normal(size=(40, 2, 3)).astype(np.float32)
    graphs = [
        CheckpointGraph([layer("a"), layer(name, "a", shape=shape)], stack="s")
        for name, shape in (("heads", (2, 3)), ("out", (3, 2)))
    ]
    keys = ToyStack().score(toy_batch(9, seed=3), capture=["logit"]).keys
    cut = values[: keys.num_candidates]
    turned = np.ascontiguousarray(cut.transpose(0, 2, 1))
    witness = (
        Trace(stack="s", keys=keys, values={"a": cut * 2, "heads": cut}),
        Trace(stack="s", keys=keys, values={"a": cut * 2, "out": turned}),
    )

    seen = propose(*graphs, witness=witness, plan=Plan())
    unseen = propose(*graphs, witness=None, plan=Plan())

    assert seen.matches == unseen.matches == ()
    assert "transposed by axes (0, 2, 1), the values are equal" in seen.unmatched[0].reason
    assert "record the challenger's with the reference's axes" in seen.unmatched[0].reason
    assert "transposed in another order" in unseen.unmatched[0].reason
    assert not seen.is_complete()


def test_another_form_at_one_place_is_named_as_the_reason() -> None:
    ours = CheckpointGraph([layer("a"), layer("b", "a"), layer("c", "b")], stack="s")
    theirs = CheckpointGraph(
        [layer("a"), layer("x", "a", dtype="int32"), layer("c", "x")], stack="s"
    )

    proposal = propose(ours, theirs, witness=None, plan=Plan())

    reason = {one.name: one.reason for one in proposal.unmatched}
    assert reason["b"] == "after a and before c: 'x' has dtype float32 against int32"
    assert not proposal.is_complete()


def test_no_match_contradicts_the_order_of_what_is_matched() -> None:
    """`x` is called like `b` and stands on the other side of the one matched checkpoint."""
    ours = CheckpointGraph([layer("a"), layer("mid", "a"), layer("enc.b", "mid")], stack="s")
    theirs = CheckpointGraph([layer("dec.b"), layer("mid", "dec.b"), layer("z", "mid")], stack="s")

    proposal = propose(ours, theirs, witness=None, plan=Plan())

    assert {m.challenger: m.reference for m in proposal.matches} == {"dec.b": "a", "z": "enc.b"}


def test_constant_values_are_no_witness() -> None:
    nodes = [replace(n, compute=lambda i: np.zeros((len(i[0]), 4))) if n.stage == "layer" else n
             for n in drawn_nodes(1, inner=8)]  # fmt: skip
    reference, challenger = GraphStack("r", nodes), GraphStack("c", renamed(nodes, 2))

    proposal = proposed(reference, challenger)

    assert all("values say nothing" in match.values for match in proposal.matches)
