"""The whole catalogue: what is planted is named, and what nothing explains is not."""

from __future__ import annotations

import time

import pytest

from parity.explain.diagnose import diagnose
from tests.parity.explain.diagnose.catalogue import CASES, all_planted
from tests.parity.explain.diagnose.layer_catalogue import LAYER_CASES, layer_cases
from tests.parity.explain.diagnose.negatives import layer_negatives, negatives


def kind_of(evidence) -> str | None:
    found = diagnose(evidence)
    return None if found is None else found.kind


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_mistakes_of_features_are_named(share: float) -> None:
    """At least 95 of 100 by their name; with a twentieth of the rows wrong for no reason too."""
    missed = [
        (case.name, column, seed)
        for case, column, seed, evidence in all_planted([0, 1], share)
        if kind_of(evidence) not in case.kinds
    ]

    planted = sum(2 * len(case.columns) for case in CASES)
    assert planted > 400
    assert len(missed) <= 0.05 * planted, missed


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_mistakes_of_layers_trees_and_outputs_are_named(share: float) -> None:
    missed = [
        (name, seed)
        for name, kinds, seed, evidence in layer_cases([0], share)
        if kind_of(evidence) not in kinds
    ]

    assert len(missed) <= 0.05 * len(LAYER_CASES), missed


def test_what_nothing_explains_gets_no_name() -> None:
    """Noise, unrelated columns, jitter and mixtures, over every kind of column."""
    tried = list(negatives([0, 1]))
    named = [
        (name, column, seed, found.text)
        for name, column, seed, evidence in tried
        if (found := diagnose(evidence)) is not None
    ]

    assert len(tried) >= 300
    assert named == []


def test_unrelated_layers_get_no_name() -> None:
    named = [
        (name, seed, found.text)
        for name, seed, evidence in layer_negatives([0, 1, 2, 3])
        if (found := diagnose(evidence)) is not None
    ]

    assert named == []


def test_a_diagnosis_costs_less_than_a_tenth_of_a_second() -> None:
    """Of one cause on a sample of the size of a probe's; the best of three is free of neighbours."""
    cases = [evidence for _, _, _, evidence in layer_cases([0], 0.05)]
    spent = []
    for _ in range(3):
        start = time.process_time()
        for evidence in cases:
            diagnose(evidence)
        spent.append((time.process_time() - start) / len(cases))

    assert min(spent) < 0.1
