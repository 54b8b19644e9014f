"""A seeded ad log of any size whose true probabilities are known: clicks, conversions, video views.

Users with ordered histories see K candidates a request; a few are shown, and clicked, converted
and watched with exactly the probabilities that stand beside them. Counters, histories and last
clicks know whole earlier UTC days only, never the request's own day. The same settings give the
same log.

Which steps of a history are the last matters (`replay/logs/synthetic_truth.py` says how): what was done
*lately* moves a click's log-odds by 1 to 1.6 (standard deviation), and no count over the history tells it.

| field | type | meaning |
| --- | --- | --- |
| `request_id` | string | `syn-<date>-<number>` |
| `context.device` | string | desktop, mobile or tablet; sometimes null. Matters |
| `context.slot` | int64 | place on the page, 1-3. Matters |
| `context.noise` | float64 | means nothing |
| `user.user_id` | int64 | above 2^40. Means nothing beyond the user's other fields |
| `user.segment` | string | one of six. Matters, crossed with the candidate's category |
| `user.country` | string | sometimes null. Matters |
| `user.age_days` | int64 | since the first visit. Matters |
| `user.past_impressions`, `.past_clicks` | int64 | null where nothing is counted. Their rate matters |
| `history.ad_id`, `.action`, `.at`, `.category` | int64, string, timestamp, string | oldest first, at most 30, of some users fewer, of one in ten none; `at` and `category` are sometimes null. Counts of a category matter, and so does which came last. A step without time counts as none of the last |
| `history.bought_category` | string | the category of a purchase, else null: for counts of matching steps |
| `candidate.ad_id` | int64 | one in three above 2^24. Means nothing beyond the ad's other fields |
| `candidate.category` | string | rarely null. Matters: the more steps of it in the history, the better |
| `candidate.advertiser_id` | int64 | above 2^32, one of 16. Matters |
| `candidate.title` | string | any script, any case, rarely null. The token `sale`, in any case, matters |
| `candidate.format` | string | image or video. Videos alone are watched |
| `candidate.price` | float64 | sometimes null. Cheap is better, and converts more |
| `candidate.past_impressions`, `.past_clicks` | int64 | null where nothing is counted. Their rate matters |
| `candidate.last_clicked_at` | timestamp | null where nothing is counted, and before the first click. Recent is better |
| `candidate.bid_micros` | int64 | means nothing for clicks |
| `candidate.noise` | float64 | means nothing |
| `candidate.shown` | bool | chosen at random, five a request |
| `candidate.click` | int64 | of shown candidates; else null |
| `candidate.conversion`, `.converted_at` | int64, timestamp | whether a shown candidate was clicked and then bought within 24 hours, and when. Known a day later than the click: a training must not read it earlier |
| `candidate.view_ms` | int64 | how long a shown video was watched; else null |
| `candidate.true_pctr`, `.true_pconversion`, `.true_pview_2s`, `.true_pview_5s` | float64 | the truth, of every candidate (views: of videos): for judging, never a feature |

The hour in Tokyo (UTC+9) matters too: evenings are better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from replay.errors import ConfigError
from replay.logs.imports import ImportedDay, import_days
from replay.logs.synthetic_records import DEVICES, SCHEMA, DrawnRequests, table_of
from replay.logs.synthetic_truth import draw_delays, draw_views, true_probabilities
from replay.logs.synthetic_world import HOUR, UNKNOWN, Ints, World, make_world

# Raise it when the records change: days of an older version are then written anew.
GENERATOR_VERSION = 4
SHOWN_PER_REQUEST = 5
_REQUESTS_PER_TABLE = 2048
# Days that pass before the first one that is written: by then histories are as long, and counters as
# full, as they stay. Else the held-out days of a log would be of another world than its first ones.
WARM_UP_DAYS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticLog:
    """What a synthetic log is made from; a day depends on the days before, not on how many follow.

    Attributes:
        requests: A day.
        candidates: A request.
        start: The first day.
    """

    days: int = 7
    requests: int = 2000
    candidates: int = 20
    seed: int = 0
    start: date = date(2026, 1, 5)

    def __post_init__(self) -> None:
        for name, least in (("days", 1), ("requests", 1), ("candidates", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}.",
                    where="the settings of the synthetic log",
                    fix=f"give {least} or more",
                )

    @property
    def dates(self) -> tuple[date, ...]:
        return tuple(self.start + timedelta(days=i) for i in range(self.days))

    @property
    def num_users(self) -> int:
        """Five requests a user and day, so that histories and counters move."""
        return max(20, self.requests // 5)

    @property
    def num_ads(self) -> int:
        """So many that candidates differ between requests, and not every ad is clicked every day."""
        return max(200, 4 * self.candidates, self.requests // 2)


def import_synthetic(out: Path, log: SyntheticLog) -> Iterator[ImportedDay]:
    """Write the days that are not written yet, yielding each day's counts in order."""
    settings = {name: value for name, value in asdict(log).items() if name != "days"}
    origin = {
        "importer": "synthetic",
        "version": GENERATOR_VERSION,
        **settings,
        "start": log.start.isoformat(),
    }
    simulation = Simulation(log)
    yield from import_days(out, log.dates, simulation.tables, schema=SCHEMA, origin=origin)


