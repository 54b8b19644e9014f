"""Random columns of every kind that logs and features have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.explain.diagnose import Evidence
from parity.tolerance import Exact, Ulps

Rng = np.random.Generator
Change = Callable[[np.ndarray, "Frame"], np.ndarray]
FLOAT32 = Ulps(count=1.0, why="both sides round once")
EXACT = Exact(why="discrete")
CHANNELS = 12


@dataclass(kw_only=True)
class Frame:
    """Rows of requests, and a column of the reference along them."""

    rng: Rng
    requests: np.ndarray
    reference: np.ndarray
    name: str = "features.x"
    stage: str = "feature"
    unit: str = "1"
    beside: dict[str, Any] = field(default_factory=dict)

    @property
    def starts(self) -> np.ndarray:
        return np.concatenate([[0], np.flatnonzero(np.diff(self.requests)) + 1])

    def by_request(self, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        parts = np.split(self.reference, self.starts[1:])
        return np.concatenate([change(part) for part in parts])


def frame(rng: Rng, *, by_request: bool = False) -> dict[str, Any]:
    """Sizes of 128 requests: one row each, or 5 to 30 candidates."""
    sizes = np.ones(128, dtype=np.int64) if by_request else rng.integers(5, 31, 96)
    return {"rng": rng, "requests": np.repeat(np.arange(len(sizes)), sizes)}


def real(draw: Callable[[Rng, int], np.ndarray], **more: Any) -> Callable[[Rng, bool], Frame]:
    def make(rng: Rng, by_request: bool) -> Frame:  # noqa: FBT001  # a column's one choice
        rows = frame(rng, by_request=by_request)
        values = draw(rng, len(rows["requests"])).astype(np.float32)
        return Frame(**rows, reference=values, **more)

    return make


def whole(draw: Callable[[Rng, int], np.ndarray], **more: Any) -> Callable[[Rng, bool], Frame]:
    def make(rng: Rng, by_request: bool) -> Frame:  # noqa: FBT001  # a column's one choice
        rows = frame(rng, by_request=by_request)
        return Frame(**rows, reference=draw(rng, len(rows["requests"])), **more)

    return make


def _with_missing(rng: Rng, n: int) -> np.ndarray:
    return np.where(rng.random(n) < 0.4, np.nan, rng.lognormal(1, 1, n))


def _zeros_and_missing(rng: Rng, n: int) -> np.ndarray:
    values = np.where(rng.random(n) < 0.3, 0.0, rng.lognormal(1, 1, n))
    return np.where(rng.random(n) < 0.2, np.nan, values)


COLUMNS: Mapping[str, Callable[[Rng, bool], Frame]] = {
    "lognormal": real(lambda rng, n: rng.lognormal(1, 1, n)),
    "heavy": real(lambda rng, n: rng.standard_t(1.5, n) * 10),
    "normal": real(lambda rng, n: rng.normal(0, 1, n)),
    "counts": real(lambda rng, n: rng.geometric(0.02, n) - 1),
    "missing": real(_with_missing),
    "zeros": real(_zeros_and_missing),
    "few": real(lambda rng, n: rng.choice([0.5, 1.25, 3.0, 7.5, 12.0], n)),
    "log1p": real(lambda rng, n: np.log1p(rng.geometric(0.005, n))),
    "rate": real(lambda rng, n: rng.beta(1, 60, n)),
    "probability": real(
        lambda rng, n: 1 / (1 + np.exp(-rng.normal(-3, 1, n))), name="pctr", stage="output"
    ),
    "logit": real(lambda rng, n: rng.normal(-3, 1, n), name="logit", stage="output"),
    "hour": real(lambda rng, n: rng.integers(0, 24, n), name="features.hour", unit="hour"),
    "weekday": real(lambda rng, n: rng.integers(0, 7, n), name="features.weekday"),
    "flag": whole(lambda rng, n: (rng.random(n) < 0.4).astype(np.int32)),
    "bucket": whole(lambda rng, n: rng.integers(0, 7, n).astype(np.int32)),
    "hash": whole(lambda rng, n: rng.integers(0, 64, n).astype(np.int32)),
    "encoded": whole(
        lambda rng, n: rng.integers(100, 140, n).astype(np.int32),
        name="encoded.ad",
        stage="encoding",
        unit="column",
    ),
    "ids": whole(lambda rng, n: rng.integers(2**40, 2**41, n)),
    "small_ids": whole(lambda rng, n: rng.integers(1, 5000, n)),
    "large": whole(lambda rng, n: rng.integers(0, 2**34, n)),
}


def evidence(frame: Frame, challenger: np.ndarray) -> Evidence:
    reference = frame.reference
    theirs = challenger.astype(reference.dtype)
    discrete = reference.dtype.kind != "f"
    return Evidence(
        name=frame.name,
        reference=reference,
        challenger=theirs,
        tolerance=EXACT if discrete else FLOAT32,
        requests=frame.requests,
        stage=frame.stage,  # type: ignore[arg-type]
        unit=frame.unit,
        **frame.beside,
    )
