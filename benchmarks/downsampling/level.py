"""How far a calibrated sum is off, and what of it is chance: the delta method, clustered by request.

The two numbers of a calibration solve an equation whose terms are the outcomes of the requests that
were kept back. So a small change of these moves the predicted sum linearly: one Newton step from
where it stands. With the true probabilities in place of the outcomes that step gives what their
luck did, and with each request's own share of the equation the standard error.

Source: Huber 1967 and White 1980, the sandwich estimator; clusters as in Liang and Zeger 1986.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modern.transformer.calibration import LEVEL_DEVIATION, SLOPE_DEVIATION, Calibration

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Candidates whose outcome is known, all [row]."""

    logit: NDArray[np.float32]
    label: Floats
    truth: Floats
    request: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """One after the other."""
        names = ("logit", "label", "truth", "request")
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Predicted over true sums of a task on held-out days.

    Attributes:
        ones: Outcomes of 1 among those the calibration was fitted to.
        raw: Before the calibration.
        calibrated: After it.
        deviation: The standard error of `calibrated`: of which requests were kept back and how they
            ended, and of which ones the held-out days have.
        luck: What of `calibrated` - 1 is how the requests that were kept back happened to end.
        prior: What of it is the calibration's prior, which holds it near the weights' own level.
    """

    task: str
    ones: int
    raw: float
    calibrated: float
    deviation: float
    luck: float
    prior: float


def level_of(task: str, kept_back: Rows, held_out: Rows, calibration: Calibration) -> Level:
    """Compare, and take apart.

    Args:
        task: Its name.
        kept_back: What the calibration was fitted to.
        held_out: What is judged.
        calibration: Fitted to `kept_back`.
    """
    centre = float(kept_back.logit.mean(dtype=np.float64))
    design, p = _design(kept_back, centre), _predicted(kept_back, calibration)
    # The calibration's own terms: slope, and what the mean logit becomes.
    theta = np.array([calibration.slope, calibration.intercept + calibration.slope * centre])
    pull = np.array([SLOPE_DEVIATION, LEVEL_DEVIATION]) ** -2 * (theta - np.array([1.0, centre]))
    hessian = (design * (p * (1 - p))[:, None]).T @ design
    hessian += np.diag(np.array([SLOPE_DEVIATION, LEVEL_DEVIATION]) ** -2)
    q = _predicted(held_out, calibration)
    true_sum = held_out.truth.sum()
    # What a unit of each term's equation moves the predicted sum by, relative to the true one.
    per_term = np.linalg.solve(hessian, _design(held_out, centre).T @ (q * (1 - q))) / true_sum
    of_requests = _by_request(kept_back, design * (kept_back.label - p)[:, None]) @ per_term
    of_held_out = _by_request(held_out, ((q - held_out.truth) / true_sum)[:, None])[:, 0]
    as_it_is = Calibration(slope=1.0, intercept=0.0)
    return Level(
        task=task,
        ones=int(kept_back.label.sum()),
        raw=float(_predicted(held_out, as_it_is).sum() / true_sum),
        calibrated=float(q.sum() / true_sum),
        deviation=float(np.sqrt(_spread(of_requests) + _spread(of_held_out))),
        luck=float(design.T @ (kept_back.label - kept_back.truth) @ per_term),
        prior=float(-pull @ per_term),
    )


def _spread(sums: Floats) -> float:
    """The variance of the total of independent terms, a request each."""
    return float(((sums - sums.mean()) ** 2).sum())


def _design(rows: Rows, centre: float) -> Floats:
    x = rows.logit.astype(np.float64) - centre
    return np.stack([x, np.ones_like(x)], axis=1)


def _predicted(rows: Rows, calibration: Calibration) -> Floats:
    """Probabilities in float64."""
    margin = calibration.slope * rows.logit.astype(np.float64) + calibration.intercept
    predicted: Floats = 1.0 / (1.0 + np.exp(-margin))
    return predicted


def _by_request(rows: Rows, values: Floats) -> Floats:
    """[request, term] sums over each request's candidates."""
    _, owner = np.unique(rows.request, return_inverse=True)
    return np.stack([np.bincount(owner, column) for column in values.T], axis=1)
