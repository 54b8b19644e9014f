from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from legacy.artifact import open_artifact
from legacy.stack import LegacyStack, open_stack
from replay.capabilities import ExposesTrees, Plants
from replay.errors import ConfigError, LogError, StackError
from replay.stack import Stack
from tests.artifacts import write_artifact
from tests.builders import SCHEMA, a_candidate, a_request, at, batch_of, random_batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("stack") / "legacy")


@pytest.fixture(scope="module")
def stack(folder: Path) -> LegacyStack:
    return open_stack(folder)


def test_it_is_a_stack_that_plants_and_exposes_its_trees(stack: LegacyStack) -> None:
    assert isinstance(stack, Stack)
    assert isinstance(stack, Plants)
    assert isinstance(stack, ExposesTrees)


def test_checkpoints_stand_in_the_order_of_the_documents(stack: LegacyStack) -> None:
    names = list(stack.checkpoints)
    features = [n for n in names if n.startswith("features.")]
    encoded = [n for n in names if n.startswith("encoded.")]

    assert features[:3] == ["features.price", "features.hour_tokyo", "features.device_hash"]
    assert encoded[:3] == [
        "encoded.device_hash",
        "encoded.price_bucket",
        "encoded.temperature_bucket",
    ]
    assert names == [
        *features, *encoded, "gbdt.leaves", "regression.leaf_sum", "regression.category_sum",
        "logit", "pctr", "ecpm_micros", "rank",
    ]  # fmt: skip


def test_every_checkpoint_is_recorded_and_each_follows_from_the_one_before(
    stack: LegacyStack, folder: Path
) -> None:
    batch = random_batch(20, 6, seed=3)
    model = open_artifact(folder).model

    trace = stack.score(batch, capture=list(stack.checkpoints))

    assert set(trace.values) == set(stack.checkpoints)
    weights = model.regression
    columns = trace["gbdt.leaves"] + weights.leaf_offsets[:-1]
    exact = weights.leaf_weights.astype(np.float64)[columns].sum(axis=1)
    bound = stack.checkpoints["regression.leaf_sum"].rounding
    assert bound is not None
    assert np.abs(trace["regression.leaf_sum"] - exact).max() <= bound.absolute
    of = batch.keys.request_of("candidate")
    categories = np.zeros(batch.num_candidates)
    for feature in model.features.discrete:
        encoded = trace[f"encoded.{feature.name}"]
        own = encoded[of] if feature.rows == "request" else encoded
        categories += weights.category_weights.astype(np.float64)[own]
    bound = stack.checkpoints["regression.category_sum"].rounding
    assert bound is not None
    assert np.abs(trace["regression.category_sum"] - categories).max() <= bound.absolute
    logit = float(weights.bias) + exact + categories
    bound = stack.checkpoints["logit"].rounding
    assert bound is not None
    assert np.abs(trace["logit"] - logit).max() <= bound.absolute
    pctr = 1 / (1 + np.exp(-(0.9 * logit - 0.25)))
    bound = stack.checkpoints["pctr"].rounding
    assert bound is not None
    assert np.abs(trace["pctr"] - pctr).max() <= bound.absolute
    bids = batch.column("candidate.bid_micros").to_numpy()
    np.testing.assert_array_equal(
        trace["ecpm_micros"], 1000.0 * trace["pctr"].astype(np.float64) * bids
    )
    for request in range(batch.num_requests):
        ranks = trace["rank"][of == request]
        ecpm = trace["ecpm_micros"][of == request]
        assert (np.diff(ecpm[np.argsort(ranks)]) <= 0).all()


def test_what_is_captured_does_not_depend_on_what_else_is(stack: LegacyStack) -> None:
    batch = random_batch(8, 4, seed=5)
    everything = stack.score(batch, capture=list(stack.checkpoints))

    for name in stack.checkpoints:
        alone = stack.score(batch, capture=[name])
        assert list(alone.values) == [name]
        np.testing.assert_array_equal(alone[name], everything[name])


