"""Trees are shown and asked across processes as they would be in this one."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cpp_serving.stack import CppStack, open_stack
from legacy.export import export
from replay.engine.failures import StackRaisedError
from replay.engine.process import StackProcess
from replay.errors import StackError
from replay.registry import StackSpec
from tests.artifacts import write_artifact
from tests.replay.engine.descriptors import num_descriptors
from tests.replay.engine.requests import toy_spec

MODULE = "tests.replay.engine.tree_toys"


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree_calls")
    write_artifact(folder / "legacy", num_trees=12, depth=4)
    export(folder / "legacy", folder / "scorer.bin")
    return folder / "scorer.bin"


@pytest.fixture(scope="module")
def there(scorer: Path) -> Iterator[StackProcess]:
    spec = StackSpec(name="cpp", opener="cpp_serving.stack:open_stack", artifact=scorer)
    with StackProcess(spec) as stack:
        yield stack


def some_rows(stack: CppStack, count: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    columns = [np.append(points, np.float32(0)) for points in stack.split_points()]
    rows = np.stack([rng.choice(column, count) for column in columns], axis=1)
    rows[rng.random(rows.shape) < 0.2] = np.nan
    return rows


def test_the_trees_are_those_of_the_stack_in_this_process(
    there: StackProcess, scorer: Path
) -> None:
    here = open_stack(scorer)

    assert there.exposes_trees
    assert there.tree_features() == here.tree_features()
    for found, own in zip(there.split_points(), here.split_points(), strict=True):
        np.testing.assert_array_equal(found, own)
    for found, own in zip(there.tree_structure(), here.tree_structure(), strict=True):
        for name in own.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(found, name), getattr(own, name))
            assert getattr(found, name).dtype == getattr(own, name).dtype


@pytest.mark.parametrize("count", [0, 1, 300])
def test_the_leaves_are_those_of_the_stack_in_this_process(
    count: int, there: StackProcess, scorer: Path
) -> None:
    here = open_stack(scorer)
    rows = some_rows(here, count)

    np.testing.assert_array_equal(there.leaves(rows), here.leaves(rows))


def test_a_matrix_that_the_stack_refuses_is_refused_here_and_the_next_one_answered(
    there: StackProcess, scorer: Path
) -> None:
    rows = some_rows(open_stack(scorer), 2)

    with pytest.raises(StackError, match="float64"):
        there.leaves(rows.astype(np.float64))
    assert there.leaves(rows).shape == (2, 12)


def test_many_calls_leave_no_descriptor_open(there: StackProcess, scorer: Path) -> None:
    rows = some_rows(open_stack(scorer), 2)
    there.tree_structure()
    there.leaves(rows)
    gc.collect()
    before = num_descriptors()

    for _ in range(20):
        there.leaves(rows)
        with pytest.raises(StackError):
            there.leaves(rows[:, 1:])
    gc.collect()

    assert num_descriptors() == before


def test_a_stack_without_trees_says_so() -> None:
    with StackProcess(toy_spec("plain")) as stack:
        assert not stack.exposes_trees
        with pytest.raises(StackError, match="stack 'toy' shows no trees"):
            stack.tree_structure()
        with pytest.raises(StackError, match="shows no trees"):
            stack.leaves(np.zeros((1, 1), np.float32))


@pytest.mark.parametrize(
    ("shows", "said"),
    [
        ("short_array", r"'left' is \[2\] where the tree has 3 nodes"),
        ("more_points", "speaks of 2 columns, tree_features\\(\\) of 1"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(shows: str, said: str) -> None:
    spec = StackSpec(name="odd", opener=f"{MODULE}:open_stack", options={"shows": shows})
    with StackProcess(spec) as stack, pytest.raises(StackError, match=said):
        stack.tree_structure()


@pytest.mark.parametrize(
    ("gives", "kind", "said"),
    [
        ("floats", StackError, "gave float64"),
        ("a_row_less", StackError, r"leaves\(\) of 3 rows gave int64\[2, 1\]"),
        ("nothing", StackRaisedError, "ZeroDivisionError"),
    ],
)
def test_what_is_no_leaves_is_refused(gives: str, kind: type[Exception], said: str) -> None:
    spec = StackSpec(name="odd", opener=f"{MODULE}:open_stack", options={"gives": gives})
    with StackProcess(spec) as stack, pytest.raises(kind, match=said):
        stack.leaves(np.zeros((3, 1), np.float32))
