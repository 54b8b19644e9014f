"""What lies above the floor, by the type that the challenger's values come in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity.drill.floor import above, floor_of
from replay.trace import Trace
from tests.parity.drill.drilled import a_bench

# The last place of a value of 0.5 to 1, in units of float32's.
UNIT = 2.0**-24


def _in_bfloat16(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


@pytest.mark.parametrize(
    ("narrow", "moved_by", "is_above"),
    [
        (False, 64 * UNIT, True),
        (True, 64 * UNIT, False),
        # A fault too small for bfloat16 that pushes a value over the edge between two of them.
        (True, 2.0**16 * UNIT, False),
        (True, 2.0**20 * UNIT, True),
    ],
)
def test_a_last_place_is_that_of_the_type_which_the_values_come_in(
    narrow: bool,  # noqa: FBT001 - a case
    moved_by: float,
    is_above: bool,  # noqa: FBT001 - a case
) -> None:
    bench = a_bench()
    left = bench.clean["left"]
    clean = _in_bfloat16(left) if narrow else left
    bench = replace(bench, clean=_with(bench.clean, clean))
    moved = clean.copy()
    at = np.unravel_index(np.argmax(np.abs(clean)), clean.shape)
    moved[at] += np.float32(moved_by)

    found = above(bench, floor_of(bench, []), _with(bench.clean, moved))

    assert found == (["left"] if is_above else [])


def _with(trace: Trace, left: np.ndarray) -> Trace:
    return replace(trace, values={**trace.values, "left": left})
