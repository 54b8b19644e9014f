"""Real days from the Open Bandit Dataset: a fashion store's impressions, 2019-11-24 to 30.

Read from the csv files inside the `obp` wheel, which is never imported (it pulls in torch).
Six logs (`random` and `bts` policies on the campaigns `all`, `men`, `women`) of 10,000
impressions; each row becomes a request of the user, with every item of the campaign as candidate
in item order, one of them shown and labelled. No bids, no histories, nothing served.

Counters are point in time: of whole *earlier* UTC days, never of the request's own day.

| field | type | meaning |
| --- | --- | --- |
| `request_id` | string | `obd-<policy>-<campaign>-<row>` |
| `context.campaign`, `context.policy` | string | which of the six logs |
| `context.slot` | int64 | position on the page, 1-3 |
| `context.past_impressions`, `.past_clicks` | int64 | of the campaign; null on the first day |
| `user.segment_0` ... `user.segment_3` | string | hashed user features |
| `user.affinity_total` | float64 | sum of the row's affinities |
| `user.past_impressions`, `.past_clicks` | int64 | of these four segments, in all logs; null when never seen |
| `candidate.ad_id` | int64 | the item, from 0 |
| `candidate.item_feature_0` | float64 | the item's one real feature |
| `candidate.item_group_1` ... `item_group_3` | int64 | first 12 hexadecimal digits of its hashes |
| `candidate.affinity` | float64 | between the user and the item |
| `candidate.past_impressions`, `.past_clicks` | int64 | of campaign and item; null when never shown |
| `candidate.last_clicked_at` | timestamp | latest click on campaign and item; null when none |
| `candidate.shown` | bool | whether this candidate was shown |
| `candidate.propensity`, `.click` | float64, int64 | of the shown candidate; else null |

The dataset hashes item features anew for each policy, so `item_group_*` of an item differ
between the policies.

Source: Saito et al. 2021, "Open Bandit Dataset and Pipeline", https://arxiv.org/abs/2008.07146.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from replay.digests import digest_of_file, digest_of_json
from replay.errors import LogError, ToolkitError
from replay.logs.imports import ImportedDay, import_days
from replay.logs.open_bandit_csv import CAMPAIGNS, POLICIES, BanditLog, read_log
from replay.request import TIMESTAMP

FIRST_DAY = date(2019, 11, 24)
DAYS = tuple(FIRST_DAY + timedelta(days=i) for i in range(7))
# Raise it when the records change: days of an older version are then written anew.
IMPORTER_VERSION = 1
_MICROSECONDS_PER_DAY = 86_400_000_000
_FIRST_DAY_NUMBER = (FIRST_DAY - date(1970, 1, 1)).days

Ints = NDArray[np.int64]

_COUNTERS = [pa.field("past_impressions", pa.int64()), pa.field("past_clicks", pa.int64())]
CONTEXT = pa.struct(
    [
        pa.field("campaign", pa.string()),
        pa.field("policy", pa.string()),
        pa.field("slot", pa.int64()),
        *_COUNTERS,
    ]
)
USER = pa.struct(
    [
        *(pa.field(f"segment_{i}", pa.string()) for i in range(4)),
        pa.field("affinity_total", pa.float64()),
        *_COUNTERS,
    ]
)
STEP = pa.struct(
    [
        pa.field("ad_id", pa.int64()),
        pa.field("action", pa.string()),
        pa.field("at", TIMESTAMP),
    ]
)
CANDIDATE = pa.struct(
    [
        pa.field("ad_id", pa.int64()),
        pa.field("item_feature_0", pa.float64()),
        *(pa.field(f"item_group_{i}", pa.int64()) for i in (1, 2, 3)),
        pa.field("affinity", pa.float64()),
        *_COUNTERS,
        pa.field("last_clicked_at", TIMESTAMP),
        pa.field("shown", pa.bool_()),
        pa.field("propensity", pa.float64()),
        pa.field("click", pa.int64()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("request_id", pa.string()),
        pa.field("logged_at", TIMESTAMP),
        pa.field("context", CONTEXT),
        pa.field("user", USER),
        pa.field("history", pa.list_(pa.field("item", STEP))),
        pa.field("candidates", pa.list_(pa.field("item", CANDIDATE))),
    ]
)


def import_open_bandit(out: Path, *, source: Path | None = None) -> Iterator[ImportedDay]:
    """Write the seven days that are not written yet, yielding each day's counts in order.

    Args:
        out: The log's folder.
        source: The folder that holds `random/` and `bts/`; by default the installed wheel's.

    Raises:
        ToolkitError: The `obp` package is not installed.
        LogError: A csv file is not as the dataset has it.
    """
    folder = find_open_bandit() if source is None else source
    origin = {
        "importer": "open_bandit",
        "version": IMPORTER_VERSION,
        "source": _source_digest(folder),
    }
    days: list[Days] = []  # read at the first day that has to be written

    def table_of(day: date) -> Iterator[pa.Table]:
        if not days:
            days.append(Days(read_logs(folder)))
        yield days[0].table(day)

    yield from import_days(out, DAYS, table_of, schema=SCHEMA, origin=origin)


def find_open_bandit() -> Path:
    """The dataset's folder inside the installed `obp` package, which is not imported.

    Raises:
        ToolkitError: It is not installed.
    """
    spec = importlib.util.find_spec("obp")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "dataset" / "obd"
        if folder.is_dir():
            return folder
    raise ToolkitError(
        "the Open Bandit Dataset is not installed.",
        where="Python package obp",
        fix="pip install --no-deps obp==0.4.1",
    )


def read_logs(folder: Path) -> tuple[BanditLog, ...]:
    """The six logs, policy by policy.

    Raises:
        LogError: A file is missing or not as the dataset has it.
    """
    return tuple(read_log(folder, p, c) for p in POLICIES for c in CAMPAIGNS)


class Days:
    """The six logs with their counters by day, cut into days.

    All counters are [..., day] and exclusive: day d counts the days before d.
    """

    def __init__(self, logs: Sequence[BanditLog]) -> None:
        self.logs = logs
        self.day_of = [log.logged_at // _MICROSECONDS_PER_DAY - _FIRST_DAY_NUMBER for log in logs]
        for log, day_of in zip(logs, self.day_of, strict=True):
            if day_of.min() < 0 or day_of.max() >= len(DAYS):
                raise LogError(
                    f"a timestamp lies outside {DAYS[0]} to {DAYS[-1]}.",
                    where=str(log.path),
                    fix="install the dataset as released: pip install --no-deps obp==0.4.1",
                )
        self.segments = _segment_ids(logs)
        self.by_segment = self._by_segment()
        self.by_item = {campaign: self._by_item(campaign) for campaign in CAMPAIGNS}

    def table(self, day: date) -> pa.Table:
        """The requests of a day, in order of (logged_at, request_id)."""
        number = (day - FIRST_DAY).days
        tables = [
            self._table_of_log(i, np.flatnonzero(day_of == number), number)
            for i, day_of in enumerate(self.day_of)
        ]
        table = pa.concat_tables(tables)
        order = pc.sort_indices(
            table, sort_keys=[("logged_at", "ascending"), ("request_id", "ascending")]
        )
        return table.take(order).combine_chunks()

    def _by_segment(self) -> _Counters:
        shape = (1 + max(int(ids.max()) for ids in self.segments), len(DAYS))
        shown = np.zeros(shape, dtype=np.int64)
        clicked = np.zeros(shape, dtype=np.int64)
        for log, day_of, ids in zip(self.logs, self.day_of, self.segments, strict=True):
            np.add.at(shown, (ids, day_of), 1)
            np.add.at(clicked, (ids, day_of), log.click)
        return _Counters(impressions=_before(shown), clicks=_before(clicked))

    def _by_item(self, campaign: str) -> _ItemCounters:
        own = [i for i, log in enumerate(self.logs) if log.campaign == campaign]
        shape = (self.logs[own[0]].num_items, len(DAYS))
        shown = np.zeros(shape, dtype=np.int64)
        clicked = np.zeros(shape, dtype=np.int64)
        latest = np.full(shape, -1, dtype=np.int64)
        for i in own:
            log, day_of = self.logs[i], self.day_of[i]
            place = (log.item, day_of)
            np.add.at(shown, place, 1)
            np.add.at(clicked, place, log.click)
            np.maximum.at(latest, place, np.where(log.click == 1, log.logged_at, -1))
        earlier = np.full(shape, -1, dtype=np.int64)
        earlier[:, 1:] = np.maximum.accumulate(latest, axis=1)[:, :-1]
        return _ItemCounters(
            impressions=_before(shown), clicks=_before(clicked), last_clicked_at=earlier
        )

    def _table_of_log(self, index: int, rows: Ints, number: int) -> pa.Table:
        log = self.logs[index]
        items = self.by_item[log.campaign]
        context = [
            pa.repeat(log.campaign, len(rows)),
            pa.repeat(log.policy, len(rows)),
            pa.array(log.slot[rows]),
            *_counter_columns(
                np.broadcast_to(items.impressions[:, number].sum(), len(rows)),
                np.broadcast_to(items.clicks[:, number].sum(), len(rows)),
                unknown=np.full(len(rows), number == 0),
            ),
        ]
        seen = self.by_segment.impressions[self.segments[index][rows], number]
        user = [
            *(pa.array(segment.take(pa.array(rows))) for segment in log.segments),
            pa.array(log.affinity[rows].sum(axis=1)),
            *_counter_columns(
                seen, self.by_segment.clicks[self.segments[index][rows], number], unknown=seen == 0
            ),
        ]
        steps = pa.array([], STEP)
        columns = [
            pa.array(
                [f"obd-{log.policy}-{log.campaign}-{row:05d}" for row in rows], type=pa.string()
            ),
            pa.array(log.logged_at[rows]).cast(TIMESTAMP),
            pa.StructArray.from_arrays(context, fields=list(CONTEXT)),
            pa.StructArray.from_arrays(user, fields=list(USER)),
            pa.ListArray.from_arrays(np.zeros(len(rows) + 1, dtype=np.int32), steps),
            self._candidates(log, rows, items, number),
        ]
        return pa.Table.from_arrays(columns, schema=SCHEMA)

    def _candidates(
        self, log: BanditLog, rows: Ints, items: _ItemCounters, number: int
    ) -> pa.ListArray:
        num_items = log.num_items

        def repeated(values: NDArray[Any]) -> NDArray[Any]:
            return np.tile(values, len(rows))

        shown = (log.item[rows, None] == np.arange(num_items)).reshape(-1)
        impressions = items.impressions[:, number]
        latest = items.last_clicked_at[:, number]
        columns = [
            pa.array(repeated(np.arange(num_items, dtype=np.int64))),
            pa.array(repeated(log.item_feature_0)),
            *(pa.array(repeated(groups)) for groups in log.item_groups),
            pa.array(log.affinity[rows].reshape(-1)),
            *_counter_columns(
                repeated(impressions),
                repeated(items.clicks[:, number]),
                unknown=repeated(impressions == 0),
            ),
            pa.array(repeated(latest), mask=repeated(latest < 0)).cast(TIMESTAMP),
            pa.array(shown),
            pa.array(np.repeat(log.propensity[rows], num_items), mask=~shown),
            pa.array(np.repeat(log.click[rows], num_items), mask=~shown),
        ]
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * num_items
        return pa.ListArray.from_arrays(
            offsets, pa.StructArray.from_arrays(columns, fields=list(CANDIDATE))
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Counters:
    """[..., day] impressions and clicks on the days before."""

    impressions: Ints
    clicks: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _ItemCounters(_Counters):
    """The same by [item, day], with the latest click before, or -1."""

    last_clicked_at: Ints


def _before(by_day: Ints) -> Ints:
    """[..., day] sums over the days before each day."""
    earlier = np.zeros_like(by_day)
    earlier[..., 1:] = np.cumsum(by_day, axis=-1)[..., :-1]
    return earlier


def _counter_columns(
    impressions: Ints, clicks: Ints, *, unknown: NDArray[np.bool_]
) -> tuple[pa.Array, pa.Array]:
    return pa.array(impressions, mask=unknown), pa.array(clicks, mask=unknown)


def _segment_ids(logs: Sequence[BanditLog]) -> list[Ints]:
    """[row] of each log: a number for its four segments together, the same in every log."""
    number_of: dict[tuple[str, ...], int] = {}
    ids: list[Ints] = []
    for log in logs:
        rows = zip(*(segment.to_pylist() for segment in log.segments), strict=True)
        ids.append(
            np.fromiter(
                (number_of.setdefault(row, len(number_of)) for row in rows), np.int64, log.num_rows
            )
        )
    return ids


def _source_digest(folder: Path) -> str:
    files = sorted(folder.glob("*/*/*.csv"))
    return digest_of_json({f.relative_to(folder).as_posix(): digest_of_file(f) for f in files})
