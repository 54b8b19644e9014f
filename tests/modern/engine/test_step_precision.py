"""In a narrow twin what stays in float32 is judged as such: an epsilon is named, not drowned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from modern.engine.config import Precision
from modern.engine.stack import EngineStack, open_stack
from parity.calibrate import PRECISIONS, alignment_to_measure, calibrate
from parity.calibrate.step_precision import step_precisions
from parity.compare.alignment import Alignment, align
from parity.explain.causes import find_causes
from parity.explain.probe import probe
from parity.noise import ChannelNoise, Sampled
from parity.plan import Plan
from replay.checkpoint import CheckpointGraph
from replay.request import RequestBatch
from tests.builders import random_batch
from tests.modern.small_transformer import CONFIG, write_artifact

# int8 narrows what is a multiple of 16 wide.
WIDE = replace(CONFIG, transformer=replace(CONFIG.transformer, width=16, feed_forward=32))
PLAN = Plan(same_training=False)
NARROW: tuple[Precision, ...] = ("bf16", "int8")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_artifact(tmp_path_factory.mktemp("narrow") / "artifact", of=WIDE)


@pytest.fixture(scope="module")
def full(artifact: Path) -> EngineStack:
    return open_stack(artifact, name="full", modules=True)


@pytest.fixture(scope="module", params=NARROW)
def narrow(artifact: Path, request: pytest.FixtureRequest) -> EngineStack:
    return open_stack(artifact, name=request.param, modules=True, precision=request.param)


@pytest.fixture(scope="module")
def batch() -> RequestBatch:
    return random_batch(num_requests=32, candidates=6, seed=3)


@pytest.fixture(scope="module")
def measured(full: EngineStack, narrow: EngineStack, batch: RequestBatch) -> Mapping[str, Sampled]:
    return tolerances(full, narrow, batch)


def tolerances(
    full: EngineStack, narrow: EngineStack, batch: RequestBatch
) -> Mapping[str, Sampled]:
    alignment = alignment_to_measure(full.checkpoints, narrow.checkpoints, PLAN)
    precision = PRECISIONS[narrow.config.precision]
    return calibrate(full, narrow, batch, alignment, precision=precision).tolerances


def causes(
    full: EngineStack, narrow: EngineStack, measured: Mapping[str, Sampled], batch: RequestBatch
) -> list[str]:
    plan = replace(PLAN, tolerances=measured)
    alignment = align(full.checkpoints, narrow.checkpoints, plan)
    return [cause.checkpoint for cause in find_causes(probe(full, narrow, batch, alignment))]


def declared(stack: EngineStack) -> set[str]:
    return {
        name
        for name, one in stack.checkpoints.items()
        if one.rounding is not None and one.rounding.computed_in == "fp32"
    }


def test_what_is_declared_in_float32_is_computed_so_and_nothing_else_is(
    full: EngineStack, narrow: EngineStack, batch: RequestBatch
) -> None:
    """Each step on the full twin's values: a narrow product errs by 2^-9 of its values, and more."""
    real = {
        n
        for n, one in full.checkpoints.items()
        if one.stage in {"encoding", "layer"} and not one.exact
    }
    expected = full.score(batch, capture=list(full.checkpoints))
    given = {n: expected[n] for n, one in full.checkpoints.items() if one.settable}

    found = narrow.score(batch, capture=sorted(real), given=given)

    off = {}
    for name in real:
        ours, theirs = expected[name].astype(np.float64), found[name].astype(np.float64)
        off[name] = np.sqrt(np.nanmean((ours - theirs) ** 2) / np.nanmean(ours**2))
    in_float32 = {name for name in real if off[name] < 2.0**-20}
    expected_there = declared(narrow)
    assert len(expected_there) > 15
    if narrow.config.precision == "int8":
        expected_there.add("interest.query_norm")  # declared for all precisions as for bf16
    assert in_float32 == expected_there


def test_an_epsilon_is_named_at_every_norm_of_the_residual_stream(
    full: EngineStack, narrow: EngineStack, measured: Mapping[str, Sampled], batch: RequestBatch
) -> None:
    faults = [
        fault
        for fault in narrow.faults()
        if fault.kind == "layernorm_eps" and fault.checkpoint != "interest.query_norm"
    ]
    assert len(faults) > 8

    assert causes(full, narrow, measured, batch) == []
    for fault in faults:
        assert causes(full, narrow.planted(fault), measured, batch) == [fault.checkpoint], fault


def test_without_the_declaration_it_drowns(
    full: EngineStack, narrow: EngineStack, batch: RequestBatch
) -> None:
    silent = Silent(**{name: getattr(narrow, name) for name in narrow.__dataclass_fields__})
    (fault,) = (
        f for f in silent.faults() if (f.kind, f.checkpoint) == ("layernorm_eps", "request.norm")
    )

    measured = tolerances(full, silent, batch)

    assert causes(full, silent.planted(fault), measured, batch) == []


class Silent(EngineStack):
    """The same, saying nothing of what its steps compute in."""

    @cached_property
    def checkpoints(self) -> CheckpointGraph:
        return CheckpointGraph(
            (
                one
                if one.rounding is None
                else replace(one, rounding=replace(one.rounding, computed_in=None))
                for one in super().checkpoints.values()
            ),
            stack=self.name,
        )


def test_a_declaration_counts_only_where_all_that_the_step_reads_is_compared(
    full: EngineStack, narrow: EngineStack
) -> None:
    """Else the attention, which is narrow, stands between what is given and the norm."""
    hidden = replace(PLAN, left_out={"*.attention": "a test: it is hidden"})

    def units(plan: Plan) -> Mapping[str, str]:
        found: Alignment = align(full.checkpoints, narrow.checkpoints, plan)
        pairs = [pair for pair in found.pairs if pair.stage == "layer"]
        own = step_precisions(pairs, found, PRECISIONS[narrow.config.precision])
        return {name: one.name for name, one in own.items()}

    assert units(PLAN)["request.layers.0.feed_forward_norm"] == "fp32"
    assert units(hidden)["request.layers.0.feed_forward_norm"] == narrow.config.precision
    assert units(hidden)["request.norm"] == "fp32"


def test_the_tolerance_says_what_was_measured(measured: Mapping[str, Sampled]) -> None:
    norm, attention = measured["request.norm"], measured["request.layers.0.attention"]

    assert isinstance(norm, ChannelNoise)
    assert isinstance(attention, ChannelNoise)
    assert norm.why.startswith("answers to single roundings")
    assert attention.why.startswith(("answers to single bf16", "answers to single int8"))
    assert max(norm.noise) < 1e-3 * min(attention.noise)
