"""The transformer's gradients: true to finite differences, and shares by them to repairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from modern.transformer.config import Form
from modern.transformer.forward import CHUNK
from modern.transformer.stack import TransformerStack, open_stack
from parity.compare.alignment import align
from parity.explain.attribution import Attribution, attribute
from parity.explain.probe import probe
from parity.explain.repair import Repair, repair
from parity.plan import Plan
from replay.capabilities import Differentiates
from replay.errors import StackError
from replay.request import RequestBatch
from replay.trace import Array
from tests.builders import a_candidate, a_request, batch_of, random_batch
from tests.modern.small_transformer import config, write_artifact

BATCH = random_batch(num_requests=24, candidates=5, seed=5)
FORMS: tuple[Form, ...] = ("shared", "plain", "early_fusion", "no_history")
# What a gradient can follow: not the mask turned round, or a step that is another step.
SMALL = ("layernorm_eps", "weight_scale")


@pytest.fixture(scope="module", params=FORMS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TransformerStack:
    folder = tmp_path_factory.mktemp(request.param) / "artifact"
    return open_stack(write_artifact(folder, of=config(form=request.param)))


def weights(batch: RequestBatch) -> Array:
    return np.random.default_rng(1).standard_normal(batch.num_candidates)


def shares(
    reference: TransformerStack, challenger: TransformerStack
) -> tuple[Repair, Attribution | None]:
    alignment = align(reference.checkpoints, challenger.checkpoints, Plan())
    seen = probe(reference, challenger, BATCH, alignment)
    return repair(challenger, seen), attribute(reference, challenger, seen)


def test_every_real_checkpoint_before_the_logit_has_the_slope_of_finite_differences(
    stack: TransformerStack,
) -> None:
    of_logit = weights(BATCH)
    found = stack.gradients(BATCH, list(stack.checkpoints), of_logit)
    values = stack.score(BATCH, capture=list(found)).values
    rng = np.random.default_rng(2)

    def moved(name: str, by: Array) -> float:
        given = {name: (values[name] + by).astype(values[name].dtype)}
        return float(stack.recompute(BATCH, ["logit"], given)["logit"] @ of_logit)

    layers = {n for n, one in stack.checkpoints.items() if one.stage in {"layer", "encoding"}}
    real = {n for n in layers if stack.checkpoints[n].dtype == "float32"} - {"history.weight"}
    assert real | {"features.price", "features.seen", "logit"} <= set(found)
    for name, slope in found.items():
        # A part of each value's own size: far above float32, and nearly a straight line.
        size = np.nan_to_num(np.abs(values[name])) + 1e-3
        step = (0.003 * size * rng.standard_normal(size.shape)).astype(np.float32)
        if name == "logit":
            assert np.array_equal(slope, of_logit)
            continue
        expected = (moved(name, step) - moved(name, -step)) / 2

        scale = float(np.sqrt(np.sum((slope * step) ** 2)))
        assert float(np.sum(slope * step)) == pytest.approx(expected, abs=0.01 * scale), name


def test_shares_by_one_pass_agree_with_repairing_within_one_per_cent(
    stack: TransformerStack,
) -> None:
    faults = [fault for fault in stack.faults() if fault.kind in SMALL]
    assert {fault.kind for fault in faults} == set(SMALL)

    for fault in faults:
        repaired, attributed = shares(stack, stack.planted(fault))

        assert attributed.shares == pytest.approx(repaired.shares, abs=0.01), str(fault)
        assert attributed.remainder == pytest.approx(0.0, abs=0.01)


def test_three_causes_at_once_have_the_shares_that_repairing_finds(
    stack: TransformerStack,
) -> None:
    first, *_, middle, _, last = (
        fault for fault in stack.faults() if fault.kind == "layernorm_eps"
    )

    repaired, attributed = shares(stack, stack.planted(first).planted(middle).planted(last))

    assert len(repaired.shares) == 3
    assert attributed.shares == pytest.approx(repaired.shares, abs=0.01)


def test_what_is_discrete_or_after_the_logit_has_no_slope(stack: TransformerStack) -> None:
    assert isinstance(stack, Differentiates)

    found = stack.gradients(BATCH, list(stack.checkpoints), weights(BATCH))

    none = {"features.segment", "features.price_bucket", "pctr", "ecpm_micros", "rank"}
    assert not found.keys() & {*none, "history.age_hours", "history.place", "step_tokens.age"}


def test_many_candidates_of_one_request_add_up(tmp_path_factory: pytest.TempPathFactory) -> None:
    """More than one pass holds: what they share has the sum of their slopes."""
    stack = open_stack(write_artifact(tmp_path_factory.mktemp("many") / "artifact"))
    count = CHUNK + 3
    batch = batch_of(a_request(candidates=[a_candidate(ad_id) for ad_id in range(count)]))
    each = np.random.default_rng(0).standard_normal(count)
    names = ["request.norm", "candidate_tokens"]

    whole = stack.gradients(batch, names, each)

    parts = [
        stack.gradients(batch, names, np.where(np.arange(count) // CHUNK == part, each, 0.0))
        for part in (0, 1)
    ]
    for name in names:
        np.testing.assert_allclose(
            whole[name], parts[0][name] + parts[1][name], rtol=1e-4, atol=1e-6
        )
    assert np.abs(parts[1]["request.norm"]).max() > 0


def test_an_exported_program_has_no_gradient(tmp_path_factory: pytest.TempPathFactory) -> None:
    stack = open_stack(write_artifact(tmp_path_factory.mktemp("exported") / "artifact"))
    exported = replace(stack, forward=lambda *_: pytest.fail("it is not asked"))

    with pytest.raises(StackError, match="no gradients"):
        exported.gradients(BATCH, ["heads"], weights(BATCH))
