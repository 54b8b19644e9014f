from __future__ import annotations

import numpy as np
import pytest

from parity.value_plants import change_for
from replay.checkpoint import Checkpoint, CheckpointGraph
from tests.toys import ToyStack, toy_batch

GRAPH = ToyStack().checkpoints
KEYS = toy_batch(3).keys


def planted(kind: str, values, *, argument=None, place="features.price", graph=GRAPH):
    values = np.asarray(values, dtype=graph[place].dtype)
    changed = change_for(kind, argument, graph[place], graph).apply(values, {}, KEYS)
    return changed.astype(values.dtype)


@pytest.mark.parametrize(
    ("kind", "argument", "values", "becomes"),
    [
        ("constant_default", None, [np.nan, 2], [-1, 2]),
        ("constant_default", "7", [np.nan, 2], [7, 2]),
        ("missing_zero_swap", None, [np.nan, 0, 2], [0, np.nan, 2]),
        ("scale", None, [2, np.nan, 0], [3, np.nan, 0]),
        ("scale", "86400", [2], [172800]),
        (
            "rounding",
            None,
            [1.23456, -0.00098765, 0, np.nan, 4321],
            [1.23, -0.000988, 0, np.nan, 4320],
        ),
        ("rounding", "1", [1.6], [2]),
        ("rounding", "float16", [1.0001, 1e6], [1.0, np.inf]),
    ],
)
def test_real_values_become(kind, argument, values, becomes) -> None:
    found = planted(kind, values, argument=argument)

    assert np.array_equal(found, np.array(becomes, np.float32), equal_nan=True)


def test_hours_and_weekdays_wrap_around() -> None:
    hours = planted("hour_shift", [0, 14, 15, 23, np.nan], place="features.hour")
    back = planted("hour_shift", [0, 9], argument="-9", place="features.hour")

    assert np.array_equal(hours, np.float32([9, 23, 0, 8, np.nan]), equal_nan=True)
    assert back.tolist() == [15, 0]

    weekday = Checkpoint(
        name="features.weekday_tokyo", stage="feature", axes=("request",), dtype="int32"
    )
    graph = CheckpointGraph([weekday], stack="s")
    assert planted("day_shift", [0, 6], place=weekday.name, graph=graph).tolist() == [1, 0]


def test_a_layer_moves_by_a_hundredth() -> None:
    assert planted("scale", [[100.0] * 3], place="left").tolist() == [[101.0] * 3]


def test_an_integer_stays_a_place_in_its_table() -> None:
    assert planted("off_by_one", [0, 1, 5], place="encoded.category").tolist() == [1, 0, 4]


def test_candidates_are_permuted_within_their_requests() -> None:
    values = np.arange(KEYS.num_candidates, dtype=np.float32)

    found = planted("permute_candidates", values)

    for start, end in zip(KEYS.candidate_offsets[:-1], KEYS.candidate_offsets[1:], strict=True):
        assert found[start:end].tolist() == np.roll(values[start:end], -1).tolist()


def test_a_column_takes_the_next_one_of_its_kind() -> None:
    change = change_for("swap_columns", None, GRAPH["features.price"], GRAPH)

    assert change.reads == ("features.affinity",)
