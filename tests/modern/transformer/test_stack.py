from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from modern.transformer.config import Form, Task
from modern.transformer.forward import CHUNK
from modern.transformer.layout import layout_of
from modern.transformer.module_places import module_places
from modern.transformer.stack import TransformerStack, open_stack
from replay.capabilities import DescribesWeights, Fault, Plants
from replay.checkpoint import Checkpoint
from replay.conformance import check_stack
from replay.errors import ArtifactError, ConfigError, StackError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array
from tests.builders import a_candidate, a_request, batch_of, random_batch
from tests.modern.small_transformer import (
    CONFIG,
    TRAINING_ID,
    config,
    feature_set,
    write_artifact,
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> TransformerStack:
    return open_stack(write_artifact(tmp_path_factory.mktemp("modern") / "artifact"))


@pytest.fixture(scope="module")
def batch() -> RequestBatch:
    return random_batch(num_requests=30, candidates=6, seed=5)


def everything(stack: TransformerStack, batch: RequestBatch) -> dict[str, Array]:
    return dict(stack.score(batch, capture=tuple(stack.checkpoints)).values)


def moved(checkpoint: Checkpoint, values: Array) -> Array:
    """Other values that the checkpoint could have."""
    if values.dtype.kind == "f":
        # Not the same everywhere: a norm takes out what all channels share.
        ramp = np.linspace(0.5, 1.5, values.size).reshape(values.shape)
        filled = np.where(np.isnan(values), 1.0, values)
        return (filled * 0.9 + 0.3 * ramp).astype(values.dtype)
    return values[::-1].copy()


def within(left: Array, right: Array, bound: float) -> bool:
    return bool((np.abs(left - right) <= bound)[~(np.isnan(left) & np.isnan(right))].all())


def same(left: Array, right: Array) -> bool:
    return np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


def test_it_is_a_stack_with_its_capabilities(stack: TransformerStack) -> None:
    assert isinstance(stack, Stack)
    assert isinstance(stack, Plants)
    assert isinstance(stack, DescribesWeights)


def test_its_checkpoints_are_features_tokens_modules_outputs_in_that_order(
    stack: TransformerStack,
) -> None:
    def layers(path: str, count: int) -> list[str]:
        parts = (".attention_norm", ".attention", ".feed_forward_norm", ".feed_forward", "")
        return [f"{path}.layers.{place}{part}" for place in range(count) for part in parts]

    features = ["hour", "segment", "price", "advertiser", "seen", "price_bucket"]
    steps = ["history.action", "history.brand", "history.ad"]

    assert list(stack.checkpoints) == [
        *(f"features.{name}" for name in (*features, *steps)),
        *("history.age_hours", "history.old", "history.weight", "history.place"),
        "request_tokens",
        *layers("request", 1),
        "request.norm",
        *("step_tokens.age", "step_tokens"),
        *layers("history", 2),
        "history.norm",
        *("candidate_tokens", "interest.query_norm", "interest"),
        *layers("interaction", 2),
        *("interaction.norm", "heads"),
        "logit",
        "pctr",
        "ecpm_micros",
        "rank",
    ]
    assert stack.checkpoints["request_tokens"].axes == ("request", "token", "channel")
    assert stack.checkpoints["request_tokens"].shape == (3, 8)
    assert stack.checkpoints["step_tokens"].axes == ("step", "channel")
    assert stack.checkpoints["interaction.layers.0"].shape == (6, 8)
    assert stack.checkpoints["interaction.layers.1"].shape == (1, 8)


def test_every_real_checkpoint_says_how_far_rounding_may_move_it(stack: TransformerStack) -> None:
    for checkpoint in stack.checkpoints.values():
        is_real = np.dtype(checkpoint.dtype).kind == "f"
        assert checkpoint.exact or (is_real and checkpoint.rounding is not None), checkpoint.name


def test_a_log_without_bids_ranks_by_pctr(tmp_path: Path, batch: RequestBatch) -> None:
    stack = open_stack(write_artifact(tmp_path / "artifact", money=None))

    trace = stack.score(batch, capture=("pctr", "rank"))

    assert "ecpm_micros" not in stack.checkpoints
    assert stack.checkpoints["rank"].after == ("pctr",)
    first = trace["rank"] == 0
    offsets = batch.keys.candidate_offsets
    best = [trace["pctr"][a:b].max() for a, b in pairwise(offsets)]
    np.testing.assert_array_equal(trace["pctr"][first], best)


def test_ecpm_is_a_thousand_times_pctr_times_bid(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    trace = stack.score(batch, capture=("pctr", "ecpm_micros"))

    bids = batch.column("candidate.bid_micros").to_numpy()
    expected = 1000.0 * trace["pctr"].astype(np.float64) * bids
    np.testing.assert_array_equal(trace["ecpm_micros"], expected)


def test_equal_candidates_are_ranked_by_their_ad_id(stack: TransformerStack) -> None:
    twins = batch_of(a_request(candidates=[a_candidate(ad_id) for ad_id in (9, 2**40, 3)]))

    trace = stack.score(twins, capture=("rank", "pctr"))

    assert len(set(trace["pctr"])) == 1
    assert trace["rank"].tolist() == [1, 2, 0]


def test_capturing_everything_changes_no_bit(stack: TransformerStack, batch: RequestBatch) -> None:
    captured = everything(stack, batch)

    for name, checkpoint in stack.checkpoints.items():
        alone = stack.score(batch, capture=(name,))[name]
        assert alone.dtype == checkpoint.dtype
        assert same(alone, captured[name]), name


def test_giving_a_checkpoint_its_own_values_changes_no_bit(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    captured = everything(stack, batch)

    again = stack.score(batch, capture=tuple(stack.checkpoints), given=captured)

    for name, values in captured.items():
        assert same(again[name], values), name


def test_what_is_given_moves_all_children_and_no_more_than_the_declared_descendants(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    """Also: what would have been produced at the given checkpoint is recorded, not what was given."""
    before = everything(stack, batch)
    for name, checkpoint in stack.checkpoints.items():
        given = {name: moved(checkpoint, before[name])}
        assert not same(given[name], before[name])

        after = stack.score(batch, capture=tuple(stack.checkpoints), given=given).values

        changed = {other for other in before if not same(after[other], before[other])}
        assert name not in changed
        assert changed <= stack.checkpoints.descendants(name), name
        # The rank need not move with every eCPM, nor eCPMs be told apart by a reversed bucket.
        assert {c for c in stack.checkpoints.children[name] if c != "rank"} <= changed, name


def test_with_all_parents_given_nothing_further_up_matters(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    before = everything(stack, batch)
    for name, checkpoint in stack.checkpoints.items():
        parents = {parent: before[parent] for parent in checkpoint.after}
        if not parents:
            continue
        ancestors = stack.checkpoints.ancestors(name) - parents.keys()
        disturbed = {up: moved(stack.checkpoints[up], before[up]) for up in ancestors}

        after = stack.score(batch, capture=(name,), given=parents | disturbed)

        assert same(after[name], before[name]), name


def test_a_batch_gives_what_its_requests_give_one_by_one(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    together = everything(stack, batch)
    singles = [everything(stack, batch.slice(i, i + 1)) for i in range(batch.num_requests)]

    for name, checkpoint in stack.checkpoints.items():
        alone = np.concatenate([single[name] for single in singles])
        if checkpoint.exact or checkpoint.stage == "feature":
            assert same(alone, together[name]), name
        elif name == "ecpm_micros":
            np.testing.assert_allclose(alone, together[name], rtol=1e-5)
        else:
            assert checkpoint.rounding is not None
            bound = 2 * checkpoint.rounding.absolute
            assert alone.dtype == np.float32 and within(alone, together[name], bound), name


def test_candidates_of_several_chunks_stand_in_their_order(stack: TransformerStack) -> None:
    large = batch_of(
        *(
            a_request(f"r-{i}", candidates=[a_candidate(ad, price=i + 0.5 * ad) for ad in range(9)])
            for i in range(CHUNK // 9 + 20)
        )
    )
    assert large.num_candidates > CHUNK
    captured = everything(stack, large)

    last = large.num_requests - 1
    alone = everything(stack, large.slice(last, last + 1))

    for name in ("candidate_tokens", "interaction.layers.0", "logit", "pctr"):
        np.testing.assert_allclose(captured[name][-9:], alone[name], rtol=0, atol=1e-5)
    given = {"candidate_tokens": captured["candidate_tokens"]}
    again = stack.score(large, capture=("pctr",), given=given)
    np.testing.assert_array_equal(again["pctr"], captured["pctr"])


def test_no_requests_give_empty_arrays(stack: TransformerStack, batch: RequestBatch) -> None:
    captured = everything(stack, batch.take([]))

    for name, checkpoint in stack.checkpoints.items():
        assert captured[name].shape == (0, *checkpoint.shape), name


def test_only_what_is_needed_is_computed(
    stack: TransformerStack, batch: RequestBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr("modern.transformer.run.run_forward", never)
    pctr = np.full(batch.num_candidates, 0.5, dtype=np.float32)

    stack.score(batch, capture=("features.price",))
    stack.score(batch, capture=("rank",), given={"pctr": pctr})


def test_given_values_are_neither_written_to_nor_warned_about(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    given = everything(stack, batch)
    assert not any(values.flags.writeable for values in given.values())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack.score(batch, capture=("rank",), given=given)


def test_unknown_and_unfitting_checkpoints_are_refused(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    with pytest.raises(StackError, match=r"no checkpoint is called 'request\.layers\.7'"):
        stack.score(batch, capture=("request.layers.7",))
    with pytest.raises(StackError, match="no checkpoint is called"):
        stack.score(batch, capture=("pctr",), given={"encoded.segment": np.zeros(1, np.int32)})
    with pytest.raises(StackError, match="'logit' is float64"):
        stack.score(batch, capture=("pctr",), given={"logit": np.zeros(batch.num_candidates)})


def test_no_bit_depends_on_what_was_scored_before(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    first = everything(stack, batch)
    stack.score(
        batch, capture=("logit",), given={"step_tokens": np.zeros_like(first["step_tokens"])}
    )

    assert all(same(values, first[name]) for name, values in everything(stack, batch).items())


def test_the_identity_names_artifact_training_code_and_versions(stack: TransformerStack) -> None:
    found = stack.identity()

    assert found.name == "modern"
    assert found.training_id == TRAINING_ID
    assert found.digest.startswith("sha256:")
    assert found.code.startswith("sha256:")
    assert found.versions["torch"].startswith("2.")
    assert found.threads["torch"] == str(torch.get_num_threads())


def test_a_damaged_artifact_is_refused(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "artifact")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        open_stack(folder)


def test_faults_of_every_kind_are_offered_at_every_place_that_has_them(
    stack: TransformerStack,
) -> None:
    offered = {(fault.kind, fault.checkpoint) for fault in stack.faults()}

    paths = [p.path for p in module_places(layout_of(feature_set()), CONFIG.transformer)]
    assert {c for kind, c in offered if kind == "layernorm_eps"} == {
        path for path in paths if path.endswith("norm")
    }
    assert {c for kind, c in offered if kind == "gelu_tanh"} == {
        path for path in paths if path.endswith("feed_forward")
    }
    assert {c for kind, c in offered if kind == "weight_scale"} == {
        path
        for path in paths
        if path.endswith(("attention", "feed_forward", "heads")) or path == "interest"
    }
    assert {c for kind, c in offered if kind == "mask_inverted"} == {
        *("history.layers.0.attention", "history.layers.1.attention", "interest"),
    }
    assert {
        ("utc_offset", "features.hour"),
        ("hash_seed", "features.segment"),
        ("hash_seed", "features.history.action"),
        ("age_in_days", "history.age_hours"),
        ("history_lag", "history.place"),
        ("truncate_newest", "history.place"),
        ("reverse_history", "history.place"),
        ("age_bucket", "step_tokens.age"),
        ("padding_id_shared", "step_tokens"),
        ("dropout_left_on", "interaction.layers.1.attention"),
    } <= offered


def test_every_fault_is_local_to_its_checkpoint_and_beyond_its_rounding(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    """With everything given from the sound stack, only the place of the fault differs."""
    sound = everything(stack, batch)
    for fault in stack.faults():
        planted = stack.planted(fault)

        local = planted.score(batch, capture=tuple(stack.checkpoints), given=sound).values

        assert [n for n in sound if not same(local[n], sound[n])] == [fault.checkpoint]
        rounding = stack.checkpoints[fault.checkpoint].rounding
        if rounding is not None:
            difference = np.nanmax(np.abs(local[fault.checkpoint] - sound[fault.checkpoint]))
            assert difference > 4 * rounding.absolute, fault
        if fault.kind != "reverse_history":  # steps have ages and no positions: no logit moves
            assert not same(everything(planted, batch)["pctr"], sound["pctr"]), fault


def test_planting_leaves_the_stack_as_it_is_and_makes_another_identity(
    stack: TransformerStack, batch: RequestBatch
) -> None:
    sound = everything(stack, batch)
    planted, count = stack, 0
    for fault in stack.faults():
        if fault in planted.faults():  # a bias that was left out can not be late as well
            planted, count = planted.planted(fault), count + 1

    assert planted.identity().digest != stack.identity().digest
    assert planted.identity().training_id == TRAINING_ID
    assert len(planted.plants) == count > 0.8 * len(stack.faults())
    assert all(same(values, sound[name]) for name, values in everything(stack, batch).items())


def test_an_unknown_fault_is_refused_with_what_there_is(stack: TransformerStack) -> None:
    unknown = Fault(kind="gelu_tanh", checkpoint="heads", where="code", says="nothing")

    with pytest.raises(ConfigError, match=r"gelu_tanh:request\.layers\.0\.feed_forward"):
        stack.planted(unknown)


def test_weights_and_configuration_are_told_by_name(stack: TransformerStack) -> None:
    assert stack.weights()["interaction.layers.0.attention.out.weight"].shape == (8, 8)
    assert stack.configuration()["transformer.layernorm_eps"] == "1e-05"
    assert stack.configuration()["history.max_recent"] == "2"
    assert "540" in stack.configuration()["features.hour"]
    assert stack.configuration()["request.norm.norm"] == "layer norm"


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("layernorm_eps", "interaction.norm.eps"),
        ("gelu_tanh", "interaction.layers.1.feed_forward.activation.approximate"),
        ("gelu_as_relu", "interaction.layers.1.feed_forward.activation.activation"),
        ("gelu_as_silu", "request.layers.0.feed_forward.activation.activation"),
    ],
)
def test_a_fault_of_the_configuration_shows_in_the_configuration(
    stack: TransformerStack, kind: str, key: str
) -> None:
    (fault,) = (f for f in stack.faults() if f.kind == kind and key.startswith(f"{f.checkpoint}."))

    before, after = stack.configuration(), stack.planted(fault).configuration()

    # What is another function is not approximated either way.
    assert [name for name in before if name in after and before[name] != after[name]] == [key]


@pytest.mark.parametrize("form", ["plain", "early_fusion", "no_history"])
def test_every_form_is_a_stack_that_keeps_its_contract(tmp_path: Path, form: Form) -> None:
    folder = write_artifact(tmp_path / "artifact", of=config(form=form))

    violations = check_stack(open_stack(folder), random_batch(12, 4, seed=5))

    assert not any(violations.values()), violations


def test_further_tasks_have_logits_and_probabilities_of_their_own(
    tmp_path: Path, batch: RequestBatch
) -> None:
    tasks: tuple[Task, ...] = ("click", "conversion", "view_2s")
    stack = open_stack(write_artifact(tmp_path / "artifact", of=config(tasks=tasks)))

    found = everything(stack, batch)

    for place, task in enumerate(tasks):
        logit = found["logit" if task == "click" else f"logit.{task}"]
        probability = found["pctr" if task == "click" else f"p.{task}"]
        prior = np.float32([-2.0, -3.0, -1.0][place])
        np.testing.assert_allclose(logit, found["heads"][:, place] + prior, rtol=0, atol=1e-6)
        expected = 1 / (1 + np.exp(-((1.1 + place) * logit.astype(np.float64) - 0.2)))
        np.testing.assert_allclose(probability, expected, rtol=1e-6)
    assert not any(check_stack(stack, random_batch(12, 4, seed=5)).values())


def test_plain_and_shared_stacks_agree_at_every_checkpoint(
    tmp_path: Path, stack: TransformerStack, batch: RequestBatch
) -> None:
    """Rung 5 of the ladder: what is shared changes nothing beyond rounding."""
    plain = open_stack(write_artifact(tmp_path / "artifact", of=config(form="plain")))
    ours = everything(stack, batch)

    theirs = everything(plain, batch)
    local = plain.score(batch, capture=tuple(plain.checkpoints), given=ours).values

    assert list(plain.checkpoints) == list(stack.checkpoints)
    for name, checkpoint in stack.checkpoints.items():
        if checkpoint.rounding is None or checkpoint.stage == "feature":
            assert same(ours[name], theirs[name]), name
        elif name != "ecpm_micros":
            bound = 2 * checkpoint.rounding.absolute
            assert within(ours[name], theirs[name], bound), name
            assert within(ours[name], local[name], bound), name


def test_a_step_that_is_not_read_has_no_value(stack: TransformerStack, batch: RequestBatch) -> None:
    found = everything(stack, batch)

    unread = found["history.place"] < 0
    assert unread.any() and not unread.all()
    for name, checkpoint in stack.checkpoints.items():
        if checkpoint.axes[0] == "step" and name.startswith(("step_tokens", "history.l")):
            values = found[name].reshape(len(unread), -1)
            absent = np.isnan(values) if values.dtype.kind == "f" else values == -1
            np.testing.assert_array_equal(absent.all(axis=1), unread, err_msg=name)
            np.testing.assert_array_equal(absent.any(axis=1), unread, err_msg=name)
