"""Real features of numbers and times: each kind of docs/features.md as a columnar formula."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from modern.features.columns import Columns, Times
from modern.features.spec import RealSpec, Source

MINUTES_PER_DAY = 1440
MICROS_PER_MINUTE = 60_000_000
MICROS_PER_HOUR = 3_600_000_000
MONDAY_FIRST = 3  # 1970-01-01 was a Thursday, the fourth day from Monday


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(RealSpec):
    """The value itself."""

    kind: ClassVar[str] = "number"

    source: Source

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        return columns.real(self.source, self.axis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Log1p(RealSpec):
    """log1p of a value that is not negative."""

    kind: ClassVar[str] = "log1p"

    source: Source

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        values = columns.real(self.source, self.axis)
        return self.logarithm(np.where(values < 0, np.nan, values))

    @staticmethod
    def logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[row], log1p."""
        logs: NDArray[np.float64] = np.log1p(values)
        return logs


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour(RealSpec):
    """Hour of the local day, 0 to 23."""

    kind: ClassVar[str] = "hour"
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = "hour"

    source: Source
    utc_offset_minutes: int

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def flaw(self) -> str | None:
        return offset_flaw(self.utc_offset_minutes)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        times = columns.times(self.source, self.axis)
        hours = local_micros(times, self.utc_offset_minutes) // MICROS_PER_HOUR
        return np.where(times.valid, hours % 24, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weekday(RealSpec):
    """Day of the local week, 0 is Monday."""

    kind: ClassVar[str] = "weekday"
    exact: ClassVar[bool] = True
    unit: ClassVar[str] = "weekday"

    source: Source
    utc_offset_minutes: int

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.source,)

    def flaw(self) -> str | None:
        return offset_flaw(self.utc_offset_minutes)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        times = columns.times(self.source, self.axis)
        days = local_micros(times, self.utc_offset_minutes) // (24 * MICROS_PER_HOUR)
        return np.where(times.valid, (days + MONDAY_FIRST) % 7, np.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recency(RealSpec):
    """log1p of the hours from one time until another, no less than none."""

    kind: ClassVar[str] = "recency"

    since: Source
    until: Source

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.since, self.until)

    def values(self, columns: Columns) -> NDArray[np.float64]:
        since = columns.times(self.since, self.axis)
        until = columns.times(self.until, self.axis)
        return log_hours_between(since, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(RealSpec):
    """Events per trial, drawn towards a prior as if that had been seen `weight` times."""

    kind: ClassVar[str] = "rate"

    events: Source
    trials: Source
    prior: float
    weight: float

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.events, self.trials)

    def flaw(self) -> str | None:
        return None if self.weight > 0 else f"weight {self.weight} would divide by no trials"

    def values(self, columns: Columns) -> NDArray[np.float64]:
        events = columns.real(self.events, self.axis)
        trials = columns.real(self.trials, self.axis)
        return (events + self.prior * self.weight) / (trials + self.weight)


def offset_flaw(utc_offset_minutes: int) -> str | None:
    """No clock on Earth is a day away from UTC."""
    if abs(utc_offset_minutes) < MINUTES_PER_DAY:
        return None
    return f"utc_offset_minutes {utc_offset_minutes} is a day or more"


def local_micros(times: Times, utc_offset_minutes: int) -> NDArray[np.int64]:
    """[row], microseconds on the local clock since its 1970."""
    return times.micros + np.int64(utc_offset_minutes * MICROS_PER_MINUTE)


def log_hours_between(since: Times, until: Times) -> NDArray[np.float64]:
    """[row], log1p(max(0, until - since) in hours); NaN where either is missing."""
    micros = np.maximum(until.micros - since.micros, 0)
    hours = micros.astype(np.float64) / MICROS_PER_HOUR
    return np.where(since.valid & until.valid, np.log1p(hours), np.nan)
