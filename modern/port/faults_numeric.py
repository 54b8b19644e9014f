"""Faults of the port's real features: units, logarithms, clocks, rates, missing values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modern.features.columns import Columns
from modern.features.history import HistoryCount, HistoryRecency
from modern.features.numeric import (
    MICROS_PER_HOUR,
    MINUTES_PER_DAY,
    Hour,
    Log1p,
    Number,
    Rate,
    Recency,
    Weekday,
    local_micros,
)
from modern.features.spec import FeatureSpec, RealSpec
from modern.port.faults_kinds import FeatureFault, as_kind

TOKYO_MINUTES = 540
Values = NDArray[np.float64]


class LogForLog1p(Log1p):
    """The logarithm without its 1 +."""

    @staticmethod
    def logarithm(values: Values) -> Values:
        logs: Values = np.log(values)
        return logs


class LogOfBaseTwo(Log1p):
    """The logarithm of another base."""

    @staticmethod
    def logarithm(values: Values) -> Values:
        logs: Values = np.log2(1.0 + values)
        return logs


class NoLogarithm(Log1p):
    """The value itself."""

    @staticmethod
    def logarithm(values: Values) -> Values:
        return values


class LogTwice(Log1p):
    """Once where the log was written, and once more where it is read."""

    @staticmethod
    def logarithm(values: Values) -> Values:
        logs: Values = np.log1p(np.log1p(values))
        return logs


class NumberAsHalf(Number):
    """A column that was stored in float16."""

    def values(self, columns: Columns) -> Values:
        half = Number.values(self, columns).astype(np.float16)
        return half.astype(np.float64)


class NumberAsInteger(Number):
    """A column that was declared as an integer."""

    def values(self, columns: Columns) -> Values:
        whole: Values = np.trunc(Number.values(self, columns))
        return whole


class NumberOrZero(Number):
    """Missing values are filled with 0, as a data frame's fillna does."""

    def values(self, columns: Columns) -> Values:
        values = Number.values(self, columns)
        return np.where(np.isnan(values), 0.0, values)


class ZeroIsMissing(Number):
    """0 is taken for a missing value, as by `value or None`."""

    def values(self, columns: Columns) -> Values:
        values = Number.values(self, columns)
        return np.where(values == 0.0, np.nan, values)


class HourOfHalfDay(Hour):
    """%I for %H: hours of a twelve-hour clock."""

    def values(self, columns: Columns) -> Values:
        halves: Values = Hour.values(self, columns) % 12
        return halves


