"""Score and trace give the same bits, and every checkpoint can be given."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cpp_serving.stack import CppStack, open_stack
from replay.digests import digest_of_file
from replay.errors import ConfigError, LogError, StackError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array, Trace
from tests.artifacts import random_batch
from tests.builders import SCHEMA, a_candidate, a_request, batch_of
from tests.cpp_serving.opened import exported, opened


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> CppStack:
    return opened(tmp_path_factory.mktemp("stack"))


def everything(stack: CppStack, batch: RequestBatch) -> Trace:
    return stack.score(batch, capture=list(stack.checkpoints))


@pytest.mark.parametrize("money", ["candidate.bid_micros", None])
def test_the_fused_score_has_the_bits_of_the_trace(tmp_path: Path, money: str | None) -> None:
    stack = opened(tmp_path, money=money, num_trees=30, depth=5)
    outputs = [name for name in ("pctr", "ecpm_micros", "rank") if name in stack.checkpoints]
    assert ("ecpm_micros" in outputs) is (money is not None)
    for seed in range(5):
        batch = random_batch(20, 7, seed=seed)
        fused = stack.scorer.score(batch.records)
        traced = everything(stack, batch)
        assert sorted(fused) == sorted(outputs)
        for name in outputs:
            assert fused[name].tobytes() == traced[name].tobytes()


def test_capturing_less_records_the_same_bits(stack: CppStack) -> None:
    batch = random_batch(6, 4, seed=1)
    whole = everything(stack, batch)
    for name in stack.checkpoints:
        assert stack.score(batch, capture=[name])[name].tobytes() == whole[name].tobytes(), name


def test_requests_one_by_one_have_the_bits_of_the_batch(stack: CppStack) -> None:
    batch = random_batch(6, 4, seed=2)
    names = list(stack.checkpoints)
    singles = [stack.score(batch.take([r]), capture=names) for r in range(batch.num_requests)]
    whole = everything(stack, batch)
    for name in names:
        joined = np.concatenate([single[name] for single in singles])
        assert joined.tobytes() == whole[name].tobytes(), name


def other_values(stack: CppStack, name: str, produced: Array) -> Array:
    """Values that differ from the produced ones in every row, within what the checkpoint holds."""
    if name == "gbdt.leaves":
        sizes = np.diff(stack.scorer.leaf_offsets.astype(np.int64))
        return ((produced + 1) % sizes).astype(np.int32)
    if name == "rank":
        return produced[::-1].copy()
    if produced.dtype.kind == "f":
        return (np.nan_to_num(produced, posinf=0.0, neginf=0.0) * -0.5 + 3.25).astype(
            produced.dtype
        )
    if name.startswith("encoded."):
        return (produced + 1) % np.int32(len(stack.scorer.category_weights))
    kind, cardinality = {
        f"features.{feature}": (kind, size) for feature, kind, _, size in stack.scorer.features()
    }[name]
    if kind == "id":
        return np.where(produced == 1, 2, 1).astype(np.int64)
    return ((produced + 1) % cardinality).astype(np.int32)


def test_a_given_checkpoint_records_what_it_would_have_produced_and_moves_its_children(
    stack: CppStack,
) -> None:
    batch = random_batch(30, 6, seed=3)
    graph = stack.checkpoints
    names = list(graph)
    bare = everything(stack, batch)
    for name in names:
        given = {name: other_values(stack, name, bare[name])}
        assert not np.array_equal(given[name], bare[name])
        trace = stack.score(batch, capture=names, given=given)
        assert trace[name].tobytes() == bare[name].tobytes(), name
        moved = {n for n in names if trace[n].tobytes() != bare[n].tobytes()}
        assert moved <= graph.descendants(name), name
        # A real feature without a split reaches no leaf; every other child must have moved.
        used = {
            feature
            for feature, points in zip(stack.tree_features(), stack.split_points(), strict=True)
            if len(points)
        }
        if not name.startswith("features.") or name.removeprefix("features.") in used:
            assert moved >= set(graph.children[name]), name


def test_with_all_parents_given_nothing_above_them_matters(stack: CppStack) -> None:
    batch = random_batch(10, 5, seed=4)
    graph = stack.checkpoints
    bare = everything(stack, batch)
    for name, checkpoint in graph.items():
        given = {parent: bare[parent] for parent in checkpoint.after}
        above = {
            ancestor: other_values(stack, ancestor, bare[ancestor])
            for ancestor in graph.ancestors(name) - set(checkpoint.after)
        }
        trace = stack.score(batch, capture=[name], given={**above, **given})
        assert trace[name].tobytes() == bare[name].tobytes(), name


def test_given_what_it_produced_it_ends_where_it_would_have_ended(stack: CppStack) -> None:
    batch = random_batch(5, 4, seed=5)
    bare = everything(stack, batch)
    trace = stack.score(batch, capture=["rank", "pctr"], given=dict(bare.values))
    assert trace["pctr"].tobytes() == bare["pctr"].tobytes()


@pytest.mark.parametrize(
    "wrong",
    [
        {"logit": np.zeros(3, dtype=np.float64)},
        {"logit": np.zeros(4, dtype=np.float32)},
        {"logit": np.zeros((3, 1), dtype=np.float32)},
        {"features.ad": np.zeros(3, dtype=np.int32)},
        {"gbdt.leaves": np.zeros((3, 12), dtype=np.int64)},
    ],
)
def test_given_of_another_dtype_or_shape_is_refused(
    stack: CppStack, wrong: dict[str, Array]
) -> None:
    batch = batch_of(a_request(num_candidates=3))

    with pytest.raises(StackError, match="declared"):
        stack.score(batch, capture=["pctr"], given=wrong)
    with pytest.raises(TypeError, match="never converted"):
        stack.scorer.trace(batch.records, ["pctr"], wrong)


def test_the_module_converts_nothing(stack: CppStack) -> None:
    batch = batch_of(a_request(num_candidates=3))
    column = np.zeros((3, 2), dtype=np.float32)[:, 0]
    swapped = np.zeros(3, dtype=np.dtype(np.float32).newbyteorder())
    for wrong in (column, swapped, [0.0, 0.0, 0.0], None):
        with pytest.raises(TypeError):
            stack.scorer.trace(batch.records, ["pctr"], {"logit": wrong})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="__arrow_c_array__"):
        stack.scorer.score([1, 2])  # type: ignore[arg-type]

    given = stack.score(batch, capture=["pctr"], given={"logit": column})

    assert given["pctr"].shape == (3,)


def test_given_indices_out_of_range_are_refused(stack: CppStack) -> None:
    batch = batch_of(a_request(num_candidates=1))
    trees = len(stack.scorer.leaf_offsets) - 1
    columns = len(stack.scorer.category_weights)
    for name, values, captured in (
        ("gbdt.leaves", np.full((1, trees), 10**6, dtype=np.int32), "logit"),
        ("gbdt.leaves", np.full((1, trees), -1, dtype=np.int32), "logit"),
        ("encoded.ad", np.array([columns], dtype=np.int32), "logit"),
        ("features.price_bucket", np.array([99], dtype=np.int32), "encoded.price_bucket"),
    ):
        with pytest.raises(StackError, match=str(values.flat[0])) as raised:
            stack.score(batch, capture=[captured], given={name: values})
        assert name in raised.value.where


def test_unknown_checkpoints_are_refused_with_the_known_ones(stack: CppStack) -> None:
    batch = batch_of(a_request())
    with pytest.raises(StackError, match=r"regression\.leaf_sum"):
        stack.score(batch, capture=["regression.leafs"])
    with pytest.raises(StackError, match="known"):
        stack.score(batch, capture=["pctr"], given={"logits": np.zeros(1, dtype=np.float32)})
    with pytest.raises(StackError, match="no checkpoint"):
        stack.scorer.trace(batch.records, ["logits"], {})


def test_nothing_is_computed_that_is_not_needed(stack: CppStack) -> None:
    """A log without the field of one feature still gives all the others."""
    batch = batch_of(a_request(num_candidates=2))
    candidates = batch.records.column("candidates")
    keep = [f.name for f in candidates.type.value_type if f.name != "price"]
    struct = pa.StructArray.from_arrays([candidates.values.field(n) for n in keep], keep)
    records = batch.records.set_column(
        batch.records.schema.names.index("candidates"),
        "candidates",
        pa.ListArray.from_arrays(candidates.offsets, struct),
    )
    without = RequestBatch(records)

    trace = stack.score(without, capture=["features.fresh", "encoded.ad"])

    assert trace["features.fresh"].shape == (2,)
    for name in ("features.price", "gbdt.leaves", "pctr"):
        with pytest.raises(LogError, match=r"candidate\.price"):
            stack.score(without, capture=[name])


def test_ranks_fall_by_ecpm_with_ties_by_ad_id(stack: CppStack) -> None:
    batch = batch_of(
        a_request("a", candidates=[a_candidate(i) for i in (2**40 + 1, 3, 2**24 + 1)]),
        a_request("b", candidates=[a_candidate(i) for i in (9, 8)]),
    )
    ecpm = np.array([5.0, 5.0, 7.0, math.nan, -1.0])

    trace = stack.score(batch, capture=["rank"], given={"ecpm_micros": ecpm})

    assert trace["rank"].tolist() == [2, 1, 0, 1, 0]


def test_text_ad_ids_tie_by_their_utf8_bytes(tmp_path: Path) -> None:
    names = [*(f.name for f in SCHEMA.field("candidates").type.value_type)]
    candidate = pa.struct(
        [
            pa.field(n, pa.string() if n == "ad_id" else SCHEMA.field("candidates").type.value_type.field(n).type)
            for n in names
        ]
    )  # fmt: skip
    schema = SCHEMA.set(
        SCHEMA.get_field_index("candidates"), pa.field("candidates", pa.list_(candidate))
    )
    stack = opened(
        tmp_path,
        features=[{"name": "price", "kind": "number", "source": "candidate.price"}],
        num_trees=1,
        depth=1,
    )
    ids = ["é", "z", "", "Z", "zz", "\U0001f45f", "\uffee"]
    batch = batch_of(a_request(candidates=[a_candidate(i) for i in ids]), schema=schema)

    rank = stack.score(batch, capture=["rank"])["rank"]

    expected = sorted(ids, key=str.encode)
    assert [ids[int(place)] for place in np.argsort(rank)] == expected


def test_an_empty_batch_has_no_rows(stack: CppStack) -> None:
    empty = random_batch(2, 2).take([])
    trace = everything(stack, empty)
    assert all(len(trace[name]) == 0 for name in stack.checkpoints)
    assert stack.score(empty, capture=["rank"])["rank"].shape == (0,)
    assert dict(stack.score(random_batch(2, 2), capture=[]).values) == {}


def test_a_missing_bid_or_column_is_refused(stack: CppStack) -> None:
    batch = batch_of(a_request(candidates=[a_candidate(1), a_candidate(2, bid_micros=None)]))
    with pytest.raises(LogError, match="no bid"):
        stack.score(batch, capture=["rank"])
    with pytest.raises(LogError, match="no column 'history'"):
        stack.scorer.score(batch.records.drop_columns(["history"]))


def test_identity_names_the_file_and_its_training(tmp_path: Path) -> None:
    path = exported(tmp_path)
    stack = open_stack(path, name="mine")

    identity = stack.identity()

    assert isinstance(stack, Stack)
    assert identity.name == stack.name == "mine"
    assert identity.digest == digest_of_file(path)
    assert identity.training_id == stack.scorer.training_id
    assert identity.code.startswith("sha256:")
    assert set(identity.versions) == {"numpy", "pyarrow"}


def test_wrong_use_of_the_opener_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no artifact"):
        open_stack(None)
    with pytest.raises(ConfigError, match="bach_size"):
        open_stack(tmp_path / "scorer.bin", bach_size=3)
