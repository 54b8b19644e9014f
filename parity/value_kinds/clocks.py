"""Hours and weekdays: other zones, other first days, half a day."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from parity.value_kinds.kind import ValueKind, by_number, is_number, plain
from replay.checkpoint import Checkpoint, CheckpointGraph

# Tokyo against UTC, the shift that the Open Bandit log invites.
HOURS = 9


def _is_hour(one: Checkpoint, graph: CheckpointGraph) -> bool:
    named = "hour" in one.name.rpartition(".")[2] and one.unit in {"1", "hour"}
    return one.stage == "feature" and is_number(one, graph) and (named or one.unit == "hour")


def _is_weekday(one: Checkpoint, graph: CheckpointGraph) -> bool:
    named = "weekday" in one.name.rpartition(".")[2] or one.unit == "weekday"
    return one.stage == "feature" and is_number(one, graph) and named


CLOCK_KINDS: Mapping[str, ValueKind] = {
    "hour_shift": by_number(
        "hour_shift",
        "so many hours later (9), modulo 24: another time zone",
        _is_hour,
        HOURS,
        lambda v, hours: np.mod(v + hours, 24),
    ),
    "half_day_clock": plain(
        "half_day_clock",
        "hours of a twelve-hour clock whose am and pm are lost",
        _is_hour,
        lambda v: np.mod(v, 12),
    ),
    "day_shift": by_number(
        "day_shift",
        "so many days later (1), modulo 7: another first day of the week",
        _is_weekday,
        1.0,
        lambda v, days: np.mod(v + days, 7),
    ),
}
