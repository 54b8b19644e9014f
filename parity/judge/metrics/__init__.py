"""Calibration, ranking, entropy, and their intervals."""

from __future__ import annotations

from parity.judge.metrics.measure import metrics_of
from parity.judge.metrics.outcomes import Outcomes

__all__ = ["Outcomes", "metrics_of"]
