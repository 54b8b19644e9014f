"""What the checkpoints declare is what the arithmetic keeps."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cpp_serving.stack import CppStack
from replay.checkpoint import Rounding
from replay.trace import Array, Trace
from tests.artifacts import random_batch
from tests.cpp_serving.opened import opened


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> CppStack:
    return opened(tmp_path_factory.mktemp("checkpoints"), num_trees=60, depth=5)


@pytest.fixture(scope="module")
def trace(stack: CppStack) -> Trace:
    return stack.score(random_batch(60, 8, seed=6), capture=list(stack.checkpoints))


def bound(stack: CppStack, name: str) -> float:
    rounding = stack.checkpoints[name].rounding
    assert isinstance(rounding, Rounding)
    assert rounding.why
    return rounding.absolute


def exact_leaf_sums(stack: CppStack, leaves: Array) -> list[Fraction]:
    weights = [Fraction(float(w)) for w in stack.scorer.leaf_weights]
    offsets = stack.scorer.leaf_offsets[:-1].astype(np.int64)
    return [sum((weights[i] for i in row), Fraction()) for row in leaves + offsets]


def test_sums_stay_within_their_bounds_of_the_exact_ones(stack: CppStack, trace: Trace) -> None:
    batch_rows = trace.keys.request_of("candidate")
    sums = exact_leaf_sums(stack, trace["gbdt.leaves"])
    weights = [Fraction(float(w)) for w in stack.scorer.category_weights]
    columns = []
    for name, checkpoint in stack.checkpoints.items():
        if name.startswith("encoded."):
            values = trace[name]
            columns.append(values if checkpoint.rows == "candidate" else values[batch_rows])
    categories = [sum((weights[c] for c in row), Fraction()) for row in np.stack(columns, axis=1)]
    bias = Fraction(stack.scorer.bias)
    for name, exact in (
        ("regression.leaf_sum", sums),
        ("regression.category_sum", categories),
        ("logit", [bias + a + b for a, b in zip(sums, categories, strict=True)]),
    ):
        found = [Fraction(float(value)) for value in trace[name]]
        errors = [abs(a - b) for a, b in zip(found, exact, strict=True)]
        assert max(errors) <= Fraction(bound(stack, name)), name
        assert max(errors) > 0, name  # the bound is not about nothing


def test_pctr_stays_within_its_bound_of_the_exact_logit(stack: CppStack, trace: Trace) -> None:
    logit = trace["logit"].astype(np.float64)
    for shift in (-1.0, 1.0):
        moved = logit + shift * bound(stack, "logit")
        pctr = [
            1 / (1 + math.exp(-(stack.scorer.slope * x + stack.scorer.intercept))) for x in moved
        ]
        assert np.abs(trace["pctr"] - np.array(pctr)).max() <= bound(stack, "pctr")


def test_bounds_are_no_wider_than_the_contract_allows(stack: CppStack) -> None:
    """docs/features.md allows gamma_n of float32; a float64 sum rounded once needs less."""
    trees = len(stack.scorer.leaf_offsets) - 1
    largest = np.maximum.reduceat(
        np.abs(stack.scorer.leaf_weights).astype(np.float64), stack.scorer.leaf_offsets[:-1]
    ).sum()
    unit = trees * 2.0**-24
    assert 0 < bound(stack, "regression.leaf_sum") < unit / (1 - unit) * largest / 10


def test_every_real_checkpoint_is_exact_or_has_a_bound(stack: CppStack) -> None:
    for name, checkpoint in stack.checkpoints.items():
        assert checkpoint.exact is (checkpoint.rounding is None), name
    kinds = {f"features.{name}": kind for name, kind, _, _ in stack.scorer.features()}
    exact = {kinds[name] for name in kinds if stack.checkpoints[name].exact}
    assert exact == {"hour", "weekday", "tokens", "history_matches", "bucket", "hash", "id"}


def test_axes_shapes_and_missing_values_are_declared(stack: CppStack) -> None:
    graph = stack.checkpoints
    assert graph["features.hour_tokyo"].axes == ("request",)
    assert graph["features.category_matches"].axes == ("candidate",)
    assert graph["encoded.device_hash"].axes == ("request",)
    assert graph["gbdt.leaves"].axes == ("candidate", "tree")
    assert graph["gbdt.leaves"].shape == (60,)
    assert graph["features.price"].missing == "nan"
    assert graph["features.price_bucket"].missing == "none"
    assert list(graph)[-7:] == [
        "gbdt.leaves", "regression.leaf_sum", "regression.category_sum", "logit", "pctr",
        "ecpm_micros", "rank",
    ]  # fmt: skip


def test_a_file_without_money_ranks_by_pctr(tmp_path: Path) -> None:
    graph = opened(tmp_path, money=None).checkpoints
    assert "ecpm_micros" not in graph
    assert graph["rank"].after == ("pctr",)
