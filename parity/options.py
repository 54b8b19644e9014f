"""What a replay was asked for, checked; what the command line hands to the runner."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from parity.config import Config
from replay.errors import ConfigError

EngineName = Literal["local", "ray"]
Phase = Literal["open", "replay", "probe", "judge", "write"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantOption:
    """A known bug to put into the challenger: `KIND:CHECKPOINT`."""

    kind: str
    checkpoint: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.checkpoint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a replay is; from the phase "replay" on, the first request has been replayed.

    Attributes:
        phase: What is being done.
        done: Requests finished in it.
        total: Requests in it; 0 where that is not known.
        run_dir: Where the run is kept, once there is a place.
    """

    phase: Phase
    done: int = 0
    total: int = 0
    run_dir: Path | None = None


Listener = Callable[[Progress], None]


def _unheard(_: Progress) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """One replay of one day.

    Attributes:
        config: The configuration; `logs`, `runs` and `cache` below have its values or the
            command line's.
        date: The day, in UTC.
        reference: Name or opener of the side we trust.
        challenger: Name or opener of the side that wants to replace it.
        logs: Folder of logged days.
        out: Folder that the run directory is made in.
        cache: Folder of kept reference traces; None keeps and uses none.
        plants: Known bugs to put into the challenger, in this order.
        sample: Share of requests, by request hash.
        stop_early: End as soon as the evidence decides, in place of reading the whole day.
        strict: A row that is not valid ends the replay, in place of being rejected and counted.
        engine: What runs the shards.
        workers: Lanes, each with one process a stack.
        canary: Whether a canary is planted on the probe's sample.
        resume: Directory of an interrupted run of the same replay.
        seed: Of everything that is drawn: probe sample, canary, intervals.
        command: The command line, for the record.
        listener: Told how far the replay is.
    """

    config: Config
    date: date
    reference: str
    challenger: str
    logs: Path
    out: Path
    cache: Path | None
    plants: tuple[PlantOption, ...] = ()
    sample: float = 1.0
    stop_early: bool = False
    strict: bool = False
    engine: EngineName = "local"
    workers: int = 1
    canary: bool = True
    resume: Path | None = None
    seed: int = 0
    command: tuple[str, ...] = ()
    listener: Listener = _unheard


def date_from_text(text: str) -> date:
    """A day as `2019-11-30`.

    Raises:
        ConfigError: Any other form, or no such day.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # fromisoformat also takes 20191130 and 2019-W48-6; a partition's name does not.
    if day is None or day.isoformat() != text:
        raise ConfigError(
            f"{text!r} is no date.",
            where="--date",
            fix="give an existing day as YYYY-MM-DD, such as 2019-11-30",
        )
    return day


def plant_from_text(text: str) -> PlantOption:
    """A plant as `hour_shift:features.hour`.

    Raises:
        ConfigError: No kind, or no checkpoint.
    """
    kind, _, checkpoint = text.partition(":")
    if not kind or not checkpoint:
        raise ConfigError(
            f"{text!r} names no kind and checkpoint.",
            where="--plant",
            fix="write KIND:CHECKPOINT, such as scale:features.age; --plant list shows the kinds",
        )
    return PlantOption(kind=kind, checkpoint=checkpoint)


def default_workers() -> int:
    """One lane for each two cores: both of its stacks work at the same time."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)) // 2)
    return max(1, (os.cpu_count() or 1) // 2)
