"""A person sees at once what was found, and what was not."""

from __future__ import annotations

from parity.explain.prove import Proof, prove
from parity.explain.prove_words import headline, lines, number, sentence
from tests.parity.explain.tree_stacks import ArrayStack, structure

LEFT = structure((0, 0.0051234, True, 3, 4))
RIGHT = structure((0, 0.0051234, False, 3, 4))
ABOVE = structure((0, 0.005123401, True, 3, 4))


def proof_of(*trees: object, limit: int = 1000) -> Proof:
    sides = [
        ArrayStack([tree], ["item_ctr"], name=name)
        for tree, name in zip(trees, ("old", "new"), strict=True)
    ]
    return prove(*sides, limit=limit)


def text(proof: Proof) -> str:
    return "\n".join(lines(proof))


def test_a_counterexample_reads_as_one_sentence() -> None:
    moved, missing = proof_of(LEFT, ABOVE), proof_of(LEFT, RIGHT)

    assert sentence(moved.counterexamples[0]) == (
        "tree 0, features.item_ctr = 0.0051234 (exactly the threshold): "
        "reference leaf 4, challenger leaf 3"
    )
    assert sentence(missing.counterexamples[0]) == (
        "tree 0, features.item_ctr missing: reference leaf 3, challenger leaf 4"
    )
    assert headline(moved) == "challenger new leaves reference old in 1 of 1 trees"


def test_the_lines_name_node_cause_and_the_whole_row() -> None:
    said = text(proof_of(LEFT, RIGHT))

    assert "0 of the reference's tree: features.item_ctr < 0.0051234 goes left" in said
    assert "node 0 of challenger new asks features.item_ctr < 0.0051234, missing goes right" in said
    assert "row        features.item_ctr = missing" in said
    assert "looks like a missing value goes against each node's default direction" in said


def test_equal_says_what_was_shown_and_what_is_assumed() -> None:
    said = text(proof_of(LEFT, LEFT))

    assert "1 on a threshold, 1 below a threshold, 1 above a threshold, 1 missing" in said
    assert "assumes" in said
    assert "found" not in said


def test_undecided_says_why() -> None:
    proof = proof_of(LEFT, LEFT, limit=1)

    assert "nothing is proven" in headline(proof)
    assert "because    1 trees ask so differently" in text(proof)


def test_numbers_have_the_digits_of_a_float32() -> None:
    assert [number(v) for v in (0.005123400129377842, float("nan"), float("inf"))] == [
        "0.0051234", "missing", "inf",
    ]  # fmt: skip
