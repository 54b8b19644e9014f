"""Which logged steps the model reads: their age, their segment, their weight, and their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modern.features.columns import Columns
from modern.features.numeric import MICROS_PER_HOUR
from modern.transformer.config import HistoryConfig

DAY_HOURS = 24
MICROS_PER_DAY = DAY_HOURS * MICROS_PER_HOUR


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepTimes:
    """When steps happened, as the model sees it.

    Attributes:
        age_hours: [step] float32, not negative; NaN where the time is unknown. A recent step's is
            counted to the request, an old one's to the midnight that begins the request's day:
            that of an old step must not change within the day.
        old: [step] int32, 1 for a step of the old segment. One of unknown time is recent.
    """

    age_hours: NDArray[np.float32]
    old: NDArray[np.int32]


def step_times(columns: Columns, config: HistoryConfig) -> StepTimes:
    """Age and segment of every logged step of a batch."""
    steps, requests = columns.times("history.at", "step"), columns.times("logged_at", "step")
    midnight = requests.micros // MICROS_PER_DAY * MICROS_PER_DAY
    horizon = midnight - round(config.recent_hours * MICROS_PER_HOUR)
    old = steps.valid & (steps.micros < horizon)
    micros = np.where(old, midnight, requests.micros) - steps.micros
    hours = np.maximum(micros, 0).astype(np.float64) / MICROS_PER_HOUR
    known = steps.valid & requests.valid
    return StepTimes(
        age_hours=np.where(known, hours, np.nan).astype(np.float32), old=old.astype(np.int32)
    )


def step_weights(
    step_offsets: NDArray[np.int64],
    times: StepTimes,
    values: Mapping[str, NDArray[Any]],
    config: HistoryConfig,
) -> NDArray[np.float32]:
    """[step] how many logged steps each stands for; 0 for those that stand behind a newer one.

    With `recency_power` a step counts (1 + its age in hours)^-power of that, and one of a day ago as
    itself: what attention starts from before it has learned which ages matter. Were it one of this hour
    that counts as itself, the row that stands for "nothing" would outweigh all of yesterday. A step of
    unknown age counts as one at the end of the recent hours.

    Steps of one request, segment and key (`config.collapse_by`) form runs in which each follows
    the one before within `collapse_hours`; the newest of a run stands for all of it. A step of
    unknown time follows none. Without keys every step stands for itself.

    Args:
        step_offsets: [request + 1]; a request's steps are logged oldest first.
        times: Of the steps.
        values: Values of the step features, at least those of `config.collapse_by`.
        config: What is a duplicate.
    """
    request_of = requests_of(step_offsets)
    if config.collapse_by:
        keys = [values[name] for name in config.collapse_by]
        count = _collapsed(request_of, times, keys, config.collapse_hours)
    else:
        count = np.ones(len(request_of), dtype=np.float32)
    if not config.recency_power:
        return count
    age = np.where(np.isnan(times.age_hours), config.recent_hours, times.age_hours)
    recency = ((1.0 + age.astype(np.float64)) / (1.0 + DAY_HOURS)) ** -config.recency_power
    return (count * recency).astype(np.float32)


def step_places(
    step_offsets: NDArray[np.int64],
    old: NDArray[np.int32],
    weight: NDArray[np.float32],
    config: HistoryConfig,
) -> NDArray[np.int32]:
    """[step] its place among those that are read, oldest first; -1 where it is not read.

    Of each segment the newest that stand for something are read. A limit for each: how many new
    steps there are must not change which old ones are read.
    """
    request_of = requests_of(step_offsets)
    stands = weight > 0
    for segment, most in ((0, config.max_recent), (1, config.max_old)):
        rows = np.flatnonzero(stands & (old == segment))
        stands[rows[_newer(request_of[rows]) >= most]] = False
    kept = np.flatnonzero(stands)
    place = np.full(len(request_of), -1, dtype=np.int32)
    place[kept] = _earlier(request_of[kept])
    return place


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCode:
    """The functions above, as a stack runs them: a drill puts a wrong one in their place."""

    step_times: Callable[[Columns, HistoryConfig], StepTimes] = step_times
    step_weights: Callable[
        [NDArray[np.int64], StepTimes, Mapping[str, NDArray[Any]], HistoryConfig],
        NDArray[np.float32],
    ] = step_weights
    step_places: Callable[
        [NDArray[np.int64], NDArray[np.int32], NDArray[np.float32], HistoryConfig],
        NDArray[np.int32],
    ] = step_places


def requests_of(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """[row] to the request that owns it."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _collapsed(
    request_of: NDArray[np.int64],
    times: StepTimes,
    keys: Sequence[NDArray[Any]],
    hours: float,
) -> NDArray[np.float32]:
    count = len(request_of)
    codes = [np.unique(key, return_inverse=True)[1] for key in keys]
    columns: list[NDArray[Any]] = [request_of, times.old, *codes]
    order = np.lexsort((np.arange(count), *reversed(columns)))
    age = times.age_hours[order].astype(np.float64)
    same = np.ones(max(count - 1, 0), dtype=np.bool_)
    for column in columns:
        same &= column[order][1:] == column[order][:-1]
    gap = age[:-1] - age[1:]
    follows = same & (np.abs(gap) <= hours)  # NaN is beyond any gap
    run = np.concatenate([[0], np.cumsum(~follows)]) if count else np.zeros(0, np.int64)
    is_last = np.concatenate([~follows, [True]]) if count else np.zeros(0, np.bool_)
    weight = np.zeros(count, dtype=np.float32)
    weight[order[is_last]] = np.bincount(run) if count else 0
    return weight


def _earlier(request_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """[row] how many rows of the same request stand before it; requests ascend."""
    return np.arange(len(request_of)) - np.searchsorted(request_of, request_of, side="left")


def _newer(request_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """[row] how many rows of the same request stand behind it."""
    return np.searchsorted(request_of, request_of, side="right") - 1 - np.arange(len(request_of))
