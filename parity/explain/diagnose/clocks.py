"""Hours and weekdays by another clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from parity.explain.diagnose.fitting import commonest
from parity.explain.diagnose.hypothesis import Hypothesis
from parity.explain.diagnose.sample import Places, Sample
from parity.explain.diagnose.wording import counted
from parity.tolerance import Floats
from replay.trace import Array

# Every offset from UTC that a clock somewhere shows, in steps of a quarter of an hour.
_OFFSETS = np.arange(-12 * 4, 14 * 4 + 1) / 4.0
_KNOWN = 0.99
_LOOKED_AT = 128
Clock = Callable[[Floats, Floats | float], Floats]
_DAYS_SINCE_MONDAY = 3  # 1970-01-01 was a Thursday


def clock_hypotheses(sample: Sample) -> Iterator[Hypothesis]:
    """A shift around the clock or the week, then the clock of another place."""
    if sample.evidence.stage not in {"log", "feature"} or sample.num_channels > 1:
        return
    if not sample.is_whole or not len(sample.finite):
        return
    for period, first, kind, noun, meaning in (
        (24, 0, "hour_shift", "hour", "another time zone"),
        (7, 0, "day_shift", "day", "another first day of the week"),
        (7, 1, "day_shift", "day", "another first day of the week"),
        (12, 1, "month_shift", "month", "another first month of the year"),
    ):
        if _cycles(sample, period, first):
            yield from _shift(sample, period, first, kind=kind, noun=noun, meaning=meaning)
    if _cycles(sample, 24, 0):
        yield Hypothesis(
            kind="half_day_clock",
            says="challenger = reference modulo 12",
            meaning="a clock of twelve hours",
            values=np.mod(sample.reference, 12),
            reach="all",
        )
    if _may_be_iso(sample):
        yield Hypothesis(
            kind="day_shift",
            says="weekdays count from 1: one more",
            meaning="another numbering of the week, such as ISO 8601's",
            parameters={"shift": 1},
            bits=1.0,
            needs=2,
            values=sample.reference + 1,
            reach="all",
            certain=_reads_week(sample),
        )
    for name, times in sample.along(sample.evidence.times).items():
        for period, clock in ((24, hour_of), (7, weekday_of)):
            yield from _by_clock(sample, name, times, period, clock)


def hour_of(hours: Floats, offset: Floats | float) -> Floats:
    """0 to 23 by a clock that is so many hours ahead of UTC."""
    read: Floats = np.mod(np.floor(hours + offset), 24.0)
    return read


def weekday_of(hours: Floats, offset: Floats | float) -> Floats:
    """0 is Monday."""
    read: Floats = np.mod(np.floor((hours + offset) / 24.0) + _DAYS_SINCE_MONDAY, 7.0)
    return read


def _cycles(sample: Sample, period: int, first: int) -> bool:
    """Whether both sides stay within one turn, and the name does not speak of another one."""
    r, c = sample.r, sample.c
    both = np.concatenate([r[np.isfinite(r)], c[np.isfinite(c)]])
    name = sample.evidence.name.lower() + " " + sample.evidence.unit.lower()
    words = {24: "hour", 7: "day", 12: "month"}
    others = [word for turn, word in words.items() if turn != period and word in name]
    if others and words[period] not in name:
        return False
    full = float(np.quantile(both, 0.98)) < period + first  # a few wrong values may lie outside
    return full and float(both.min()) >= first


def _shift(
    sample: Sample, period: int, first: int, *, kind: str, noun: str, meaning: str
) -> Iterator[Hypothesis]:
    cells = sample.finite
    apart = np.mod(sample.challenger[cells] - sample.reference[cells], period)
    found = commonest(apart)
    if found is None or not found.value:
        return
    shift = int(found.value)
    signed = shift if shift <= period // 2 else shift - period
    clock = {24: hour_of, 7: weekday_of}.get(period)
    backed = (
        first == 0
        and clock is not None
        and any(
            _tells(sample, sample.from_rows(times), clock)
            for times in sample.along(sample.evidence.times).values()
        )
    )
    yield Hypothesis(
        kind=kind,
        says=f"{counted(abs(signed), noun)} {'later' if signed > 0 else 'earlier'}, "
        f"modulo {period}",
        meaning=meaning,
        parameters={"shift": signed, "period": period},
        bits=math.log2(period),
        values=np.mod(sample.reference - first + shift, period) + first,
        needs=2,
        reach="all" if backed else "either",
        certain=backed,
    )


def _may_be_iso(sample: Sample) -> bool:
    """Whether a weekday goes from 0 to 6 here and from 1 to 7 there."""
    cells = sample.finite
    r, c = sample.reference[cells], sample.challenger[cells]
    named = "weekday" in f"{sample.evidence.name} {sample.evidence.unit}"
    return named and bool(r.min() >= 0 and r.max() <= 6 and c.min() >= 1 and c.max() == 7)


def _reads_week(sample: Sample) -> bool:
    """Whether the reference reads a logged time as a weekday."""
    times = sample.along(sample.evidence.times).values()
    return any(_tells(sample, sample.from_rows(one), weekday_of) for one in times)


def _tells(sample: Sample, hours: Floats, clock: Clock) -> bool:
    """Whether the reference reads a logged time by some clock: then it surely is a time."""
    cells = np.flatnonzero(np.isfinite(hours))
    if not len(cells):
        return False
    offset = _best_offset(sample.reference, hours, clock, cells)
    return offset is not None and _share(sample.r, hours, clock, cells, offset) >= _KNOWN


def _share(values: Floats, hours: Floats, clock: Clock, cells: Places, offset: float) -> float:
    return float(np.mean(clock(hours[cells], offset) == values[cells]))


def _by_clock(
    sample: Sample, name: str, times: Floats, period: int, clock: Clock
) -> Iterator[Hypothesis]:
    """Both sides read one logged time, by clocks of different places."""
    cells: Places = np.flatnonzero(np.isfinite(sample.from_rows(times)))
    if not len(cells) or not _cycles(sample, period, 0):
        return
    hours = sample.from_rows(times)
    fitted = cells[~sample.held[cells]]
    if not len(fitted):
        return
    ours = _best_offset(sample.reference, hours, clock, fitted)
    theirs = _best_offset(sample.challenger, hours, clock, fitted)
    if ours is None or theirs is None or ours == theirs:
        return
    if _share(sample.r, hours, clock, cells, ours) < _KNOWN:
        return
    apart = theirs - ours
    if period == 24 and theirs != 0.0 and apart == int(apart):
        return  # a shift around the clock says it shorter
    yield Hypothesis(
        kind="utc_offset",
        says=f"the {'hour' if period == 24 else 'weekday'} of {name} by the clock of "
        f"{_zone(theirs)} instead of {_zone(ours)}",
        meaning=f"another time zone, {_duration(apart)}",
        parameters={"hours": apart, "reference": ours, "challenger": theirs, "time": name},
        bits=math.log2(len(_OFFSETS)),
        values=np.where(np.isfinite(hours), clock(hours, theirs), sample.r),
        reach="all",
        certain=True,
    )


def _best_offset(values: Array, hours: Floats, clock: Clock, cells: Places) -> float | None:
    """The offset whose clock shows most of the values; UTC, then the nearest to it, on a tie."""
    few = cells[:: max(len(cells) // _LOOKED_AT, 1)]
    shown = clock(hours[few], _OFFSETS[:, np.newaxis])
    met = (shown == values[few]).mean(axis=1)
    if met.max() < 0.8:
        return None
    tied = _OFFSETS[met >= met.max() - 1e-12]
    # Whole hours before others: they are far more common.
    order = np.lexsort((np.abs(tied), tied != np.floor(tied)))
    return float(tied[order[0]])


def _zone(offset: float) -> str:
    if offset == 0.0:
        return "UTC"
    hours, minutes = divmod(round(abs(offset) * 60.0), 60)
    sign = "+" if offset > 0 else "-"
    return f"UTC{sign}{hours}" + (f":{minutes:02d}" if minutes else "")


def _duration(hours: float) -> str:
    size = f"{abs(hours):g} hour{'' if abs(hours) == 1.0 else 's'}"
    return f"{size} {'later' if hours > 0 else 'earlier'}"
