from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modern.engine.stack import COARSER, EngineStack, open_stack
from modern.transformer.stack import open_stack as open_transformer
from parity.explain.weights import weight_facts
from replay.capabilities import Fault
from replay.conformance import check_stack
from replay.errors import ConfigError
from replay.request import RequestBatch
from replay.stack import Stack
from replay.trace import Array
from tests.builders import random_batch
from tests.modern.small_transformer import write_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("engine") / "artifact")


@pytest.fixture(scope="module")
def batch() -> RequestBatch:
    return random_batch(num_requests=24, candidates=6, seed=3)


def largest(left: Array, right: Array) -> float:
    return float(np.nanmax(np.abs(left.astype(np.float64) - right.astype(np.float64)), initial=0))


def test_the_engine_agrees_with_the_transformer_at_every_checkpoint(
    artifact: Path, batch: RequestBatch
) -> None:
    twin, own = open_stack(artifact, modules=True), open_transformer(artifact)
    engine = open_stack(artifact)

    found = twin.score(batch, capture=list(own.checkpoints))
    bare = engine.score(batch, capture=["logit", "pctr", "rank"])
    expected = own.score(batch, capture=list(own.checkpoints))

    assert list(twin.checkpoints) == list(own.checkpoints)
    for name, one in own.checkpoints.items():
        bound = 0.0 if one.rounding is None else 2 * one.rounding.absolute
        assert largest(found[name], expected[name]) <= bound or one.stage == "feature", name
    assert largest(bare["logit"], expected["logit"]) <= 1e-5
    assert engine.engine.counts.passes > 0, "the bare run is the engine's own"


@pytest.mark.parametrize(
    "options", [{}, {"cache_bytes": 1 << 20}, {"modules": True}], ids=["plain", "cached", "twin"]
)
def test_the_engine_keeps_the_contract(
    artifact: Path, batch: RequestBatch, options: dict[str, Any]
) -> None:
    broken = {
        n: found
        for n, found in check_stack(open_stack(artifact, **options), batch).items()
        if found
    }

    assert broken == {}


def test_what_is_compiled_has_a_boundary_only(artifact: Path, batch: RequestBatch) -> None:
    """Features and outputs; nothing is compiled before something is scored."""
    stack = open_stack(artifact, mode="compiled")

    assert isinstance(stack, Stack)
    assert {one.stage for one in stack.checkpoints.values()} == {"feature", "encoding", "output"}
    parents = stack.checkpoints["logit"].after
    features = {name for name, one in stack.checkpoints.items() if one.stage == "feature"}
    assert features <= {*parents, "history.old"} | set(stack.checkpoints.ancestors("logit"))
    features_only = stack.score(batch, capture=sorted(features))
    assert len(features_only.values) == len(features)


def test_bf16_differs_by_its_own_rounding_and_declares_it(
    artifact: Path, batch: RequestBatch
) -> None:
    narrow, own = open_stack(artifact, precision="bf16", modules=True), open_transformer(artifact)
    layers = [name for name, one in own.checkpoints.items() if one.stage == "layer"]

    found = narrow.score(batch, capture=[*layers, "logit"])
    expected = own.score(batch, capture=[*layers, "logit"])

    assert largest(found["logit"], expected["logit"]) > 1e-4, "it is bf16 that ran"
    for name in (*layers, "logit"):
        rounding = narrow.checkpoints[name].rounding
        if rounding is None:
            continue
        assert rounding.absolute == own.checkpoints[name].rounding.absolute * COARSER["bf16"]
        assert largest(found[name], expected[name]) <= rounding.absolute, name


def test_a_fault_is_planted_in_what_the_engine_runs(artifact: Path, batch: RequestBatch) -> None:
    stack = open_stack(artifact, modules=True)
    fault = next(one for one in stack.faults() if one.checkpoint.startswith("interaction"))

    planted = stack.planted(fault)

    assert isinstance(planted, EngineStack)
    before = stack.score(batch, capture=["logit"])["logit"]
    assert largest(planted.score(batch, capture=["logit"])["logit"], before) > 0
    assert planted.identity().digest != stack.identity().digest
    with pytest.raises(ConfigError, match="can not be planted"):
        stack.planted(Fault(kind="nonsense", checkpoint="logit", where="code", says=""))


def test_a_twin_of_what_is_compiled_is_refused(artifact: Path) -> None:
    with pytest.raises(ConfigError, match="no modules to look at"):
        open_stack(artifact, mode="compiled", modules=True)


def test_another_precision_is_another_identity(artifact: Path) -> None:
    one, other = open_stack(artifact), open_stack(artifact, precision="bf16")

    assert one.identity().digest != other.identity().digest
    assert one.identity().training_id == other.identity().training_id


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("options", [{"modules": True}, {"mode": "graph"}], ids=["twin", "graph"])
def test_a_gpu_s_float32_is_within_the_declared_rounding(
    artifact: Path, batch: RequestBatch, options: dict[str, Any]
) -> None:
    own = open_transformer(artifact)
    stack = open_stack(artifact, device="cuda", **options)

    bounded = {n for n in stack.checkpoints if own.checkpoints[n].rounding is not None}
    names = sorted(bounded - {"ecpm_micros"})  # whose bound is given pctr
    found, expected = stack.score(batch, capture=names), own.score(batch, capture=names)

    assert stack.identity().device != "cpu"
    for name in names:
        rounding = own.checkpoints[name].rounding
        assert rounding is not None
        bound = 2 * rounding.absolute + 2.0**-22 * np.nanmax(np.abs(expected[name]), initial=0)
        assert largest(found[name], expected[name]) <= bound, name


@pytest.mark.parametrize(
    ("kind", "says"),
    [("layernorm_eps", "eps is 0.001 instead of 1e-05"), ("gelu_tanh", "approximate is tanh")],
)
def test_what_drowns_in_a_coarser_precision_is_a_fact_of_its_configuration(
    artifact: Path, kind: str, says: str
) -> None:
    full, narrow = open_stack(artifact), open_stack(artifact, precision="bf16", modules=True)
    fault = next(one for one in narrow.faults() if one.kind == kind)

    clean = weight_facts(full, narrow)
    facts = weight_facts(full, narrow.planted(fault))

    assert clean == ()
    assert [
        fact for fact in facts if says in fact.says and fact.module.startswith(fault.checkpoint)
    ]
    assert len(facts) == 1
