"""A bare model file in C++ as a stack: the contract, the file's own library beside it, and mistakes named."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.exactness import lightgbm_cases, xgboost_cases
from benchmarks.exactness.cases import Case
from cpp_serving._core import TreeScorer, TreeSteps
from cpp_serving.files import open_stack
from replay.adapters.booster import open_stack as open_reference
from replay.adapters.booster_stack import BoosterStack
from replay.conformance import CLAIMS, Claim
from replay.errors import ArtifactError, ConfigError, StackError
from replay.request import RequestBatch
from tests.builders import random_batch
from tests.replay.adapters.boosters import NAMES, OPTIONS, arrays, example, opened, saved
from tests.replay.adapters.opened import causes_between

KINDS = ("xgboost", "dart", "categorical", "lightgbm", "forest")
HERE = "tests.cpp_serving.test_files"


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: saved(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def in_cpp(path: Path, **options: Any) -> BoosterStack:
    return open_stack(path, **{**OPTIONS, **options})


def matrix_of(batch: RequestBatch) -> NDArray[np.float32]:
    """As the model reads it: in the order of `NAMES`."""
    given, of = arrays(batch), batch.keys.request_of("candidate")
    columns = dict(zip(("price", "clicks"), given["dense"].T, strict=True))
    columns |= {"slot": given["slot"][of], "age": given["age"][of]}
    return np.column_stack([columns[name] for name in NAMES]).astype(np.float32)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.__name__)
@pytest.mark.parametrize("kind", ["categorical", "lightgbm"])
def test_a_file_keeps_the_contract(claim: Claim, kind: str, paths: dict[str, Path]) -> None:
    assert claim(in_cpp(paths[kind]), random_batch(24, 6, seed=8)) == []


def test_it_answers_as_the_scorer_is_served_and_has_no_cause_beside_the_library(
    kind: str, paths: dict[str, Path]
) -> None:
    stack, batch = in_cpp(paths[kind]), random_batch(60, 6, seed=11)
    served = TreeScorer(paths[kind])

    trace = stack.score(batch, capture=["gbdt.leaves", "logit", "pctr"])

    rows = matrix_of(batch)
    np.testing.assert_allclose(trace["pctr"], served.score(rows), rtol=0, atol=6e-8)
    if kind not in ("lightgbm", "forest"):  # there the log-odds are 0.7 margins
        assert trace["logit"].tobytes() == served.margins(rows).tobytes()
        assert trace["pctr"].tobytes() == served.score(rows).tobytes()
    assert stack.observation.is_exact
    assert len(np.unique(trace["gbdt.leaves"])) > 3
    assert list(stack.checkpoints) == list(opened(paths[kind]).checkpoints)
    assert causes_between(opened(paths[kind]), stack, batch) == []


@pytest.mark.parametrize("kernel", ["scalar", "auto"])
def test_margins_of_given_leaves_have_the_bits_of_margins(
    kernel: str, kind: str, paths: dict[str, Path]
) -> None:
    steps = TreeSteps(paths[kind].read_bytes(), kind, kernel=kernel, threads=2)
    rows = matrix_of(example())

    leaves = steps.leaves(rows)

    assert kernel in ("auto", steps.kernel)
    assert steps.margins_of_leaves(leaves).tobytes() == steps.margins(rows).tobytes()
    leaves[3, 1] = 9999
    with pytest.raises(StackError, match="leaf 9999 is given for tree 1"):
        steps.margins_of_leaves(leaves)
    for wrong in (leaves.astype(np.int64), leaves[:, 1:]):
        with pytest.raises(TypeError):
            steps.margins_of_leaves(wrong)


def test_a_range_of_iterations_is_the_same_on_both_sides(kind: str, paths: dict[str, Path]) -> None:
    part = {"iterations": [1, 3]}
    reference, stack = opened(paths[kind], **part), in_cpp(paths[kind], **part)
    batch = random_batch(60, 6, seed=11)

    assert causes_between(reference, stack, batch) == []
    leaves, logits = (
        [one.score(batch, capture=[name])[name] for one in (in_cpp(paths[kind]), stack)]
        for name in ("gbdt.leaves", "logit")
    )
    np.testing.assert_array_equal(leaves[1], leaves[0][:, 1:3])
    assert (logits[0] != logits[1]).any()
    assert reference.identity().code != opened(paths[kind]).identity().code


def test_every_fault_is_named_where_it_was_planted(kind: str, paths: dict[str, Path]) -> None:
    reference, stack = opened(paths[kind]), in_cpp(paths[kind])
    faults = stack.faults()

    assert faults == reference.faults()
    for fault in faults:
        planted = stack.planted(fault)
        found = causes_between(reference, planted, random_batch(200, 6, seed=11))
        assert found == [fault.checkpoint], fault
        assert planted.identity().digest != stack.identity().digest


def tree_of(model: dict[str, Any], place: int) -> dict[str, Any]:
    tree: dict[str, Any] = model["learner"]["gradient_booster"]["model"]["trees"][place]
    return tree


def one_ulp_up(model: dict[str, Any]) -> None:
    points = tree_of(model, 2)["split_conditions"]
    points[0] = float(np.nextafter(np.float32(points[0]), np.float32(np.inf)))


def missing_turned(model: dict[str, Any]) -> None:
    ways = tree_of(model, 0)["default_left"]
    ways[0] = 1 - int(ways[0])


@pytest.mark.parametrize("edit", [one_ulp_up, missing_turned], ids=lambda edit: edit.__name__)
def test_one_changed_split_of_the_file_is_named_at_the_leaves(
    edit: Any, paths: dict[str, Path], tmp_path: Path
) -> None:
    model = json.loads(paths["xgboost"].read_text())
    edit(model)
    (tmp_path / "model.json").write_text(json.dumps(model))

    found = causes_between(
        opened(paths["xgboost"]), in_cpp(tmp_path / "model.json"), random_batch(400, 6, seed=11)
    )

    assert found == ["gbdt.leaves"]


def test_a_tree_that_is_left_out_is_named_at_the_sum(paths: dict[str, Path]) -> None:
    assert causes_between(
        opened(paths["xgboost"]), in_cpp(paths["xgboost"], iterations=[0, 4])
    ) == ["logit"]


def test_columns_that_are_exchanged_are_named_at_both(paths: dict[str, Path]) -> None:
    exchanged = {"dense": ["clicks", "price"]}

    found = causes_between(opened(paths["xgboost"]), in_cpp(paths["xgboost"], columns=exchanged))

    assert sorted(found) == ["features.clicks", "features.price"]


def six(batch: RequestBatch) -> Mapping[str, NDArray[np.float32]]:
    """The columns that the models of benchmarks/exactness read."""
    of = batch.keys.request_of("candidate")
    rows = matrix_of(batch)
    more = np.arange(len(of), dtype=np.float32) % 7 - 3
    matrix = np.column_stack([rows, more, more[::-1] / 2])
    return {"six": np.asarray(matrix % 5 - 2, np.float32)}


def objectives() -> list[tuple[str, str]]:
    several = {"multi:softprob", "multi:softmax", "binary:hinge", "reg:quantileerror",
               "multiclass", "multiclassova", "regression, sqrt"}  # fmt: skip
    return [
        (library, objective)
        for library, module in (("xgboost", xgboost_cases), ("lightgbm", lightgbm_cases))
        for objective in module.OBJECTIVES
        if objective not in several
    ]


def a_case(library: str, objective: str) -> Case:
    module = xgboost_cases if library == "xgboost" else lightgbm_cases
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The libraries' advice on odd parameters.
        return module.trained(objective, "base_score" if library == "xgboost" else "leaves", seed=7)


@pytest.mark.parametrize(("library", "objective"), objectives())
def test_each_objective_predicts_as_its_library_does(
    library: str, objective: str, tmp_path: Path
) -> None:
    case = a_case(library, objective)
    (tmp_path / "model").write_bytes(case.data)
    options: dict[str, Any] = {
        "inputs": f"{HERE}:six", "example": OPTIONS["example"],
        "columns": {"six": [f"c{i}" for i in range(6)]},
    }  # fmt: skip
    reference = open_reference(tmp_path / "model", **options)
    challenger = open_stack(tmp_path / "model", **options)
    batch = random_batch(40, 6, seed=4)

    answers = case.answer(six(batch)["six"])
    expected = answers.scores
    if objective == "binary:logitraw" or "rank" in objective:
        expected = 1 / (1 + np.exp(-answers.margins.astype(np.float64)))

    for stack in (reference, challenger):
        trace = stack.score(batch, capture=["logit", "pctr"])
        np.testing.assert_allclose(trace["pctr"], expected, rtol=4e-6, atol=1e-6)
    assert causes_between(reference, challenger, batch) == []


def test_what_can_not_be_such_a_stack_is_refused(paths: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_bytes(a_case("xgboost", "multi:softprob").data)
    (tmp_path / "quantiles.json").write_bytes(a_case("xgboost", "reg:quantileerror").data)
    (tmp_path / "hinge.json").write_bytes(a_case("xgboost", "binary:hinge").data)
    (tmp_path / "cut.json").write_bytes(paths["xgboost"].read_bytes()[:500])

    for name, says in (
        ("none.json", "no such file"),
        ("cut.json", "cut short"),
        ("classes.json", "'multi:softprob' of 4 outputs"),
        ("quantiles.json", "'reg:quantileerror' of 3 outputs"),
        ("hinge.json", "'binary:hinge'"),
    ):
        for opener in (in_cpp, opened) if name != "cut.json" else (in_cpp,):
            with pytest.raises(ArtifactError, match=says):
                opener(tmp_path / name)
    for opener in (in_cpp, opened):
        for wrong in ([1, 9], [2, 2], [1], ["0", "1"], [-1, 2]):
            with pytest.raises((ConfigError, StackError), match="iterations"):
                opener(paths["lightgbm"], iterations=wrong)
        with pytest.raises(ConfigError, match="no column of float32"):
            opener(paths["xgboost"], columns={})
        with pytest.raises(ConfigError, match="no option 'colums'"):
            opener(paths["xgboost"], colums={})
    for one in (open_stack, open_reference):
        with pytest.raises(ConfigError, match="the options lack 'inputs'"):
            one(paths["xgboost"], example=OPTIONS["example"])
    with pytest.raises(StackError, match="nosuch"):
        in_cpp(paths["xgboost"], kernel="nosuch")
