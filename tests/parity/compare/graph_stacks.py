"""Stacks from a drawn graph: parallel branches of one form, and the ways in which two sides differ."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from replay.checkpoint import Checkpoint, CheckpointGraph, Rounding
from replay.stack import StackIdentity
from replay.trace import EMPTY, Array, Trace, check_given, make_trace

WIDTH = 4
ROUNDING = Rounding(absolute=1e-4, why="a float32 sum of some terms below 4 in size")
Step = Callable[[list[Array]], Array]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step: what it reads, what it is in truth, and what it computes."""

    name: str
    truth: str
    after: tuple[str, ...]
    compute: Step
    stage: str = "layer"
    shape: tuple[int, ...] = (WIDTH,)


class GraphStack:
    """A stack that computes its nodes in order; `drawn` ones start from columns of the log."""

    def __init__(self, name: str, nodes: Sequence[Node], hidden: Collection[str] = ()) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.hidden = frozenset(hidden)
        self._name = name
        self._graph = CheckpointGraph(
            [self._declared(node) for node in nodes if node.name not in self.hidden], stack=name
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def checkpoints(self) -> CheckpointGraph:
        return self._graph

    def identity(self) -> StackIdentity:
        return StackIdentity(name=self._name, digest="sha256:0")

    def score(
        self, batch, *, capture: Collection[str], given: Mapping[str, Array] = EMPTY
    ) -> Trace:
        check_given(given, self._graph, batch.keys, stack=self._name)
        produced: dict[str, Array] = {}
        used: dict[str, Array] = {}
        count = batch.keys.num_candidates
        for node in self.nodes.values():
            inputs = [used[name] for name in node.after] or [
                np.random.default_rng(7).normal(size=(count, 64)).astype(np.float32)
            ]
            produced[node.name] = np.asarray(node.compute(inputs), np.float32)
            used[node.name] = given.get(node.name, produced[node.name])
        return make_trace(
            stack=self._name,
            keys=batch.keys,
            values=produced,
            checkpoints=self._graph,
            capture=capture,
        )

    def _declared(self, node: Node) -> Checkpoint:
        return Checkpoint(
            name=node.name,
            stage=node.stage,  # type: ignore[arg-type]
            axes=("candidate", *(f"inner_{k}" for k in range(len(node.shape)))),
            shape=node.shape,
            dtype="float32",
            after=self._shown(node),
            rounding=ROUNDING,
        )

    def _shown(self, node: Node) -> tuple[str, ...]:
        """Its inputs, those that are not recorded replaced by their own."""
        found: dict[str, None] = {}
        for name in node.after:
            for shown in self._shown(self.nodes[name]) if name in self.hidden else (name,):
                found[shown] = None
        return tuple(found)


def drawn_nodes(seed: int, inner: int = 36) -> list[Node]:
    """Features, `inner` layers of one form in parallel branches that part and meet, a logit."""
    rng = np.random.default_rng(seed)
    nodes = [_feature(f"features.f{k}", k) for k in range(3)]
    front = [node.name for node in nodes]
    layers: list[str] = []
    while len(layers) < inner:
        width = int(rng.integers(1, 5))
        reads = tuple(
            dict.fromkeys(str(name) for name in rng.choice(front, size=int(rng.integers(1, 3))))
        )
        branch = []
        for _ in range(min(width, inner - len(layers))):
            name = f"blocks.{len(layers)}.mix"
            nodes.append(_layer(name, reads, rng))
            layers.append(name)
            branch.append(name)
        front = [*branch, *front[:2]] if rng.random() < 0.7 else [*front[:3], *branch]
    read = {name for node in nodes for name in node.after}
    ends = tuple(node.name for node in nodes if node.name not in read)
    weights = rng.normal(size=WIDTH).astype(np.float32)
    nodes.append(
        Node(
            name="logit",
            truth="logit",
            after=ends,
            compute=lambda inputs: sum(x.reshape(len(x), -1)[:, :1] @ weights[:1] for x in inputs),
            stage="output",
            shape=(),
        )
    )
    return nodes


def renamed(nodes: Sequence[Node], seed: int, *, keep: Collection[str] = ()) -> list[Node]:
    """Every inner node under a name that says nothing, parallel ones in another order."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(1000)
    names = {
        node.name: f"node_{numbers[k]}"
        if node.stage == "layer" and node.name not in keep
        else node.name
        for k, node in enumerate(nodes)
    }
    waiting = [
        replace(node, name=names[node.name], after=tuple(names[name] for name in node.after))
        for node in nodes
    ]
    done: list[Node] = []
    while waiting:
        ready = [n for n in waiting if set(n.after) <= {one.name for one in done}]
        chosen = ready[int(rng.integers(len(ready)))]
        done.append(chosen)
        waiting.remove(chosen)
    return done


def with_identities(nodes: Sequence[Node], seed: int, count: int = 4) -> list[Node]:
    """No-ops put after some layers; what read those reads the no-ops."""
    rng = np.random.default_rng(seed)
    layers = [node.name for node in nodes if node.stage == "layer"]
    chosen = {str(name) for name in rng.choice(layers, size=count, replace=False)}
    found: list[Node] = []
    for node in nodes:
        after = tuple(f"{name}_noop" if name in chosen else name for name in node.after)
        found.append(replace(node, after=after))
        if node.name in chosen:
            found.append(
                Node(
                    name=f"{node.name}_noop",
                    truth=f"no-op of {node.truth}",
                    after=(node.name,),
                    compute=lambda inputs: inputs[0],
                )
            )
    return found


def with_bug(nodes: Sequence[Node], truth: str, bug: Callable[[Array], Array]) -> list[Node]:
    """The same nodes, one of which gives something else."""
    return [
        replace(node, compute=lambda inputs, of=node.compute: bug(of(inputs)))
        if node.truth == truth
        else node
        for node in nodes
    ]


def some_layers(nodes: Sequence[Node], seed: int, count: int) -> list[str]:
    """Names of a few inner nodes."""
    layers = [node.name for node in nodes if node.stage == "layer"]
    return [str(n) for n in np.random.default_rng(seed).choice(layers, size=count, replace=False)]


def truths(reference: GraphStack, challenger: GraphStack) -> dict[str, str]:
    """Challenger name to the reference name that it has in truth, of what both record.

    Where a side records a no-op and not what it passes on, the no-op stands for that.
    """
    ours = {_truth(reference, name): name for name in reference.checkpoints}
    return {
        name: ours[_truth(challenger, name)]
        for name in challenger.checkpoints
        if _truth(challenger, name) in ours
    }


def _truth(stack: GraphStack, name: str) -> str:
    node = stack.nodes[name]
    is_head_hidden = len(node.after) == 1 and node.after[0] in stack.hidden
    return node.truth.removeprefix("no-op of ") if is_head_hidden else node.truth


def _feature(name: str, column: int) -> Node:
    return Node(
        name=name,
        truth=name,
        after=(),
        compute=lambda inputs: inputs[0][:, column],
        stage="feature",
        shape=(),
    )


def _layer(name: str, reads: tuple[str, ...], rng: np.random.Generator) -> Node:
    weights = [rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) * 0.7 for _ in reads]
    bias = rng.normal(size=WIDTH).astype(np.float32) * 0.3

    def compute(inputs: list[Array]) -> Array:
        wide = [x if x.ndim > 1 else np.repeat(x[:, None], WIDTH, axis=1) for x in inputs]
        return np.tanh(bias + sum(x @ w for x, w in zip(wide, weights, strict=True)))

    return Node(name=name, truth=name, after=reads, compute=compute)
