"""One trained model as its library answers and as the scorer does, and rows at its edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cpp_serving._core import TreeScorer

Rows = NDArray[np.float32]

# Values where comparisons go wrong; for categorical features also fractions and other ends.
EDGES = np.array(
    [np.nan, -np.nan, 0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 1e-38, -1e-38,
     1e-35, -1e-35, 1.1e-35, -1.1e-35, 3.4028235e38, -3.4028235e38],
    dtype=np.float32,
)  # fmt: skip
CODES = np.array(
    [-1.5, -1, -0.5, -0.0, 0.5, 0.999, 1e9, 2**24 - 1, 2**24, 2**31, 4e9], dtype=np.float32
)


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a library answers for some rows, as its Python package shapes it."""

    leaves: NDArray[np.integer]  # [row, tree]
    margins: NDArray[np.floating]  # [row] or [row, output]
    scores: NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A trained model.

    Attributes:
        name: Its kind, and the seed that it was drawn with.
        data: The saved file.
        answer: What the library itself says of some rows.
        bound: Of a margin's difference: float32 sums of so many leaves of such sizes.
        num_features: Columns of a row.
        categorical: Which of them hold categories.
    """

    name: str
    data: bytes
    answer: Callable[[Rows], Answers]
    bound: float
    num_features: int
    categorical: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far the scorer is from the library; a case holds when `wrong` is empty."""

    rows: int
    leaves: int
    margin: float  # Largest difference, in units of what is allowed.
    wrong: tuple[str, ...]


def edge_rows(case: Case, count: int, *, seed: int) -> Rows:
    """Thresholds, their neighbours, edges, and values between; feature by feature."""
    rng = np.random.default_rng(seed)
    points = TreeScorer.from_bytes(case.data, case.name).split_points()
    rows = np.empty((count, case.num_features), dtype=np.float32)
    for feature, own in enumerate(points):
        if feature in case.categorical:
            codes = rng.integers(-1, 40, count).astype(np.float32)
            kinds = [codes, rng.choice(CODES, count), codes + np.float32(0.25),
                     rng.choice(EDGES, count)]  # fmt: skip
            weights = (0.8, 0.1, 0.05, 0.05)
        else:
            around = own if len(own) else np.zeros(1, dtype=np.float32)
            drawn = rng.choice(around, count)
            toward = rng.choice(np.array([-np.inf, np.inf], dtype=np.float32), count)
            spread = min(float(np.ptp(around.astype(np.float64))) + 1, 1e6)
            kinds = [drawn, np.nextafter(drawn, toward), rng.choice(EDGES, count),
                     rng.normal(float(np.median(around)), spread, count)]  # fmt: skip
            weights = (0.3, 0.3, 0.15, 0.25)
        rows[:, feature] = np.choose(rng.choice(4, count, p=weights), kinds).astype(np.float32)
    return rows


def compare(case: Case, rows: Rows, *, kernel: str = "auto") -> Difference:
    """The scorer beside the library, on the same rows."""
    scorer = TreeScorer.from_bytes(case.data, case.name, kernel=kernel)
    expected = case.answer(rows)
    wrong = []
    leaves = scorer.leaves(rows)
    differing = int((leaves != expected.leaves.reshape(leaves.shape)).sum())
    if differing:
        wrong.append(f"{differing} leaves of {leaves.size} differ")
    margins = scorer.margins(rows).astype(np.float64)
    gap = np.abs(margins - expected.margins.reshape(margins.shape))
    if not gap.max(initial=0) <= case.bound:  # NaN is not within it either
        wrong.append(f"a margin is {gap.max()} away, and {case.bound} is allowed")
    scores = scorer.score(rows)
    wrong += _scores_differ(scores, expected.scores.reshape(scores.shape), margins, case.bound)
    return Difference(
        rows=len(rows),
        leaves=leaves.size,
        margin=float(gap.max(initial=0) / case.bound),
        wrong=tuple(wrong),
    )


def _scores_differ(
    ours: Rows, theirs: NDArray[np.floating], margins: NDArray[np.float64], bound: float
) -> list[str]:
    if (
        ours.shape != margins.shape
    ):  # A class: where two margins are too near to tell, either is right.
        two = np.sort(margins, axis=1)[:, -2:]
        decided = two[:, 1] - two[:, 0] > 2 * bound
        differ = decided & (ours != theirs)
    elif set(np.unique(ours)) <= {0.0, 1.0} and set(np.unique(theirs)) <= {0.0, 1.0}:
        differ = (np.abs(margins) > bound) & (ours != theirs)
    else:
        # A link moves a score by no more than the margin moves, relatively or absolutely, and the
        # libraries' float32 exp() by a few units in the last place.
        allowed = 2 * bound * (1 + np.abs(theirs)) + 8 * 2.0**-24 * np.abs(theirs) + 1e-37
        both_infinite = np.isinf(ours) & np.isinf(theirs)
        with np.errstate(invalid="ignore"):
            differ = ~both_infinite & ~(np.abs(ours - theirs) <= allowed)
    return [f"{int(differ.sum())} scores of {ours.size} differ"] if differ.any() else []
