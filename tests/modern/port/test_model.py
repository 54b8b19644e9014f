"""The module's sums against a float64 twin, within the bounds that the checkpoints declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modern.port.checkpoints import gamma, port_checkpoints
from modern.port.legacy_artifact import LegacyArtifact, read_artifact
from modern.port.model import LegacyPort
from tests.artifacts import FEATURES, write_artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> LegacyArtifact:
    return read_artifact(write_artifact(tmp_path_factory.mktemp("port") / "legacy", num_trees=40))


def random_places(artifact: LegacyArtifact, num_rows: int) -> tuple[Any, Any]:
    """[row, tree] leaves and [row, discrete feature] columns, each within its tree or feature."""
    rng = np.random.default_rng(5)
    leaves = rng.integers(0, np.diff(artifact.regression.leaf_offsets), (num_rows, 40))
    firsts = np.asarray(list(artifact.features.first_columns.values()))
    sizes = [feature.cardinality for feature in artifact.features.discrete]
    columns = firsts + rng.integers(0, sizes, (num_rows, len(sizes)))
    return leaves.astype(np.int32), columns.astype(np.int32)


def test_sums_keep_the_bound_that_their_checkpoint_declares(artifact: LegacyArtifact) -> None:
    leaves, columns = random_places(artifact, 3_000)
    weights, port = artifact.regression, LegacyPort(artifact)
    graph = port_checkpoints(artifact, stack="port")
    twin_leaf = weights.leaf_weights.astype(np.float64)[leaves + weights.leaf_offsets[:-1]].sum(1)
    twin_category = weights.category_weights.astype(np.float64)[columns].sum(1)
    twin_logit = float(weights.bias) + twin_leaf + twin_category
    twin_pctr = 1 / (1 + np.exp(-(artifact.slope * twin_logit + artifact.intercept)))

    with torch.inference_mode():
        leaf_sum = port.leaf_sum(torch.from_numpy(leaves))
        category_sum = port.category_sum(torch.from_numpy(columns))
        logit = port.logit(leaf_sum, category_sum)
        pctr = port.pctr(logit)

    for name, found, twin in (
        ("regression.leaf_sum", leaf_sum, twin_leaf),
        ("regression.category_sum", category_sum, twin_category),
        ("logit", logit, twin_logit),
        ("pctr", pctr, twin_pctr),
    ):
        assert found.dtype == torch.float32
        rounding = graph[name].rounding
        assert rounding is not None
        error = np.abs(found.numpy().astype(np.float64) - twin).max()
        assert 0 < error <= rounding.absolute, name


def test_bounds_are_worked_out_from_the_largest_weights(artifact: LegacyArtifact) -> None:
    weights, graph = artifact.regression, port_checkpoints(artifact, stack="port")
    largest = sum(
        float(np.abs(weights.leaf_weights[a:b]).max())
        for a, b in zip(weights.leaf_offsets, weights.leaf_offsets[1:], strict=False)
    )

    rounding = graph["regression.leaf_sum"].rounding

    assert rounding is not None
    assert rounding.absolute == pytest.approx(largest * 40 * 2**-24, rel=1e-5)
    assert gamma(1) == pytest.approx(2**-24)


def test_the_whole_module_gives_what_its_steps_give(artifact: LegacyArtifact) -> None:
    rng = np.random.default_rng(0)
    features_CF = torch.from_numpy(
        rng.uniform(-1, 20, (700, len(artifact.features.real))).astype(np.float32)
    )
    columns_CD = torch.from_numpy(random_places(artifact, 700)[1])
    port = LegacyPort(artifact)

    with torch.inference_mode():
        outputs = port(features_CF, columns_CD)
        again = port(features_CF.clone(), columns_CD.clone())

        assert torch.equal(outputs.leaves, port.walk(features_CF))
        assert torch.equal(outputs.leaf_sum, port.leaf_sum(outputs.leaves))
        assert torch.equal(outputs.pctr, port.pctr(outputs.logit))
        assert all(torch.equal(a, b) for a, b in zip(outputs, again, strict=True))


def test_calibration_is_computed_in_float64_and_rounded_once(artifact: LegacyArtifact) -> None:
    logit = torch.tensor([0.0, -2.0, 1000.0, -1000.0])

    pctr = LegacyPort(artifact).pctr(logit)

    # Slope 0.9, intercept -0.25: 1 / (1 + e^0.25) and 1 / (1 + e^2.05).
    wanted = np.asarray([0.43782349911420193, 0.11405238127979085, 1.0, 0.0], np.float32)
    assert pctr.numpy().tolist() == wanted.tolist()


def test_everything_it_computes_with_is_saved_with_it(artifact: LegacyArtifact) -> None:
    port, other = LegacyPort(artifact), LegacyPort(artifact)
    other.bias.fill_(9.0)
    other.leaf_bag.weight.data.zero_()

    other.load_state_dict(port.state_dict())

    assert not port.training
    assert not any(parameter.requires_grad for parameter in port.parameters())
    assert torch.equal(other.bias, port.bias)
    assert torch.equal(other.leaf_bag.weight, port.leaf_bag.weight)
    assert {"walk.threshold", "walk.child", "slope"} <= set(port.state_dict())


def test_a_model_without_categories_sums_none(tmp_path: Path) -> None:
    reals = [f for f in FEATURES if f["kind"] not in {"bucket", "hash", "id"}]
    artifact = read_artifact(write_artifact(tmp_path / "legacy", features=reals, num_trees=3))

    summed = LegacyPort(artifact).category_sum(torch.zeros((4, 0), dtype=torch.int32))

    assert summed.tolist() == [0, 0, 0, 0]
    assert summed.dtype == torch.float32