def test_given_is_used_and_what_would_have_been_is_recorded(stack: LegacyStack) -> None:
    batch = random_batch(8, 4, seed=6)
    names = ["features.price", "gbdt.leaves", "logit", "pctr", "rank"]
    plain = stack.score(batch, capture=names)
    given = np.full(batch.num_candidates, 2.5, np.float32)

    trace = stack.score(batch, capture=names, given={"logit": given})

    np.testing.assert_array_equal(trace["logit"], plain["logit"])
    np.testing.assert_array_equal(
        trace["pctr"], np.float32([1 / (1 + np.exp(-(0.9 * 2.5 - 0.25)))] * len(given))
    )
    bids = batch.column("candidate.bid_micros").to_numpy()
    of = batch.keys.request_of("candidate")
    first = of == of[0]
    assert bids[first][np.argmin(trace["rank"][first])] == bids[first].max()


def test_a_given_feature_moves_what_is_computed_from_it_alone(stack: LegacyStack) -> None:
    batch = random_batch(10, 5, seed=7)
    plain = stack.score(batch, capture=list(stack.checkpoints))
    hour = (plain["features.hour_tokyo"] + 12) % 24

    moved = stack.score(batch, capture=list(stack.checkpoints), given={"features.hour_tokyo": hour})

    changed = {
        name
        for name in stack.checkpoints
        if not np.array_equal(plain[name], moved[name], equal_nan=True)
    }
    assert changed <= stack.checkpoints.descendants("features.hour_tokyo")
    assert {"gbdt.leaves", "logit"} <= changed


@pytest.mark.parametrize("num_requests", [0, 1])
def test_small_batches_have_their_rows(stack: LegacyStack, num_requests: int) -> None:
    batch = random_batch(3, 4, seed=8).slice(0, num_requests)

    trace = stack.score(batch, capture=list(stack.checkpoints))

    assert len(trace["rank"]) == batch.num_candidates
    assert len(trace["features.slot"]) == num_requests


def test_requests_together_score_as_they_do_alone(stack: LegacyStack) -> None:
    batch = random_batch(6, 5, seed=9)
    together = stack.score(batch, capture=["features.title_hash", "gbdt.leaves", "logit"])

    for name, values in together.values.items():
        alone = [stack.score(batch.take([request]), capture=[name])[name] for request in range(6)]
        np.testing.assert_array_equal(np.concatenate(alone), values)


def test_unusable_given_is_refused(stack: LegacyStack) -> None:
    batch = batch_of(a_request(num_candidates=2))

    with pytest.raises(StackError, match="float64"):
        stack.score(batch, capture=["pctr"], given={"logit": np.zeros(2)})
    leaves = np.full((2, 12), 99, np.int32)
    with pytest.raises(StackError, match="lies outside tree 0"):
        stack.score(batch, capture=["pctr"], given={"gbdt.leaves": leaves})
    with pytest.raises(StackError, match="no checkpoint is called 'logits'"):
        stack.score(batch, capture=["logits"])


def test_a_log_without_bids_is_refused(stack: LegacyStack) -> None:
    batch = batch_of(a_request())
    struct = batch.records.column("candidates").type.value_type
    fields = [f for f in struct if f.name != "bid_micros"]
    schema = SCHEMA.set(5, pa.field("candidates", pa.list_(pa.struct(fields))))

    with pytest.raises(LogError, match=r"candidate\.bid_micros"):
        stack.score(batch_of(a_request(), schema=schema), capture=["rank"])


def test_without_money_candidates_rank_by_pctr(tmp_path: Path) -> None:
    stack = open_stack(write_artifact(tmp_path / "legacy", num_trees=3, money=None))

    trace = stack.score(random_batch(5, 6, seed=1), capture=["pctr", "rank"])

    assert "ecpm_micros" not in stack.checkpoints
    assert stack.checkpoints["rank"].after == ("pctr",)
    assert trace["rank"][np.argmax(trace["pctr"][: len(trace["rank"])])] == 0