class Simulation:
    """Draws the days of a log in order, carrying what was clicked into the days after."""

    def __init__(self, log: SyntheticLog) -> None:
        self.log = log
        self._world: World | None = None
        self._next = -WARM_UP_DAYS  # the day that the world stands before

    def tables(self, day: date) -> Iterator[pa.Table]:
        """The requests of a day; the days before it are drawn too where they were not yet."""
        number = (day - self.log.start).days
        if self._world is None or self._next > number:
            self._world, self._next = self._new_world(), -WARM_UP_DAYS
        while self._next < number:
            for _ in self._draw(self._world, self._next):
                pass
        for first, requests in self._draw(self._world, number):
            ids = [f"syn-{day:%Y%m%d}-{first + i:06d}" for i in range(len(requests.at))]
            yield table_of(ids, requests, self._world)

    def _new_world(self) -> World:
        return make_world(
            seed=self.log.seed,
            num_users=self.log.num_users,
            num_ads=self.log.num_ads,
            start=_midnight(self.log.start - timedelta(days=WARM_UP_DAYS)),
        )

    def _draw(self, world: World, number: int) -> Iterator[tuple[int, DrawnRequests]]:
        """The requests of a day in parts, with the number of each part's first one.

        While the last part is out the world stands as it was at the midnight before the day.
        """
        log = self.log
        rng = np.random.default_rng([log.seed, 2, WARM_UP_DAYS + number])
        day = log.start + timedelta(days=number)
        times = _midnight(day) + np.sort(rng.integers(24 * HOUR, size=log.requests))
        for first in range(0, log.requests, _REQUESTS_PER_TABLE):
            at = times[first : first + _REQUESTS_PER_TABLE]
            requests = _draw_requests(rng, world, at, log.candidates)
            shown = np.flatnonzero(requests.shown.reshape(-1))
            world.record(
                user=np.repeat(requests.user, log.candidates)[shown],
                ad=requests.ad.reshape(-1)[shown],
                at=np.repeat(at, log.candidates)[shown],
                click=requests.click.reshape(-1)[shown],
                converted_at=requests.converted_at.reshape(-1)[shown],
            )
            yield first, requests
        world.end_day(_midnight(day) + 24 * HOUR)
        self._next = number + 1


def _draw_requests(rng: np.random.Generator, world: World, at: Ints, num_ads: int) -> DrawnRequests:
    num = len(at)
    user = rng.integers(len(world.users.segment), size=num)
    device = rng.choice(len(DEVICES), size=num, p=[0.35, 0.55, 0.1]).astype(np.int64)
    device[rng.random(num) < 0.05] = UNKNOWN
    slot = rng.integers(1, 4, size=num)
    ad = _draw_distinct(rng, num, of=len(world.ads.ad_id), take=num_ads)
    shown = np.zeros(ad.shape, dtype=np.bool_)
    shown[:, :SHOWN_PER_REQUEST] = True
    shown = rng.permuted(shown, axis=1)
    truth = true_probabilities(world, at=at, user=user, device=device, slot=slot, ad=ad)
    click = rng.random(ad.shape) < truth.pctr
    bought = click & (rng.random(ad.shape) < truth.pbuys)
    converted_at = at[:, None] + draw_delays(rng, ad.shape)
    return DrawnRequests(
        at=at,
        user=user,
        device=device,
        slot=slot,
        context_noise=rng.standard_normal(num),
        ad=ad,
        noise=rng.standard_normal(ad.shape),
        shown=shown,
        click=click.astype(np.int64),
        converted_at=np.where(bought, converted_at, UNKNOWN),
        view_ms=draw_views(rng, truth),
        truth=truth,
    )


def _draw_distinct(rng: np.random.Generator, num: int, *, of: int, take: int) -> Ints:
    """[num, take] rows of distinct numbers below `of`, each row in random order.

    Source: Floyd's sampling, in Bentley 1987, "A sample of brilliance".
    """
    drawn = np.empty((num, take), dtype=np.int64)
    for column in range(take):
        last = of - take + column
        candidate = rng.integers(last + 1, size=num)
        is_taken = (drawn[:, :column] == candidate[:, None]).any(axis=1)
        drawn[:, column] = np.where(is_taken, last, candidate)
    shuffled: Ints = rng.permuted(drawn, axis=1)
    return shuffled


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 24 * HOUR
