"""The port as a stack: declared checkpoints, `given` really used, ranks, refusals."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from modern.port.stack import PortStack, open_stack, ranks
from modern.port.trees import TreeWalk
from replay.capabilities import DescribesWeights, ExposesTrees, Plants
from replay.digests import digest_of_path
from replay.errors import ArtifactError, LogError, StackError
from replay.stack import Stack
from replay.trace import BatchKeys
from tests.artifacts import FEATURES, write_artifact
from tests.builders import SCHEMA, a_request, batch_of, random_batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("port_stack") / "legacy", num_trees=40, depth=5)


@pytest.fixture(scope="module")
def stack(folder: Path) -> PortStack:
    return open_stack(folder)


def test_it_declares_the_checkpoints_of_the_page_in_causal_order(stack: PortStack) -> None:
    discrete = [f["name"] for f in FEATURES if f["kind"] in {"bucket", "hash", "id"}]

    assert list(stack.checkpoints) == [
        *(f"features.{feature['name']}" for feature in FEATURES),
        *(f"encoded.{name}" for name in discrete),
        "gbdt.leaves",
        "regression.leaf_sum",
        "regression.category_sum",
        "logit",
        "pctr",
        "ecpm_micros",
        "rank",
    ]
    assert stack.checkpoints["features.slot"].axes == ("request",)
    assert stack.checkpoints["encoded.ad"].after == ("features.ad",)
    assert "features.ad" not in stack.checkpoints["gbdt.leaves"].after
    assert stack.checkpoints["features.hour_tokyo"].exact
    assert stack.checkpoints["features.hour_tokyo"].missing == "nan"
    assert not stack.checkpoints["features.price"].exact


def test_it_is_a_stack_with_its_capabilities(stack: PortStack, folder: Path) -> None:
    identity = stack.identity()

    for protocol in (Stack, Plants, ExposesTrees, DescribesWeights):
        assert isinstance(stack, protocol)
    assert identity.digest == digest_of_path(folder)
    assert identity.training_id == stack.parts.artifact.training_id
    assert identity.code.startswith("sha256:")
    assert identity.threads["torch"] == "1"


def test_ecpm_and_rank_follow_from_pctr_and_the_bid(stack: PortStack) -> None:
    batch = random_batch(6, 5, seed=2)

    trace = stack.score(batch, capture=["pctr", "ecpm_micros", "rank"])

    bids = np.asarray(batch.column("candidate.bid_micros").to_pylist(), np.float64)
    np.testing.assert_array_equal(trace["ecpm_micros"], 1000 * trace["pctr"].astype(float) * bids)
    offsets = batch.keys.candidate_offsets
    for start, end in pairwise(offsets):
        by_rank = trace["ecpm_micros"][start:end][np.argsort(trace["rank"][start:end])]
        assert (np.diff(by_rank) <= 0).all()
        assert sorted(trace["rank"][start:end]) == list(range(end - start))


def test_a_batch_scores_as_its_requests_do_one_by_one(stack: PortStack) -> None:
    batch, everything = random_batch(5, seed=3), list(stack.checkpoints)
    whole = stack.score(batch, capture=everything)

    singles = [stack.score(batch.take([r]), capture=everything) for r in range(5)]

    for name in everything:
        joined = np.concatenate([single[name] for single in singles])
        np.testing.assert_array_equal(joined, whole[name], err_msg=name)


def other_value(stack: PortStack, name: str, values: Any) -> Any:
    """Something else that fits the checkpoint: rows reversed, or moved by one where equal."""
    if name == "gbdt.leaves":
        return np.where(values > 0, values - 1, values + 1).astype(values.dtype)
    if name.startswith("encoded."):
        first = stack.parts.features.first_columns[name.partition(".")[2]]
        return np.where(values > first, first, first + 1).astype(values.dtype)
    if values.dtype.kind == "f":
        return (np.nan_to_num(values) + 1).astype(values.dtype)
    return np.where(values > 0, 0, 1).astype(values.dtype)


def test_what_is_given_is_carried_on_with_and_what_was_produced_is_recorded(
    stack: PortStack,
) -> None:
    """Checked at every checkpoint: its own record stays, and only its descendants move."""
    batch, everything = random_batch(30, 6, seed=4), list(stack.checkpoints)
    plain = stack.score(batch, capture=everything)

    for name in everything:
        given = {name: other_value(stack, name, plain[name])}
        trace = stack.score(batch, capture=everything, given=given)

        moved = {
            other
            for other in everything
            if not np.array_equal(
                plain[other], trace[other], equal_nan=plain[other].dtype.kind == "f"
            )
        }
        assert moved <= stack.checkpoints.descendants(name), name
        children = set(stack.checkpoints.children[name])
        # An order may survive; whatever else is computed from the checkpoint has moved.
        assert children - {"rank"} <= moved, name


def test_with_everything_given_each_checkpoint_follows_from_its_parents_alone(
    stack: PortStack,
) -> None:
    batch, everything = random_batch(4, seed=5), list(stack.checkpoints)
    plain = stack.score(batch, capture=everything)

    again = stack.score(batch, capture=everything, given=plain.values)

    for name in everything:
        np.testing.assert_array_equal(again[name], plain[name], err_msg=name)


def test_features_alone_walk_no_trees(stack: PortStack, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the trees were walked")

    monkeypatch.setattr(TreeWalk, "forward", refuse)
    batch = random_batch(2)

    trace = stack.score(batch, capture=["features.price", "encoded.ad"])

    assert set(trace.values) == {"features.price", "encoded.ad"}
    with pytest.raises(AssertionError, match="walked"):
        stack.score(batch, capture=["logit"])


def test_given_that_does_not_fit_is_refused(stack: PortStack) -> None:
    batch = random_batch(2)
    plain = stack.score(batch, capture=["gbdt.leaves", "encoded.ad", "logit"])

    cases = [
        ({"logit": plain["logit"][:-1]}, "declared float32"),
        ({"logit": plain["logit"].astype(np.float64)}, "declared float32"),
        ({"gbdt.leaves": plain["gbdt.leaves"] + np.int32(1000)}, "no weight"),
        ({"encoded.ad": plain["encoded.ad"] - np.int32(1000)}, "no weight"),
        ({"logits": plain["logit"]}, "'logits'"),
    ]
    for given, said in cases:
        with pytest.raises(StackError, match=said):
            stack.score(batch, capture=["pctr"], given=given)
    with pytest.raises(StackError, match="'score'"):
        stack.score(batch, capture=["score"])


def test_a_log_without_a_feature_of_the_model_is_refused(stack: PortStack) -> None:
    schema = SCHEMA.set(3, pa.field("user", pa.struct({"segment": pa.string()})))
    batch = batch_of(a_request() | {"user": {"segment": "a"}}, schema=schema)

    with pytest.raises(LogError, match=r"user\.clicks|user\.impressions"):
        stack.score(batch, capture=["pctr"])


def keys_of(ad_ids: pa.Array, sizes: list[int]) -> BatchKeys:
    offsets = np.cumsum([0, *sizes]).astype(np.int64)
    return BatchKeys(
        request_ids=pa.array([f"r{i}" for i in range(len(sizes))]),
        ad_ids=ad_ids,
        candidate_offsets=offsets,
        step_offsets=np.zeros(len(sizes) + 1, np.int64),
    )


def test_ranks_fall_with_the_value_within_each_request_and_ties_rise_with_the_id() -> None:
    values = np.asarray([1.0, 3.0, 3.0, 2.0, 5.0, 0.0, -0.0, np.nan])
    ids = pa.array([9, 2**62 + 1, 2**62, 1, 7, 4, 3, 1])

    found = ranks(values, keys_of(ids, [4, 1, 3]))

    assert found.dtype == np.int32
    assert found.tolist() == [3, 1, 0, 2, 0, 1, 0, 2]


def test_text_ids_break_ties_by_their_utf8_bytes() -> None:
    ids = pa.array(["b", "Z", "é", "a", "10", "9", "\U0001f45f", "\uffee"])

    found = ranks(np.ones(8), keys_of(ids, [8]))

    in_bytes = sorted(ids.to_pylist(), key=lambda text: text.encode())
    assert [in_bytes.index(text) for text in ids.to_pylist()] == found.tolist()


def test_without_money_the_probability_ranks(tmp_path: Path) -> None:
    stack = open_stack(write_artifact(tmp_path / "legacy", money=None, num_trees=3))

    trace = stack.score(random_batch(3, seed=1), capture=["pctr", "rank"])

    assert "ecpm_micros" not in stack.checkpoints
    assert stack.checkpoints["rank"].after == ("pctr",)
    first = trace["rank"][: trace.keys.candidate_offsets[1]]
    assert trace["pctr"][int(np.argmin(first))] == trace["pctr"][: len(first)].max()


def test_no_requests_leave_an_empty_trace(stack: PortStack) -> None:
    trace = stack.score(random_batch(2).take([]), capture=list(stack.checkpoints))

    assert all(len(values) == 0 for values in trace.values.values())


def test_its_trees_can_be_asked_on_their_own(stack: PortStack) -> None:
    names = stack.tree_features()
    points = stack.split_points()
    row = np.asarray([[point[0] for point in points]], np.float32)

    assert names == tuple(feature.name for feature in stack.parts.features.real)
    assert all((np.diff(point) > 0).all() for point in points)
    assert stack.leaves(row).shape == (1, 40)
    with pytest.raises(StackError, match="float64"):
        stack.leaves(row.astype(np.float64))


def test_weights_and_configuration_are_listed(stack: PortStack) -> None:
    weights = stack.weights()

    np.testing.assert_array_equal(
        weights["leaf_weights"], stack.parts.artifact.regression.leaf_weights
    )
    assert float(weights["slope"]) == 0.9
    assert "utc_offset_minutes=540" in stack.configuration()["features.hour_tokyo"]


def test_a_damaged_artifact_opens_no_stack(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        open_stack(tmp_path)
