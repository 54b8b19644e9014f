"""Rung 6 of the ladder: the transformer and what it was exported to agree, and faults are named across."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the transformer needs torch")

from torch import Tensor

from modern.export.aoti import CompiledPackage
from modern.export.stack import COMPILED
from modern.transformer.stack import open_stack
from parity.compare.alignment import align
from parity.explain.causes import find_causes, unexplained
from parity.explain.probe import Probe, probe
from parity.judge.report import Cause
from parity.plan import Plan
from replay.capabilities import Fault
from replay.stack import Stack
from tests.builders import random_batch
from tests.modern.exports import TINY, artifact_of, opened

BATCH = random_batch(24, 5, seed=5)
# What a person forgets to carry over, each of another kind; weights, code and configuration.
FAULTS = (
    "history_lag:history.place",
    "truncate_newest:history.place",
    "age_bucket:step_tokens.age",
    "padding_id_shared:step_tokens",
    "mask_inverted:history.layers.0.attention",
    "layernorm_eps:history.norm",
    "weight_scale:interest",
)


def fault_of(stack, name: str) -> Fault:
    offered = {f"{fault.kind}:{fault.checkpoint}": fault for fault in stack.faults()}
    return offered[name]


def probed(reference: Stack, challenger: Stack) -> Probe:
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    return probe(reference, challenger, BATCH, alignment)


def causes(found: Probe) -> list[Cause]:
    assert unexplained(found) == ()
    return list(find_causes(found))


def named(reference: Stack, challenger: Stack) -> list[str]:
    return [cause.checkpoint for cause in causes(probed(reference, challenger))]


def test_the_exported_graph_gives_the_models_own_bits_everywhere() -> None:
    shared, exported = open_stack(artifact_of()), opened("torch")

    found = probed(shared, exported)

    assert causes(found) == []
    names = list(shared.checkpoints)
    ours = shared.score(BATCH, capture=names)
    theirs = exported.score(BATCH, capture=names)
    assert [n for n in names if ours[n].tobytes() != theirs[n].tobytes()] == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_between_the_exported_graph_and_the_model(fault: str) -> None:
    shared = open_stack(artifact_of())

    found = named(opened("torch"), shared.planted(fault_of(shared, fault)))

    assert found == [fault.partition(":")[2]]


def test_faults_are_really_exported() -> None:
    """One in the code before the graph and one in the weights: the model is exported once more."""
    shared, exported = open_stack(artifact_of()), opened("torch")

    broken = exported.planted(fault_of(exported, FAULTS[0]))
    broken = broken.planted(fault_of(broken, FAULTS[-1]))

    assert named(shared, broken) == ["history.place", "interest"]
    assert broken.identity().digest != exported.identity().digest
    assert exported.program is not broken.program


def test_onnx_runtime_agrees_and_faults_are_named_across_it() -> None:
    pytest.importorskip("onnxruntime", reason="the ONNX export needs onnxruntime")
    pytest.importorskip("onnxscript", reason="the ONNX export needs onnxscript")
    shared, exported = open_stack(artifact_of()), opened("onnx")

    found = probed(shared, exported)

    assert causes(found) == []
    assert found.total["rank"].differing == 0
    for fault in FAULTS:
        broken = shared.planted(fault_of(shared, fault))
        assert named(exported, broken) == [fault.partition(":")[2]], fault


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling ahead needs a C++ compiler")
def test_a_compiled_program_is_seen_through_its_twin_and_the_compilers_fault_is_its_own() -> None:
    shared, compiled = open_stack(artifact_of(TINY)), opened("aoti", TINY)
    package = compiled.exported.program
    assert isinstance(package, CompiledPackage)

    agree = probed(shared, compiled)
    fault = named(compiled, shared.planted(fault_of(shared, FAULTS[-1])))
    exported = replace(compiled.exported, program=_Miscompiled(package))
    miscompiled = causes(probed(shared, replace(compiled, exported=exported)))

    assert causes(agree) == []
    assert agree.total["rank"].differing == 0
    assert fault == ["interest"]
    assert [cause.checkpoint for cause in miscompiled] == ["logit"]
    assert miscompiled[0].segment == (COMPILED,)


class _Miscompiled:
    """The machine code answers a little more; the graph that it was compiled from does not."""

    def __init__(self, package: CompiledPackage) -> None:
        self.package = package

    def run(self, arguments: tuple[Tensor, ...], *, record, given):
        ran = self.package.run(arguments, record=record, given=given)
        return replace(ran, logits=ran.logits + 1e-3)