class HourRounded(Hour):
    """The nearest hour for the one that has begun."""

    def values(self, columns: Columns) -> Values:
        times = columns.times(self.source, self.axis)
        micros = local_micros(times, self.utc_offset_minutes) + MICROS_PER_HOUR // 2
        return np.where(times.valid, micros // MICROS_PER_HOUR % 24, np.nan)


class WeekFromSunday(Weekday):
    """0 is Sunday."""

    def values(self, columns: Columns) -> Values:
        days: Values = (Weekday.values(self, columns) + 1) % 7
        return days


class IsoWeekday(Weekday):
    """Monday is 1 and Sunday 7."""

    def values(self, columns: Columns) -> Values:
        return Weekday.values(self, columns) + 1


class RecencyInDays(Recency):
    """Days for hours, before the logarithm."""

    def values(self, columns: Columns) -> Values:
        return np.log1p(np.expm1(Recency.values(self, columns)) / 24.0)


class RecencyOfNever(Recency):
    """What never happened is taken to have happened just now."""

    def values(self, columns: Columns) -> Values:
        values = Recency.values(self, columns)
        return np.where(np.isnan(values), 0.0, values)


class RecencyWithoutLog(Recency):
    """Hours, without the logarithm."""

    def values(self, columns: Columns) -> Values:
        hours: Values = np.expm1(Recency.values(self, columns))
        return hours


class RateWithoutPrior(Rate):
    """Events over trials as they are; no trials: missing."""

    def values(self, columns: Columns) -> Values:
        events = columns.real(self.events, self.axis)
        trials = columns.real(self.trials, self.axis)
        return events / np.where(trials > 0, trials, np.nan)


class RateOfFailures(Rate):
    """Smoothed over trials + events: as if trials did not include events."""

    def values(self, columns: Columns) -> Values:
        events = columns.real(self.events, self.axis)
        trials = columns.real(self.trials, self.axis) + events
        return (events + self.prior * self.weight) / (trials + self.weight)


class RateOfIntegers(Rate):
    """Integers divided as integers."""

    def values(self, columns: Columns) -> Values:
        whole: Values = np.floor(Rate.values(self, columns))
        return whole


class RateInPercent(Rate):
    """Per cent for a fraction."""

    def values(self, columns: Columns) -> Values:
        return 100.0 * Rate.values(self, columns)


class StepsWithoutLog(HistoryCount):
    """The number of steps itself."""

    def values(self, columns: Columns) -> Values:
        return np.expm1(HistoryCount.values(self, columns))


class AgeOfOldestStep(HistoryRecency):
    """Histories read newest first: the first logged step's age for the last one's."""

    def values(self, columns: Columns) -> Values:
        keys = columns.batch.keys
        starts, ends = keys.step_offsets[:-1], keys.step_offsets[1:]
        at = columns.times("history.at", "step")
        until = columns.times(self.until, "request")
        some = ends > starts
        first = np.minimum(starts, max(len(at.micros) - 1, 0))
        if not len(at.micros):
            return np.full(len(starts), np.nan)
        hours = np.maximum(until.micros - at.micros[first], 0) / MICROS_PER_HOUR
        return np.where(some & at.valid[first] & until.valid, np.log1p(hours), np.nan)


def _other_clock(feature: Hour | Weekday) -> FeatureSpec:
    """UTC taken for local time; where local time is UTC, Tokyo's instead."""
    return replace(feature, utc_offset_minutes=0 if feature.utc_offset_minutes else TOKYO_MINUTES)


def _an_hour_more(feature: Hour | Weekday) -> FeatureSpec | None:
    minutes = feature.utc_offset_minutes + 60
    return replace(feature, utc_offset_minutes=minutes) if minutes < MINUTES_PER_DAY else None


def _other_prior(feature: Rate) -> FeatureSpec:
    return replace(feature, prior=feature.prior * 1.1 if feature.prior else 0.01)


def _half_weight(feature: Rate) -> FeatureSpec:
    return replace(feature, weight=feature.weight / 2)


def _exchanged(feature: Rate) -> FeatureSpec:
    return replace(feature, events=feature.trials, trials=feature.events)


def _fault(kind: str, of: type[RealSpec], says: str, code: type[RealSpec]) -> FeatureFault:
    return FeatureFault(kind=kind, of=(of,), where="code", says=says, change=as_kind(code))


NUMERIC_FAULTS: tuple[FeatureFault, ...] = (
    _fault("log_for_log1p", Log1p, "log(x) is taken instead of log1p(x)", LogForLog1p),
    _fault("log2_for_log", Log1p, "the logarithm has base 2", LogOfBaseTwo),
    _fault("log_left_out", Log1p, "the logarithm is left out", NoLogarithm),
    _fault("log_twice", Log1p, "the logarithm is taken twice", LogTwice),
    _fault("stored_float16", Number, "the column was stored in float16", NumberAsHalf),
    _fault("integer_column", Number, "the column is declared as an integer", NumberAsInteger),
    _fault("fillna_zero", Number, "missing values are filled with 0", NumberOrZero),
    _fault("zero_is_missing", Number, "0 is taken for a missing value", ZeroIsMissing),
    _fault("half_day_clock", Hour, "hours of a twelve-hour clock (%I for %H)", HourOfHalfDay),
    _fault("hour_rounded", Hour, "the nearest hour for the one that has begun", HourRounded),
    _fault("week_from_sunday", Weekday, "the week begins on Sunday", WeekFromSunday),
    _fault("iso_weekday", Weekday, "weekdays count from 1", IsoWeekday),
    _fault("days_for_hours", Recency, "days for hours, before the logarithm", RecencyInDays),
    _fault("never_is_now", Recency, "what never happened, happened just now", RecencyOfNever),
    _fault("log_left_out", Recency, "the logarithm is left out", RecencyWithoutLog),
    _fault("rate_without_prior", Rate, "events over trials, without a prior", RateWithoutPrior),
    _fault("rate_of_failures", Rate, "trials are taken to leave out events", RateOfFailures),
    _fault("integer_division", Rate, "integers are divided as integers", RateOfIntegers),
    _fault("per_cent_for_fraction", Rate, "per cent for a fraction", RateInPercent),
    _fault("log_left_out", HistoryCount, "the logarithm is left out", StepsWithoutLog),
    _fault("history_reversed", HistoryRecency, "histories are read newest first", AgeOfOldestStep),
    FeatureFault(
        kind="utc_offset",
        of=(Hour, Weekday),
        where="configuration",
        says="UTC is taken for local time (or Tokyo's clock for UTC)",
        change=_other_clock,
    ),
    FeatureFault(
        kind="daylight_saving",
        of=(Hour, Weekday),
        where="configuration",
        says="the clock is an hour late, as when daylight saving is added where there is none",
        change=_an_hour_more,
    ),
    FeatureFault(
        kind="rate_prior",
        of=(Rate,),
        where="configuration",
        says="the prior of the rate is a tenth higher",
        change=_other_prior,
    ),
    FeatureFault(
        kind="rate_weight",
        of=(Rate,),
        where="configuration",
        says="the prior counts half as much",
        change=_half_weight,
    ),
    FeatureFault(
        kind="rate_inverted",
        of=(Rate,),
        where="configuration",
        says="events and trials are exchanged",
        change=_exchanged,
    ),
)
