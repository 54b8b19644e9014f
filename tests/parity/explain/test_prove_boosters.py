"""Boosters by their own library, in C++ and as ONNX: equal on every input, or a row that tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.exactness import lightgbm_cases, xgboost_cases
from benchmarks.exactness.cases import edge_rows
from cpp_serving.file_model import FileModel
from cpp_serving.files import open_stack as open_file
from parity.explain.prove import Proof, prove
from replay.adapters.booster_lightgbm import LightgbmModel
from replay.adapters.booster_stack import BoosterStack
from replay.adapters.booster_xgboost import XgboostModel
from replay.adapters.onnx_trees import open_stack as open_onnx
from replay.capabilities import ExposesTrees, TreeStructure
from replay.errors import ConfigError, StackError
from tests.parity.explain.onnx_ensembles import ensemble_of
from tests.replay.adapters.boosters import OPTIONS, opened, saved

KINDS = ("xgboost", "dart", "lightgbm", "forest")
Openers = Callable[[Path], BoosterStack]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    kinds = (*KINDS, "categorical")
    return {kind: saved(kind, tmp_path_factory.mktemp(kind)) for kind in kinds}


def in_cpp(path: Path, **options: Any) -> BoosterStack:
    return open_file(path, **{**OPTIONS, **options})


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_the_same_by_its_library_and_in_cpp(kind: str, paths: dict[str, Path]) -> None:
    reference, challenger = opened(paths[kind]), in_cpp(paths[kind])

    proof = prove(reference, challenger)

    assert isinstance(reference, ExposesTrees)
    assert (proof.outcome, proof.trees, proof.doubts) == ("equal", 5, ())
    assert proof.points > 3 * proof.splits > 30
    assert reference.tree_features()[0] == "price"
    for ours, theirs in zip(reference.split_points(), challenger.split_points(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_of_iterations_is_proven_as_it_counts(kind: str, paths: dict[str, Path]) -> None:
    part = {"iterations": [1, 4]}

    proof = prove(opened(paths[kind], **part), in_cpp(paths[kind], **part))

    assert (proof.outcome, proof.trees) == ("equal", 3)
    assert prove(opened(paths[kind], **part), in_cpp(paths[kind])).outcome == "counterexample"


@pytest.mark.parametrize("opener", [opened, in_cpp])
def test_one_threshold_by_one_ulp_is_a_row_that_both_answer_differently(
    opener: Openers, paths: dict[str, Path], tmp_path: Path
) -> None:
    """An old version of a file against a new one, whichever code reads the new one."""
    model = json.loads(paths["xgboost"].read_text())
    points = model["learner"]["gradient_booster"]["model"]["trees"][3]["split_conditions"]
    points[0] = float(np.nextafter(np.float32(points[0]), np.float32(-np.inf)))
    (tmp_path / "new.json").write_text(json.dumps(model))
    reference, challenger = opened(paths["xgboost"]), opener(tmp_path / "new.json")

    proof = prove(reference, challenger)

    assert (proof.outcome, proof.differing_trees) == ("counterexample", (3,))
    both_answer_differently(proof, reference, challenger)


def test_one_threshold_of_lightgbm_by_one_ulp_is_found(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    """Its thresholds are float64: one float32 further, since inputs are float32."""
    head, key, rest = paths["lightgbm"].read_text().partition("\nthreshold=")
    first, _, others = rest.partition(" ")
    moved = float(np.nextafter(np.float32(float(first)), np.float32(np.inf)))
    changed = f"{head}{key}{moved!r} {others}"
    lines = [line for line in changed.splitlines() if not line.startswith("tree_sizes=")]
    (tmp_path / "new.txt").write_text("\n".join(lines) + "\n")
    reference, challenger = opened(paths["lightgbm"]), in_cpp(tmp_path / "new.txt")

    proof = prove(reference, challenger)

    assert (proof.outcome, proof.differing_trees) == ("counterexample", (0,))
    both_answer_differently(proof, reference, challenger)


def both_answer_differently(proof: Proof, *sides: BoosterStack) -> None:
    example = proof.counterexamples[0]
    answers = []
    for stack in sides:
        row = np.array(
            [[example.row[f"features.{name}"] for name in stack.tree_features()]], np.float32
        )
        answers.append(int(stack.leaves(row)[0, example.tree]))
    assert answers == [example.reference_leaf, example.challenger_leaf]
    assert answers[0] != answers[1]


@pytest.mark.parametrize("fault", ["threshold_le", "nan_direction"])
@pytest.mark.parametrize("kind", KINDS)
def test_faults_of_the_scorer_s_trees_are_found(
    kind: str, fault: str, paths: dict[str, Path]
) -> None:
    stack = in_cpp(paths[kind])
    (planted,) = [one for one in stack.faults() if one.kind == fault]

    proof = prove(opened(paths[kind]), stack.planted(planted))

    assert proof.outcome == "counterexample"
    assert len(proof.differing_trees) == 5


def test_an_xgboost_file_is_proven_against_an_onnx_ensemble(
    paths: dict[str, Path], tmp_path: Path
) -> None:
    reference = opened(paths["xgboost"])
    names = reference.tree_features()
    for mode in ("BRANCH_LT", "BRANCH_LEQ"):
        ensemble_of(reference.tree_structure(), tmp_path / f"{mode}.onnx", mode=mode)

    right, wrong = (
        prove(side, open_onnx(tmp_path / f"{mode}.onnx", columns=names))
        for side, mode in ((reference, "BRANCH_LT"), (in_cpp(paths["xgboost"]), "BRANCH_LEQ"))
    )

    assert (right.outcome, wrong.outcome) == ("equal", "counterexample")
    assert wrong.explanation == "x <= threshold goes left, where x < threshold should"


@pytest.mark.parametrize("opener", [opened, in_cpp])
def test_what_is_no_threshold_is_refused_by_name(opener: Openers, paths: dict[str, Path]) -> None:
    stack = opener(paths["categorical"])

    for call in (stack.tree_structure, stack.split_points):
        with pytest.raises(ConfigError, match="no threshold: it asks for categories"):
            call()
    with pytest.raises(StackError, match="the matrix is float64"):
        stack.leaves(np.zeros((2, 4)))


def test_zero_for_missing_is_refused_by_name() -> None:
    data = lightgbm_cases.trained("binary", "zero is missing", seed=7).data

    for model in (LightgbmModel, FileModel):
        with pytest.raises(ConfigError, match="it takes zero for a missing value"):
            model(data, where="zero.txt", threads=1).structure()


def declared_leaves(trees: tuple[TreeStructure, ...], rows: np.ndarray) -> np.ndarray:
    """[row, tree], by a walk of the declared arrays alone."""
    found = np.zeros((len(rows), len(trees)), np.int32)
    for place, tree in enumerate(trees):
        for i, row in enumerate(rows):
            node = 0
            while tree.leaf[node] < 0:
                value = row[tree.feature[node]]
                goes_left = (
                    tree.default_left[node] if np.isnan(value) else value < tree.threshold[node]
                )
                node = tree.left[node] if goes_left else tree.right[node]
            found[i, place] = tree.leaf[node]
    return found


@pytest.mark.parametrize(
    ("library", "growth"),
    [
        *(("xgboost", one) for one in ("lossguide", "exact, pruned", "forest", "dart, forest")),
        *(("lightgbm", one) for one in ("leaves", "nothing is missing", "extra trees", "few bins")),
    ],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_declare_the_trees_that_the_library_walks(
    library: str, growth: str, seed: int
) -> None:
    """On thresholds, their neighbours, both zeros, denormals, infinities and missing values."""
    cases = xgboost_cases if library == "xgboost" else lightgbm_cases
    case = cases.trained("binary:logistic" if library == "xgboost" else "binary", growth, seed=seed)
    own = (XgboostModel if library == "xgboost" else LightgbmModel)(
        case.data, where=case.name, threads=1
    )
    scorer = FileModel(case.data, where=case.name, threads=1)
    rows = edge_rows(case, 150, seed=seed)

    expected = own.leaves(rows)

    np.testing.assert_array_equal(scorer.leaves(rows), expected)
    np.testing.assert_array_equal(declared_leaves(own.structure(), rows), expected)
    np.testing.assert_array_equal(declared_leaves(scorer.structure(), rows), expected)
