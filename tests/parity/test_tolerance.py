from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nst

from parity.tolerance import (
    Absolute,
    Exact,
    PlannedTolerance,
    Sum,
    Tolerance,
    Ulps,
    best_match,
    tolerance_for,
    ulp,
)
from replay.checkpoint import Checkpoint, Rounding
from replay.errors import ConfigError

WHY = "a test"
FLOATS = nst.arrays(np.float32, 8, elements=st.floats(width=32))
BOUNDS = st.floats(0, 1e6)


def tolerances(bound: float, count: float) -> list[Tolerance]:
    ulps, absolute = Ulps(count=count, why=WHY), Absolute(bound=bound, why=WHY)
    return [Exact(why=WHY), ulps, absolute, Sum(ulps=ulps, absolute=absolute)]


@given(FLOATS, FLOATS, BOUNDS, BOUNDS)
def test_a_difference_looks_the_same_from_both_sides(a, b, bound, count) -> None:
    for tolerance in tolerances(bound, count):
        assert np.array_equal(tolerance.exceeded(a, b), tolerance.exceeded(b, a))


@given(FLOATS, FLOATS, BOUNDS, BOUNDS, BOUNDS)
def test_widening_never_adds_a_difference(a, b, bound, count, more) -> None:
    exact = Exact(why=WHY).exceeded(a, b)
    narrow, wide = tolerances(bound, count), tolerances(bound + more, count + more)
    for tight, loose in zip(narrow[1:], wide[1:], strict=True):
        assert not np.any(loose.exceeded(a, b) & ~tight.exceeded(a, b))
        assert not np.any(tight.exceeded(a, b) & np.isfinite(a) & np.isfinite(b) & ~exact)


@given(FLOATS, BOUNDS)
def test_nan_is_never_within_a_tolerance_and_a_finite_value_agrees_with_itself(a, bound) -> None:
    for tolerance in tolerances(bound, bound):
        assert np.array_equal(tolerance.exceeded(a, a) & np.isfinite(a), np.zeros(8, bool))
        assert np.all(tolerance.exceeded(a, np.full_like(a, np.nan)))


@given(st.floats(-(2.0**99), 2.0**99, width=32), st.integers(0, 5))
def test_ulps_count_the_steps_between_float32_neighbours(value, steps) -> None:
    a = np.array([value], dtype=np.float32)
    b = a
    for _ in range(steps):
        b = np.nextafter(b, np.where(a < 0, np.float32(-np.inf), np.float32(np.inf)))

    assert not Ulps(count=steps, why=WHY).exceeded(a, b).any()
    # A step before a power of two is half as long as one after it.
    assert steps == 0 or Ulps(count=steps / 2 - 0.25, why=WHY).exceeded(a, b).all()


def test_an_ulp_is_that_of_the_coarser_dtype_and_does_not_vanish_at_zero() -> None:
    one = ulp(np.array([1.0], np.float32), np.array([1.0], np.float64))
    zero = ulp(np.zeros(1, np.float32), np.zeros(1, np.float32))

    assert one[0] == 2.0**-23
    assert zero[0] == np.nextafter(np.float32(0), np.float32(1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_ulp_is_the_step_downwards_from_the_largest_value_and_infinity_has_none(dtype) -> None:
    """Masked scores are the lowest finite value: an infinite ulp would allow anything there."""
    largest = np.finfo(dtype).max
    values = np.array([largest, -largest, np.inf, np.nan], dtype)

    units = ulp(values, values)

    assert units[0] == units[1] == float(largest) - float(np.nextafter(largest, dtype(0)))
    assert np.isnan(units[2:]).all()


def test_ids_beyond_the_floats_are_told_apart() -> None:
    a = np.array([2**62, 2**53], np.int64)

    assert Exact(why=WHY).exceeded(a, a + 1).tolist() == [True, True]


def test_minus_zero_equals_zero() -> None:
    assert not Exact(why=WHY).exceeded(np.array([-0.0]), np.array([0.0])).any()


def a_checkpoint(name: str = "logit", **more) -> Checkpoint:
    return Checkpoint(
        **{"name": name, "stage": "output", "axes": ("candidate",), "dtype": "float32"} | more
    )


def test_the_bounds_of_both_sides_are_added_and_both_reasons_kept() -> None:
    ours = a_checkpoint(rounding=Rounding(ulps=0.5, absolute=1e-6, why="trees"))
    theirs = a_checkpoint(rounding=Rounding(ulps=1.0, absolute=3e-6, why="tensors"))

    tolerance = tolerance_for(ours, theirs, {})

    assert isinstance(tolerance, Sum)
    assert (tolerance.ulps.count, tolerance.absolute.bound) == (1.5, 4e-6)
    assert tolerance.text() == "1.5 ulps + 4e-06: reference: trees; challenger: tensors"


def test_an_exact_side_adds_nothing_to_the_others_bound() -> None:
    rounded = a_checkpoint(rounding=Rounding(ulps=0.5, why="rounded once"))

    tolerance = tolerance_for(a_checkpoint(exact=True), rounded, {})

    assert isinstance(tolerance, Ulps)
    assert tolerance.count == 0.5


@pytest.mark.parametrize(
    "one", [a_checkpoint(dtype="int64"), a_checkpoint(exact=True)], ids=["discrete", "declared"]
)
def test_discrete_and_exact_checkpoints_are_compared_exactly(one) -> None:
    assert isinstance(tolerance_for(one, one, {}), Exact)


@pytest.mark.parametrize("side", ["reference", "challenger"])
def test_a_real_checkpoint_without_a_bound_has_no_default(side) -> None:
    bounded = a_checkpoint(rounding=Rounding(ulps=1, why=WHY))
    pair = (a_checkpoint(), bounded) if side == "reference" else (bounded, a_checkpoint())

    with pytest.raises(ConfigError, match=rf"the {side}'s 'logit' is real-valued"):
        tolerance_for(*pair, {})


def test_the_plan_speaks_before_the_declarations() -> None:
    planned = {"log*": PlannedTolerance(kind="absolute", value=1e-3, why="measured floor")}

    tolerance = tolerance_for(a_checkpoint(), a_checkpoint(), planned)

    assert tolerance == Absolute(bound=1e-3, why="measured floor")


def test_no_plan_loosens_a_discrete_checkpoint() -> None:
    leaves = a_checkpoint("gbdt.leaves", dtype="int32")

    with pytest.raises(ConfigError, match="which is discrete"):
        tolerance_for(leaves, leaves, {"*": PlannedTolerance(kind="ulps", value=1, why=WHY)})


def test_a_name_goes_before_a_glob_and_a_longer_glob_before_a_shorter_one() -> None:
    globs = dict.fromkeys(["*", "features.*", "features.p*", "features.price"])

    assert best_match("features.price", globs) == "features.price"
    assert best_match("features.place", globs) == "features.p*"
    assert best_match("features.hour", globs) == "features.*"
    assert best_match("logit", {"features.*": None}) is None


def test_ecpm_from_a_given_pctr_has_a_bound_of_its_own() -> None:
    money = a_checkpoint("ecpm_micros", dtype="float64")

    tolerance = tolerance_for(money, money, {})

    assert isinstance(tolerance, Ulps)
    assert tolerance.count == 2.0