def test_the_identity_names_what_ran(stack: LegacyStack, folder: Path) -> None:
    identity = stack.identity()

    assert identity.training_id == open_artifact(folder).training_id
    assert identity.digest.startswith("sha256:")
    assert {"python", "xgboost", "tensorflow"} <= set(identity.versions)
    assert open_stack(folder, name="old").identity().name == "old"


def test_exposed_trees_give_the_leaves_of_a_score(stack: LegacyStack) -> None:
    batch = random_batch(6, 5, seed=2)
    trace = stack.score(batch, capture=[*stack.tree_features(), "gbdt.leaves"])
    of = batch.keys.request_of("candidate")
    rows = [
        trace[name][of] if stack.checkpoints[name].rows == "request" else trace[name]
        for name in stack.tree_features()
    ]

    np.testing.assert_array_equal(stack.leaves(np.stack(rows, axis=1)), trace["gbdt.leaves"])
    assert len(stack.split_points()) == len(stack.tree_features())


def edge_batch(stack: LegacyStack):
    """Requests on bucket edges and tree thresholds, in the late evening of UTC, with known rates."""
    splits = dict(zip(stack.tree_features(), stack.split_points(), strict=True))
    prices = [*map(float, splits["features.price"]), -1.5, 0.0, 10.0, 19.5, 100.0]
    return batch_of(
        *(
            a_request(
                f"r-{i}",
                logged_at=at("2019-11-30 22:30"),
                context={"temperature": 10.0},
                user={"impressions": 12},
                candidates=[a_candidate(i + 1, price=price)],
            )
            for i, price in enumerate(prices)
        )
    )


def test_each_fault_changes_its_own_checkpoint_first(stack: LegacyStack) -> None:
    """Each checkpoint is computed from the sound stack's values: what parts is the fault's own."""
    batch = edge_batch(stack)
    names = list(stack.checkpoints)
    sound = stack.score(batch, capture=names)
    faults = stack.faults()
    assert {fault.kind for fault in faults} == {
        "bucket_edge_side", "hash_seed", "utc_offset", "rate_prior", "threshold_le",
        "tree_limit", "weight_scale",
    }  # fmt: skip

    for fault in faults:
        planted = stack.planted(fault)
        trace = planted.score(batch, capture=names, given=sound.values)

        parted = []
        for name in names:
            rounding = stack.checkpoints[name].rounding
            allowed = 2 * rounding.absolute if rounding else 0.0
            ulps = np.spacing(np.abs(sound[name])) if rounding and rounding.ulps else 0.0
            difference = np.abs(trace[name].astype(np.float64) - sound[name])
            if (np.nan_to_num(difference) > allowed + ulps).any():
                parted.append(name)
        assert parted == [fault.checkpoint], f"{fault.kind}:{fault.checkpoint}"
        assert planted.identity().digest != stack.identity().digest
        assert planted.identity().training_id == stack.identity().training_id


def test_planting_leaves_the_sound_stack_as_it_was(stack: LegacyStack) -> None:
    batch = edge_batch(stack)
    before = stack.score(batch, capture=list(stack.checkpoints))

    for fault in stack.faults():
        stack.planted(fault)

    after = stack.score(batch, capture=list(stack.checkpoints))
    for name in stack.checkpoints:
        np.testing.assert_array_equal(after[name], before[name])


def test_two_faults_stand_in_one_stack(stack: LegacyStack) -> None:
    batch = edge_batch(stack)
    sound = stack.score(batch, capture=list(stack.checkpoints))
    first, second = (f for f in stack.faults() if f.kind in ("tree_limit", "threshold_le"))

    both = stack.planted(first).planted(second)

    trace = both.score(batch, capture=list(stack.checkpoints), given=sound.values)
    for checkpoint in ("gbdt.leaves", "regression.leaf_sum"):
        assert not np.array_equal(trace[checkpoint], sound[checkpoint])


def test_an_unknown_fault_is_refused_with_what_there_is(stack: LegacyStack) -> None:
    fault = stack.faults()[0]
    with pytest.raises(ConfigError, match=r"tree_limit:regression\.leaf_sum"):
        stack.planted(replace(fault, checkpoint="features.ad"))
