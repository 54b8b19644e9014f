"""Keras models and SavedModels as stacks: named layers, one cause a fault, refusals that help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.conformance import CLAIMS, Claim
from replay.errors import ArtifactError, ConfigError
from replay.stack import Stack
from tests.builders import random_batch
from tests.replay.adapters import models
from tests.replay.adapters.keras_models import blocks, opened, saved, twin_of
from tests.replay.adapters.opened import causes_between, from_module

import keras  # isort: skip  # after the adapter
import tensorflow as tf  # isort: skip

# Keras turns its own variables into arrays as numpy 1 did.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
BATCH = random_batch(24, 6, seed=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keras")


@pytest.fixture(scope="module")
def file(folder: Path) -> Stack:
    return opened(saved(blocks(), folder / "blocks.keras"))


@pytest.fixture(scope="module")
def exported(folder: Path) -> Stack:
    return opened(saved(blocks(), folder / "blocks"))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize("which", ["file", "exported"])
def test_an_adapted_model_keeps_the_contract(
    claim: Claim, which: str, request: pytest.FixtureRequest
) -> None:
    assert claim(request.getfixturevalue(which), BATCH) == []


def test_layers_are_called_by_their_names_and_operators_by_their_own(file: Any) -> None:
    names = set(file.checkpoints)
    assert {
        "table",
        "attention",
        "attention.query",
        "norm1",
        "mlp",
        "mlp.up",
        "mlp:1",
        "bn",
    } <= names
    assert "mlp.up/BiasAdd" in names
    assert file.skipped["mlp.drop"] == "it passes on what it is given"
    assert file.checkpoints["norm2"].shape == (4, 16)
    assert file.configuration()["mlp.up.activation"] == "gelu"
    assert {"mlp.up.kernel", "norm1.gamma"} <= file.weights().keys()


def test_a_saved_model_shows_the_same_places_as_the_file_and_has_no_cause(
    file: Any, exported: Any
) -> None:
    layers = {name for name in file.checkpoints if "/" not in name}
    assert layers <= set(exported.checkpoints)
    assert file.weights().keys() == exported.weights().keys()
    assert causes_between(file, exported) == []


def _row(model: Any) -> None:
    kernel = model.get_layer("mlp").get_layer("up").kernel
    kernel.assign(kernel.numpy() * np.where(np.arange(32) == 3, 1.01, 1.0))


def _eps(model: Any) -> None:
    model.get_layer("norm2").epsilon = 3e-3


def _embedding(model: Any) -> None:
    table = model.get_layer("table").embeddings
    table.assign(table.numpy() + 0.01 * (np.arange(models.NUM_IDS) % 2)[:, None])


def _bias(model: Any) -> None:
    bias = model.get_layer("numbers").bias
    bias.assign(bias.numpy() + 1e-3)


def _moving_mean(model: Any) -> None:
    mean = model.get_layer("bn").moving_mean
    mean.assign(mean.numpy() + 1e-2)


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        (_row, "mlp.up"),
        (_eps, "norm2"),
        (_embedding, "table"),
        (_bias, "numbers"),
        (_moving_mean, "bn"),
    ],
)
@pytest.mark.parametrize("ending", [".keras", ""])
def test_a_planted_fault_is_found_in_its_layer_alone(
    change: Callable[[Any], None], layer: str, ending: str, file: Stack, tmp_path: Path
) -> None:
    challenger = opened(saved(blocks(change), tmp_path / f"changed{ending}"))
    causes = causes_between(file, challenger)
    assert causes, layer
    # A layer that is called twice is wrong twice; of one operator after another the first is named.
    assert {name.split("/")[0].replace(":1", "") for name in causes} == {layer}


def test_torch_and_keras_are_compared_layer_by_layer(tmp_path: Path) -> None:
    module = models.mlp()
    reference = from_module(module)
    model = twin_of(module)
    right = opened(saved(model, tmp_path / "twin.keras"))
    assert {"price", "counts", "join.0", "join", "head"} <= (
        reference.checkpoints.keys() & right.checkpoints.keys()
    )
    assert causes_between(reference, right) == []

    layer = model.get_layer("join").layers[0]
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel * 1.001, bias])
    wrong = opened(saved(model, tmp_path / "wrong"))
    assert causes_between(reference, wrong) == ["join.0"]


def test_each_fault_moves_its_own_step_alone(exported: Any) -> None:
    everything = list(exported.checkpoints)
    bare = exported.score(BATCH, capture=everything)
    clean = exported.score(BATCH, capture=everything, given=bare.values)
    faults = exported.faults()
    still = set()
    for fault in faults:
        found = exported.planted(fault).score(BATCH, capture=everything, given=bare.values)
        moved = {n for n in everything if found[n].tobytes() != clean[n].tobytes()}
        assert moved <= {fault.checkpoint}, fault
        still |= set() if moved else {f"{fault.kind}:{fault.checkpoint}"}
    assert len({fault.kind for fault in faults}) > 14
    assert not still
    assert exported.score(BATCH, capture=everything)["rank"].tobytes() == bare["rank"].tobytes()


def test_float64_is_nearer_to_the_exact_value_and_threads_change_nothing_else(file: Any) -> None:
    names = ["mlp.up", "norm2", "logit"]
    narrow = file.score(BATCH, capture=names)
    wide = file.recompute(BATCH, names, {})
    for name in names:
        assert wide[name].dtype == np.float64
        apart = np.abs(wide[name] - narrow[name]).max()
        assert 0 < apart < file.rounding[name if name != "logit" else "return.logit"].absolute
    two = file.vary("2 threads", BATCH, names)
    assert np.allclose(two["logit"], narrow["logit"], atol=1e-6)


def test_a_graph_without_layers_goes_by_its_scopes_and_loops_are_one_step(tmp_path: Path) -> None:
    class Plain(tf.Module):
        def __init__(self) -> None:
            self.w = tf.Variable(tf.random.stateless_normal((3, 1), (1, 2)), name="w")

        @tf.function(
            input_signature=[
                tf.TensorSpec((None, 3), name="dense"),
                tf.TensorSpec((None, 2), tf.int64, name="ids"),
                tf.TensorSpec((None,), name="age"),
            ]
        )
        def __call__(self, dense: Any, ids: Any, age: Any) -> Any:
            with tf.name_scope("regression"):
                total = tf.matmul(dense, self.w)[:, 0] + age
            with tf.name_scope("decay"):
                steps = tf.while_loop(
                    lambda i, _: i < 3, lambda i, x: (i + 1, x * 0.5), (0, tf.cast(ids, tf.float32))
                )[1]
            return {"logit": total + tf.reduce_sum(steps, axis=1)}

    tf.saved_model.save(Plain(), str(tmp_path / "plain"))
    stack = opened(tmp_path / "plain")
    assert {"regression", "decay"} <= set(stack.checkpoints)
    assert stack.weights().keys() == {"regression/MatMul.w"}
    trace = stack.score(BATCH, capture=["decay", "logit"])
    shifted = stack.score(BATCH, capture=["logit"], given={"decay": trace["decay"] + 1})
    assert np.allclose(shifted["logit"], trace["logit"] + 2, atol=1e-4)


def test_half_precision_is_recorded_as_it_is_and_has_no_float64(tmp_path: Path) -> None:
    dense = keras.Input((3,), name="dense")
    hidden = keras.layers.Dense(8, name="hidden", dtype="mixed_bfloat16")(dense)
    model = keras.Model(
        [dense], {"logit": keras.layers.Dense(1, name="head", dtype="float32")(hidden)}
    )
    stack = opened(saved(model, tmp_path / "mixed.keras"))
    values = stack.score(BATCH, capture=["hidden"])["hidden"]
    assert values.dtype == np.float32
    assert not (values.view(np.uint32) & 0xFFFF).any()
    again = stack.score(BATCH, capture=["logit"], given={"hidden": values})["logit"]
    assert again.tobytes() == stack.score(BATCH, capture=["logit"])["logit"].tobytes()
    with pytest.raises(Exception, match="half precision"):
        stack.recompute(BATCH, ["logit"], {})


class _Texts(tf.Module):  # type: ignore[misc]  # tensorflow comes without types
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="examples")])  # type: ignore[untyped-decorator]  # as above
    def __call__(self, examples: Any) -> Any:
        return {"logit": tf.strings.to_number(examples)}


class _Table(tf.Module):  # type: ignore[misc]  # as above
    def __init__(self) -> None:
        keys = tf.constant([1, 2], tf.int64)
        values = tf.constant([0.5, 0.7])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, values), 0.0
        )

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64, name="age")])  # type: ignore[untyped-decorator]  # as above
    def __call__(self, age: Any) -> Any:
        return {"logit": self.table.lookup(age)}


@pytest.mark.parametrize(
    ("module", "says"),
    [(_Texts, "reads text"), (_Table, "lookup table")],
)
def test_what_is_no_graph_of_numbers_is_refused(
    module: type[Any], says: str, tmp_path: Path
) -> None:
    tf.saved_model.save(module(), str(tmp_path / "model"))
    with pytest.raises(ArtifactError, match=says):
        opened(tmp_path / "model")


def test_wrong_files_signatures_and_inputs_are_refused_with_what_to_do(
    tmp_path: Path, folder: Path, exported: Stack
) -> None:
    with pytest.raises(ArtifactError, match="no SavedModel"):
        opened(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="HDF5"):
        opened(tmp_path / "weights.h5")
    (tmp_path / "cut.keras").write_bytes(b"PK\x03\x04")
    with pytest.raises(ArtifactError, match="can not read"):
        opened(tmp_path / "cut.keras")
    with pytest.raises(ConfigError, match="serving_default"):
        opened(folder / "blocks", signature="train")
    with pytest.raises(ConfigError, match=r"no tensor 'clicks' \(known: .*view"):
        opened(folder / "blocks", logit="clicks")
    with pytest.raises(ConfigError, match="the model reads age, dense, ids"):
        opened(
            folder / "blocks",
            inputs="tests.replay.adapters.test_keras_model:age_alone",
            request_inputs=(),
            columns={},
        )


def age_alone(batch: Any) -> dict[str, Any]:
    return {"ages": np.zeros(batch.num_candidates, np.float32)}
