from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from parity.compare.alignment import Pair
from parity.compare.difference import compare, histogram, percentile
from parity.tolerance import Absolute, Exact, Ulps
from replay.checkpoint import Checkpoint
from replay.errors import StackError

NAN, INF = np.nan, np.inf


def a_pair(*, dtype="float32", missing="none", tolerance=None, shape=()) -> Pair:
    one = Checkpoint(
        name="x",
        stage="feature",
        axes=("candidate", "channel")[: 1 + len(shape)],
        shape=shape,
        dtype=dtype,
        missing=missing,
    )
    return Pair(reference=one, challenger=one, tolerance=tolerance or Exact(why="test"))


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_equal_values_do_not_differ_and_missing_ones_are_counted() -> None:
    found = compare(f32(1, NAN, 3), f32(1, NAN, 3), a_pair(missing="nan"))

    assert found.differing == found.nonfinite == found.missing_mismatch == 0
    assert (found.missing_reference, found.missing_challenger) == (1, 1)


def test_each_kind_of_divergence_is_counted_as_itself() -> None:
    ours = f32(1, NAN, 3, INF, INF, 6, -0.0)
    theirs = f32(1.5, 2, NAN, INF, 1, 6, 0.0)

    found = compare(ours, theirs, a_pair(missing="nan"))

    assert found.differs.tolist() == [True, True, True, False, True, False, False]
    assert (found.missing_reference, found.missing_challenger, found.missing_mismatch) == (1, 1, 2)
    assert found.nonfinite == 2
    assert found.max_distance == 0.5


def test_an_undeclared_nan_agrees_with_nothing_not_even_its_own_bits() -> None:
    values = f32(1, NAN)

    found = compare(values, values, a_pair())

    assert found.differs.tolist() == [False, True]
    assert (found.nonfinite, found.missing_reference) == (1, 0)


def test_a_missing_value_is_no_infinity() -> None:
    found = compare(f32(NAN), f32(INF), a_pair(missing="nan"))

    assert (found.differing, found.missing_mismatch, found.nonfinite) == (1, 1, 1)


def test_values_within_the_tolerance_show_their_distance_and_do_not_differ() -> None:
    ours = f32(1, 2)
    theirs = np.nextafter(ours, f32(9, 9))

    found = compare(ours, theirs, a_pair(tolerance=Ulps(count=1, why="test")))

    assert found.differing == 0
    assert found.distance.tolist() == [2.0**-23, 2.0**-22]


def test_a_row_differs_when_any_inner_value_does() -> None:
    ours = np.zeros((3, 4), np.int32)
    theirs = ours.copy()
    theirs[1, 2] = 7

    found = compare(ours, theirs, a_pair(dtype="int32", shape=(4,)))

    assert found.differs.tolist() == [False, True, False]
    assert found.distance.tolist() == [0, 7, 0]


@given(
    nst.arrays(np.int64, 6, elements=st.integers(-(2**63), 2**63 - 1)),
    nst.arrays(np.int64, 6, elements=st.integers(-(2**63), 2**63 - 1)),
)
def test_integers_of_any_size_are_compared_exactly(a, b) -> None:
    found = compare(a, b, a_pair(dtype="int64"))

    apart = [abs(int(x) - int(y)) for x, y in zip(a, b, strict=True)]
    assert found.differs.tolist() == [d > 0 for d in apart]
    assert found.distance.tolist() == [float(d) for d in apart]


def test_signed_and_unsigned_integers_meet_without_a_float() -> None:
    found = compare(
        np.array([2**63 - 1, 5], np.int64),
        np.array([2**63, 5], np.uint64),
        a_pair(dtype="int64"),
    )

    assert found.differs.tolist() == [True, False]
    assert found.distance.tolist() == [1.0, 0.0]


def test_a_narrower_dtype_is_compared_by_value() -> None:
    ours = np.array([0.5, 0.1], np.float64)

    found = compare(ours, ours.astype(np.float32), a_pair(tolerance=Ulps(count=0.5, why="cast")))

    assert found.differing == 0
    assert found.distance[0] == 0.0 < found.distance[1]


def test_slack_widens_single_rows() -> None:
    tolerance = Absolute(bound=0.5, why="test")

    found = compare(f32(0, 0), f32(2, 2), a_pair(tolerance=tolerance), slack=np.array([1.5, 1.0]))

    assert found.differs.tolist() == [False, True]


def test_no_rows_and_no_channels_are_fine() -> None:
    assert compare(f32(), f32(), a_pair()).rows == 0
    empty = np.zeros((3, 0), np.float32)
    assert compare(empty, empty, a_pair(shape=(0,))).differing == 0


def test_other_shapes_are_refused() -> None:
    with pytest.raises(StackError, match=r"\[2\] against \[1\]"):
        compare(f32(1, 2), f32(1), a_pair())


@given(nst.arrays(np.float32, 12), nst.arrays(np.float32, 12), st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(a, b, order) -> None:
    pair = a_pair(missing="nan", tolerance=Ulps(count=1, why="test"))
    straight, moved = compare(a, b, pair), compare(a[order], b[order], pair)

    assert np.array_equal(straight.differs[order], moved.differs)
    assert histogram(straight.distance) == histogram(moved.distance)
    assert straight.missing_mismatch == moved.missing_mismatch


@given(
    st.lists(st.floats(0, 1e12, allow_subnormal=False), min_size=1, max_size=60),
    st.floats(0.01, 1.0),
)
def test_a_percentile_of_the_histogram_errs_by_less_than_two_percent(distances, share) -> None:
    values = np.array(distances)

    found = percentile(histogram(values), len(values), share)

    exact = np.sort(values)[int(np.ceil(share * len(values))) - 1]
    assert found == pytest.approx(exact, rel=0.016, abs=0)
