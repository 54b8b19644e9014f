"""Two declared trees, compared on every cell of the partition that they make together."""

from __future__ import annotations

from dataclasses import dataclass

from parity.explain.prove_trees import NO_LEAF, Box, DeclaredTree

# Pairs of nodes before two trees are left undecided: some seconds of one core. Two trees of up
# to a thousand nodes can not have more; equal ones have as many as nodes.
MAX_PAIRS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """What the comparison of two trees found.

    Attributes:
        pairs: Pairs of nodes that were met.
        differs_in: A box whose inputs the trees send to different leaves; None: none was met.
        is_complete: Whether every cell was met, or one that differs.
    """

    pairs: int
    differs_in: Box | None
    is_complete: bool


def compare_trees(one: DeclaredTree, other: DeclaredTree, *, limit: int = MAX_PAIRS) -> Cells:
    """Walk two trees together, over every set of inputs that some input is in.

    Splits that ask the same are taken together, so equal trees cost one pair a node. Any
    others are taken one after the other: each pair of nodes is met at most once, for the
    inputs that reach both.
    """
    front: list[tuple[int, int, Box]] = [(0, 0, {})]
    pairs = 0
    while front:
        if pairs >= limit:
            return Cells(pairs=pairs, differs_in=None, is_complete=False)
        pairs += 1
        a, b, box = front.pop()
        if one.leaf[a] == NO_LEAF:
            together = _ask_the_same(one, a, other, b)
            for child, part in one.split(a, box):
                if together:
                    went_left = child == one.left[a]
                    front.append((child, other.left[b] if went_left else other.right[b], part))
                else:
                    front.append((child, b, part))
        elif other.leaf[b] == NO_LEAF:
            front.extend((a, child, part) for child, part in other.split(b, box))
        elif one.leaf[a] != other.leaf[b]:
            return Cells(pairs=pairs, differs_in=box, is_complete=True)
    return Cells(pairs=pairs, differs_in=None, is_complete=True)


def _ask_the_same(one: DeclaredTree, a: int, other: DeclaredTree, b: int) -> bool:
    return other.leaf[b] == NO_LEAF and (
        (one.feature[a], one.place[a], one.default_left[a])
        == (other.feature[b], other.place[b], other.default_left[b])
    )
