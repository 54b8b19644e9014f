"""What a verdict asks for: how much evidence, and how much worse a metric may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Correction = Literal["holm", "benjamini_hochberg"]
DivergenceRule = Literal["different", "material"]
FidelityRule = Literal["if_logged", "require"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How much worse than the reference a metric may be, in the metric's own unit."""

    worse_by: float
    why: str


NO_MARGINS: Mapping[str, Margin] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one plan's verdict.

    Attributes:
        min_requests: Fewer compared requests are no evidence.
        min_compared_share: Of the requests read; below it the verdict would speak of the
            minority of the day that could be read.
        min_coverage: Of the reference's checkpoints, those left out with a reason aside.
        fidelity: "if_logged" accepts a log without served values; "require" does not.
            A replay that does not reproduce what was served is never parity under either.
        margins: Metric name to its margin; a metric without one is shown, not judged.
        min_clicks: Fewer clicks (or fewer non-clicks) decide no metric. In simulation the
            95 % interval covered the truth in 92 % of cases at 10 to 20 clicks and in 94-95 %
            from 40 on; below 10 it is undefined too often.
        slice_correction: How p-values of slices are corrected for their number.
        stop_rate: With `--stop-early`: the share of differing requests that is tested; one in
            ten thousand is below what any metric of a day can see.
        stop_level: How sure that test has to be, whenever it stops.
        diverges_on: "different" takes any cause for a divergence; "material" only one that moves
            rank, probability or money by more than the plan allows.
        resamples: Resamples of the requests behind every interval; at 1000 the ends of the
            interval move by a few per cent of its width from seed to seed.
    """

    min_requests: int = 1
    min_compared_share: float = 0.5
    min_coverage: float = 1.0
    fidelity: FidelityRule = "if_logged"
    margins: Mapping[str, Margin] = field(default_factory=lambda: NO_MARGINS)
    min_clicks: int = 20
    diverges_on: DivergenceRule = "different"
    resamples: int = 1000
    slice_correction: Correction = "holm"
    stop_rate: float = 1e-4
    stop_level: float = 0.99
