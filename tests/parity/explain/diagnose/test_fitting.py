from __future__ import annotations

import numpy as np
import pytest

from parity.explain.diagnose.fitting import commonest, densest, line


def test_the_commonest_value_is_found_with_its_count() -> None:
    found = commonest(np.array([3, 1, 3, 2, 2, 3]))

    assert found is not None
    assert (found.value, found.count) == (3, 3)
    assert commonest(np.array([])) is None


def test_the_densest_place_is_found_among_scattered_values() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(-100, 100, 60), rng.normal(1.5, 1e-7, 40), [np.nan]])

    found = densest(values, 1e-5)

    assert found is not None
    assert found.value == pytest.approx(1.5, abs=1e-6)
    assert 40 <= found.count <= 42


def test_a_line_is_found_through_half_of_the_points() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    y = np.where(np.arange(200) % 2 == 0, 0.37 * x - 1.7, rng.normal(0, 5, 200))

    found = line(x, y)

    assert found is not None
    assert (found.slope, found.intercept) == (pytest.approx(0.37), pytest.approx(-1.7))


def test_through_one_value_of_x_no_line_is_drawn() -> None:
    assert line(np.ones(50), np.arange(50.0)) is None
