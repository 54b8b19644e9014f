"""A proof in a person's words, most useful fact first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from parity.explain.prove import Proof
from parity.explain.prove_evidence import Counterexample

HEADLINES = {
    "equal": "EQUAL ON EVERY INPUT",
    "counterexample": "COUNTEREXAMPLE",
    "undecided": "UNDECIDED",
}


def headline(proof: Proof) -> str:
    """What stands beside the outcome's own word."""
    sides = f"challenger {proof.challenger}", f"reference {proof.reference}"
    if proof.outcome == "equal":
        return f"{sides[0]} gives the leaves of {sides[1]}, logged or not"
    if proof.outcome == "undecided":
        return f"no input was found that tells {sides[0]} from {sides[1]}, and nothing is proven"
    count = max(proof.trees, proof.challenger_trees)
    return f"{sides[0]} leaves {sides[1]} in {len(proof.differing_trees):,} of {count:,} trees"


def lines(proof: Proof) -> Iterator[str]:
    """The lines below the headline, each `label  text`."""
    if proof.outcome == "counterexample":
        yield from _found(proof)
    for doubt in proof.doubts if proof.outcome == "undecided" else ():
        yield _line("because", doubt)
    yield _line(
        "trees", f"{proof.trees:,} with {proof.splits:,} splits on {proof.features:,} features"
    )
    visited = ", ".join(f"{count.visited:,} {count.kind}" for count in proof.kinds)
    yield _line("visited", f"{proof.points:,} inputs: {visited}")
    if proof.outcome == "equal":
        yield _line(
            "declared", f"one leaf in every cell of both sides' trees ({proof.pairs:,} pairs met)"
        )
        yield _line("code", "each side's own code does what its trees say at every visited input")
        yield _line(
            "assumes",
            "code that decides a split by its feature alone, at one cut (docs/prove.md)",
        )
        if proof.repeating:
            text = f"{proof.repeating:,} trees name one leaf in several places: their splits "
            yield _line("but", text + "show in the leaves only together")


def sentence(example: Counterexample) -> str:
    """A counterexample in one line: where it is, its value, and both leaves."""
    leaves = f"{_leaf('reference', example.reference_leaf)}, {_leaf('challenger', example.challenger_leaf)}"
    if example.feature is None or example.value is None:
        return f"tree {example.tree}: {leaves}"
    value = f"{example.feature} = {number(example.value)}"
    if example.relation == "missing":
        value = f"{example.feature} missing"
    else:
        value += f" ({example.relation})"
    return f"tree {example.tree}, {value}: {leaves}"


def number(value: float) -> str:
    """A float32 with the fewest digits that give it back."""
    return "missing" if np.isnan(value) else str(np.float32(value))


def _found(proof: Proof) -> Iterator[str]:
    first, *others = proof.counterexamples
    yield _line("found", sentence(first))
    if first.node is not None and first.threshold is not None:
        yield _line(
            "node",
            f"{first.node} of the reference's tree: {first.feature} < {number(first.threshold)} "
            f"goes left, missing goes {first.missing_goes}",
        )
    yield _line("because", first.because)
    if proof.explanation is not None:
        yield _line("looks like", f"{proof.explanation}: that predicts every leaf seen")
    differs = (
        f"{count.differing:,} of {count.visited:,} {count.kind}"
        for count in proof.kinds
        if count.differing
    )
    yield _line("differs", "; ".join(differs) or "at inputs made for other trees only")
    row = ", ".join(f"{name} = {number(value)}" for name, value in first.row.items())
    yield _line("row", row)
    for example in others:
        yield _line("also", sentence(example))
    if len(proof.differing_trees) > len(proof.counterexamples):
        left = len(proof.differing_trees) - len(proof.counterexamples)
        yield _line("also", f"{left:,} more trees")


def _leaf(role: str, leaf: int | None) -> str:
    return f"{role} has no such tree" if leaf is None else f"{role} leaf {leaf}"


def _line(label: str, text: str) -> str:
    return f"  {label:10} {text}"
