from __future__ import annotations

import pickle
import re
from dataclasses import replace

import numpy as np
import pytest

from parity.compare.alignment import align, mismatch
from parity.plan import Plan
from parity.tolerance import Exact
from replay.checkpoint import Checkpoint, CheckpointGraph
from replay.errors import ConfigError
from tests.toys import ToyStack, toy_batch, toys


def a_graph(*checkpoints: Checkpoint, stack: str = "s") -> CheckpointGraph:
    return CheckpointGraph(checkpoints, stack=stack)


def a_leaf(name: str = "gbdt.leaves", **more) -> Checkpoint:
    return Checkpoint(
        **{
            "name": name,
            "stage": "tree",
            "axes": ("candidate", "tree"),
            "shape": (4,),
            "dtype": "int32",
            "exact": True,
        }
        | more
    )


def test_equal_names_are_paired_in_the_challengers_order() -> None:
    reference, challenger = toys()

    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())

    assert [pair.name for pair in alignment.pairs] == list(challenger.checkpoints)
    assert alignment.unmatched_reference == alignment.unmatched_challenger == ()
    assert set(alignment.outputs) == {"logit", "pctr", "ecpm_micros", "rank"}


def test_what_has_no_partner_is_listed_on_both_sides() -> None:
    reference, challenger = ToyStack(inner="inner.mix"), ToyStack(inner="block.0")

    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())

    assert alignment.unmatched_reference == ("inner.mix",)
    assert alignment.unmatched_challenger == ("block.0",)


def test_a_rename_pairs_other_names_and_keeps_the_references() -> None:
    reference, challenger = ToyStack(inner="inner.mix"), ToyStack(inner="block.0")

    alignment = align(
        reference.checkpoints, challenger.checkpoints, Plan(renames={"block.0": "inner.mix"})
    )

    assert alignment["inner.mix"].challenger.name == "block.0"
    assert alignment.unmatched_reference == alignment.unmatched_challenger == ()
    assert "inner.mix" in alignment.ancestors["logit"]


def test_a_renamed_partner_goes_before_an_equal_name() -> None:
    ours = a_graph(a_leaf("a"), a_leaf("b"))
    theirs = a_graph(a_leaf("a"), a_leaf("b"))

    alignment = align(ours, theirs, Plan(renames={"b": "a"}))

    assert [(p.name, p.challenger.name) for p in alignment.pairs] == [("a", "b")]
    assert alignment.unmatched_reference == ("b",)
    assert alignment.unmatched_challenger == ("a",)


@pytest.mark.parametrize("renames", [{"nowhere": "a"}, {"a": "nowhere"}])
def test_a_rename_of_nothing_is_an_error_that_offers_names(renames) -> None:
    with pytest.raises(ConfigError, match=r"no checkpoint 'nowhere' \(known: a\)"):
        align(a_graph(a_leaf("a")), a_graph(a_leaf("a")), Plan(renames=renames))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dtype": "float32"}, "dtype int32 against float32"),
        ({"shape": (5,)}, r"inner axes .*4.* against .*5"),
        ({"axes": ("candidate", "leaf")}, "inner axes"),
        ({"stage": "layer"}, "stage tree against layer"),
        ({"axes": ("step", "tree")}, "rows along candidate against step"),
    ],
)
def test_equal_names_of_unlike_values_are_not_compared_and_say_why(change, says) -> None:
    ours, theirs = a_graph(a_leaf(), a_leaf("x")), a_graph(a_leaf(**change), a_leaf("x"))

    alignment = align(ours, theirs, Plan())

    assert "gbdt.leaves" not in alignment.by_name
    assert alignment.unmatched_reference == alignment.unmatched_challenger == ("gbdt.leaves",)
    assert re.search(says, alignment.mismatched["gbdt.leaves"])


def test_widths_of_one_kind_are_comparable() -> None:
    assert mismatch(a_leaf(), a_leaf(dtype="int64")) is None
    assert mismatch(a_leaf(), a_leaf(dtype="bool")) == "dtype int32 against bool"
    assert mismatch(a_leaf(dtype="<U8"), a_leaf(dtype="<U8")) == "dtype <U8 is no number"


def test_what_the_plan_leaves_out_is_neither_compared_nor_unmatched() -> None:
    reference, challenger = toys()
    plan = Plan(left_out={"encoded.*": "another vocabulary"})

    alignment = align(reference.checkpoints, challenger.checkpoints, plan)

    assert alignment.left_out == {
        "encoded.category": "another vocabulary",
        "encoded.bucket": "another vocabulary",
    }
    assert not {"encoded.category", "encoded.bucket"} & set(alignment.by_name)
    assert alignment.unmatched_challenger == ()


def test_a_statistical_plan_compares_what_two_models_share_and_keeps_the_outputs_at_hand() -> None:
    reference, challenger = toys()
    without = a_graph(
        *(
            replace(c, rounding=None, exact=False) if c.stage == "output" else c
            for c in challenger.checkpoints.values()
        )
    )

    alignment = align(reference.checkpoints, without, Plan(outputs="statistical"))

    assert {pair.stage for pair in alignment.pairs} == {"feature", "encoding"}
    assert set(alignment.outputs) == {"logit", "pctr", "ecpm_micros", "rank"}
    assert isinstance(alignment.outputs["pctr"].tolerance, Exact)
    assert {"left", "logit"} <= set(alignment.left_out)
    assert alignment.unmatched_reference == ()


def test_nothing_aligned_is_an_error_and_not_an_empty_comparison() -> None:
    with pytest.raises(ConfigError, match="no checkpoint of 'b' is aligned"):
        align(a_graph(a_leaf("x"), stack="a"), a_graph(a_leaf("y"), stack="b"), Plan())


def test_entries_of_the_plan_that_speak_of_nothing_are_told() -> None:
    reference, challenger = toys()
    plan = Plan(left_out={"layers.*": "not ours", "encoded.*": "known"})

    alignment = align(reference.checkpoints, challenger.checkpoints, plan)

    assert alignment.unused == ("left_out: layers.*",)


def test_a_requests_value_meets_the_candidates_by_repetition() -> None:
    batch = toy_batch(3)
    request_rows = Checkpoint(
        name="f", stage="feature", axes=("request",), dtype="int32", exact=True
    )
    ours, theirs = a_graph(request_rows), a_graph(replace(request_rows, axes=("candidate",)))
    pair = align(ours, theirs, Plan())["f"]
    values = np.arange(3, dtype=np.int32)
    trace = ToyStack().score(batch, capture=[])
    keys = batch.keys

    left, right = pair.values(
        replace(trace, values={"f": values}),
        replace(trace, values={"f": np.zeros(keys.num_candidates, np.int32)}),
    )

    assert pair.rows == "candidate"
    assert left.tolist() == np.repeat(values, np.diff(keys.candidate_offsets)).tolist()
    assert len(right) == len(left)


def test_an_alignment_travels_to_a_worker() -> None:
    reference, challenger = toys()
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())

    copy = pickle.loads(pickle.dumps(alignment))

    assert copy.pairs == alignment.pairs
    assert copy.ancestors == alignment.ancestors
