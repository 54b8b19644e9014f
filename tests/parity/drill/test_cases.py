"""What the catalogue holds, and what of it a stack can be given."""

from __future__ import annotations

import numpy as np

from parity.drill.catalogue import REAL_MISTAKES, VALUE_MISTAKES, entries
from parity.value_plants import VALUE_KINDS
from replay.adapters.onnx_faults import ONNX_KINDS
from replay.adapters.torch_faults import TORCH_KINDS
from tests.parity.drill.drilled import a_bench, chosen
from tests.toys import ToyStack


def test_the_catalogue_holds_far_more_than_eighty_kinds_most_of_them_real() -> None:
    kinds = list(entries())

    assert len({entry.name for entry in kinds}) > 150
    assert sum(entry.means == "real" for entry in kinds) > 100
    assert {stage for entry in kinds for stage in entry.stages} >= {
        "log", "feature", "encoding", "tree", "layer", "output",
    }  # fmt: skip


def test_every_fault_of_the_adapters_is_in_the_catalogue() -> None:
    assert {*TORCH_KINDS, *ONNX_KINDS} <= set(REAL_MISTAKES)


def test_every_value_mistake_is_a_kind_of_value_plant() -> None:
    assert {mistake.plant.partition("=")[0] for mistake in VALUE_MISTAKES} <= set(VALUE_KINDS)


def test_the_same_seed_chooses_the_same_cases() -> None:
    bench = a_bench()

    first, second, other = (chosen(bench, ToyStack(), seed=seed).cases for seed in (3, 3, 4))

    assert first == second
    assert first != other


def test_what_a_stack_can_not_be_given_is_listed() -> None:
    bench = a_bench()
    found = chosen(bench)

    assert "hash_seed" in found.not_here["real"]
    assert "transposed" in found.not_here["value"]
    assert not {case.name for case in found.cases if case.means == "real"}


def test_a_place_where_a_mistake_changes_nothing_is_not_chosen() -> None:
    bench = a_bench()

    for case in chosen(bench).cases:
        if case.means == "value" and case.name == "zero_as_missing":
            assert (bench.clean[case.plant.checkpoint] == 0.0).any()
        if case.means == "value" and case.name == "default_for_missing":
            assert np.isnan(bench.clean[case.plant.checkpoint]).any()
