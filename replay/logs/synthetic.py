"""A seeded ad log of any size whose true click probabilities are known.

Users with ordered histories see K candidates a request; a few are shown, and clicked with exactly
the probability that stands beside them. Counters, histories and last clicks know whole earlier
UTC days only, never the request's own day. The same settings give the same log.

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
| `user.past_impressions`, `.past_clicks` | int64 | null before the first impression. Their rate matters |
| `history.ad_id`, `.action`, `.at`, `.category` | int64, string, timestamp, string | oldest first, at most 30; `at` and `category` are sometimes null |
| `candidate.ad_id` | int64 | one in three above 2^24. Means nothing beyond the ad's other fields |
| `candidate.category` | string | rarely null. Matters: the more steps of it in the history, the better |
| `candidate.advertiser_id` | int64 | above 2^32, one of 16. Matters |
| `candidate.title` | string | any script, any case, rarely null. The token `sale`, in any case, matters |
| `candidate.price` | float64 | sometimes null. Cheap is better |
| `candidate.past_impressions`, `.past_clicks` | int64 | null before the first impression. Their rate matters |
| `candidate.last_clicked_at` | timestamp | null before the first click. Recent is better |
| `candidate.bid_micros` | int64 | means nothing for clicks |
| `candidate.noise` | float64 | means nothing |
| `candidate.shown` | bool | chosen at random, five a request |
| `candidate.click` | int64 | of shown candidates; else null |
| `candidate.true_pctr` | float64 | the truth, of every candidate: for judging, never a feature |

The hour in Tokyo (UTC+9) matters too: evenings are better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.errors import ConfigError
from replay.logs.imports import ImportedDay, import_days
from replay.logs.synthetic_world import (
    ACTIONS,
    CATEGORIES,
    COUNTRIES,
    HOUR,
    SEGMENTS,
    UNKNOWN,
    Bools,
    Floats,
    Ints,
    World,
    make_world,
)
from replay.request import TIMESTAMP

# Raise it when the records change: days of an older version are then written anew.
GENERATOR_VERSION = 1
SHOWN_PER_REQUEST = 5
DEVICES = ("desktop", "mobile", "tablet")
_DEVICE_EFFECT = np.array([0.0, 0.5, -0.6])
_REQUESTS_PER_TABLE = 2048
_TOKYO_HOURS = 9
# Chosen so that 10-20 % of shown candidates are clicked, whatever the seed.
_BASE_LOGIT = -2.8

_COUNTERS = [pa.field("past_impressions", pa.int64()), pa.field("past_clicks", pa.int64())]
CONTEXT = pa.struct(
    [
        pa.field("device", pa.string()),
        pa.field("slot", pa.int64()),
        pa.field("noise", pa.float64()),
    ]
)
USER = pa.struct(
    [
        pa.field("user_id", pa.int64()),
        pa.field("segment", pa.string()),
        pa.field("country", pa.string()),
        pa.field("age_days", pa.int64()),
        *_COUNTERS,
    ]
)
STEP = pa.struct(
    [
        pa.field("ad_id", pa.int64()),
        pa.field("action", pa.string()),
        pa.field("at", TIMESTAMP),
        pa.field("category", pa.string()),
    ]
)
CANDIDATE = pa.struct(
    [
        pa.field("ad_id", pa.int64()),
        pa.field("category", pa.string()),
        pa.field("advertiser_id", pa.int64()),
        pa.field("title", pa.string()),
        pa.field("price", pa.float64()),
        *_COUNTERS,
        pa.field("last_clicked_at", TIMESTAMP),
        pa.field("bid_micros", pa.int64()),
        pa.field("noise", pa.float64()),
        pa.field("shown", pa.bool_()),
        pa.field("click", pa.int64()),
        pa.field("true_pctr", pa.float64()),
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
        self._next = 0  # the day that the world stands before

    def tables(self, day: date) -> Iterator[pa.Table]:
        """The requests of a day; the days before it are drawn too where they were not yet."""
        number = (day - self.log.start).days
        if self._world is None or self._next > number:
            self._world, self._next = self._new_world(), 0
        while self._next < number:
            for _ in self._draw(self._world, self._next):
                pass
        yield from self._draw(self._world, number)

    def _new_world(self) -> World:
        return make_world(
            seed=self.log.seed,
            num_users=self.log.num_users,
            num_ads=self.log.num_ads,
            start=_midnight(self.log.start),
        )

    def _draw(self, world: World, number: int) -> Iterator[pa.Table]:
        log = self.log
        rng = np.random.default_rng([log.seed, 2, number])
        day = log.dates[0] + timedelta(days=number)
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
            )
            ids = [f"syn-{day:%Y%m%d}-{first + i:06d}" for i in range(len(at))]
            yield _table(ids, requests, world)
        world.end_day()
        self._next = number + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Requests:
    """[request] arrays, and [request, candidate] ones: `ad`, `noise`, `shown`, `click`, `pctr`."""

    at: Ints
    user: Ints
    device: Ints
    slot: Ints
    context_noise: Floats
    ad: Ints
    noise: Floats
    shown: Bools
    click: Ints
    pctr: Floats


def _draw_requests(rng: np.random.Generator, world: World, at: Ints, num_ads: int) -> _Requests:
    num = len(at)
    user = rng.integers(len(world.users.segment), size=num)
    device = rng.choice(len(DEVICES), size=num, p=[0.35, 0.55, 0.1]).astype(np.int64)
    device[rng.random(num) < 0.05] = UNKNOWN
    slot = rng.integers(1, 4, size=num)
    ad = _draw_distinct(rng, num, of=len(world.ads.ad_id), take=num_ads)
    shown = np.zeros(ad.shape, dtype=np.bool_)
    shown[:, :SHOWN_PER_REQUEST] = True
    shown = rng.permuted(shown, axis=1)
    pctr = true_pctr(world, at=at, user=user, device=device, slot=slot, ad=ad)
    return _Requests(
        at=at,
        user=user,
        device=device,
        slot=slot,
        context_noise=rng.standard_normal(num),
        ad=ad,
        noise=rng.standard_normal(ad.shape),
        shown=shown,
        click=(rng.random(ad.shape) < pctr).astype(np.int64),
        pctr=pctr,
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


def true_pctr(world: World, *, at: Ints, user: Ints, device: Ints, slot: Ints, ad: Ints) -> Floats:
    """[request, candidate] the probability of a click, from logged fields only.

    Each effect moves the log-odds by 0.35 to 0.6 (standard deviation), so that a model without
    it is measurably worse on a few thousand requests; a missing value has no effect.
    """
    effects = true_effects(world, at=at, user=user, device=device, slot=slot, ad=ad)
    logit = _BASE_LOGIT + sum(effects.values(), np.zeros(ad.shape))
    pctr: Floats = 1.0 / (1.0 + np.exp(-logit))
    return pctr


def true_effects(
    world: World, *, at: Ints, user: Ints, device: Ints, slot: Ints, ad: Ints
) -> dict[str, Floats]:
    """What each field adds to the log-odds: [request, 1] or [request, candidate], by name."""
    ads, users, tastes = world.ads, world.users, world.tastes
    category = ads.category[ad]
    interest = np.log1p(world.history.category_counts(len(users.segment)))
    cross = tastes.category_of_segment[users.segment[user][:, None], category]
    hour = (at // HOUR + _TOKYO_HOURS) % 24
    country = users.country[user]
    freshness = -np.log1p((at[:, None] - ads.last_clicked_at[ad]) / HOUR)
    noon = at[0] // (24 * HOUR) * 24 * HOUR + 12 * HOUR
    usual = -np.log1p((noon - ads.last_clicked_at[ads.last_clicked_at != UNKNOWN]) / HOUR).mean()
    of_request = {
        "hour": 0.7 * np.cos(2 * np.pi * (hour - 20) / 24),
        "device": np.where(device == UNKNOWN, 0.0, _DEVICE_EFFECT[device]),
        "slot": 0.5 * (2.0 - slot),
        "country": np.where(country == UNKNOWN, 0.0, tastes.country[country]),
        "age_days": -0.3 * (np.log1p(users.age_days[user]) - 4.5),
        "user_rate": 5.0 * users.counters.relative_rate()[user],
    }
    return {name: effect[:, None] for name, effect in of_request.items()} | {
        "interest": np.where(
            category == UNKNOWN, 0.0, 0.6 * (interest[user[:, None], category] - interest.mean())
        ),
        "category_of_segment": np.where(category == UNKNOWN, 0.0, cross),
        "advertiser": tastes.advertiser[ads.advertiser[ad]],
        "sale": 0.9 * ads.has_sale[ad],
        "price": -0.5 * np.nan_to_num(np.log(ads.price[ad]) - 3.0, nan=0.0),
        "ad_rate": 6.0 * ads.counters.relative_rate()[ad],
        "recency": np.where(ads.last_clicked_at[ad] == UNKNOWN, 0.0, 0.4 * (freshness - usual)),
    }


def _table(ids: list[str], requests: _Requests, world: World) -> pa.Table:
    users = world.users
    user = requests.user
    context = [
        _texts(DEVICES, requests.device),
        pa.array(requests.slot),
        pa.array(requests.context_noise),
    ]
    person = [
        pa.array(user + (1 << 40) + 1),
        _texts(SEGMENTS, users.segment[user]),
        _texts(COUNTRIES, users.country[user]),
        pa.array(users.age_days[user]),
        *_counters(users.counters.impressions[user], users.counters.clicks[user]),
    ]
    columns = [
        pa.array(ids, type=pa.string()),
        pa.array(requests.at).cast(TIMESTAMP),
        pa.StructArray.from_arrays(context, fields=list(CONTEXT)),
        pa.StructArray.from_arrays(person, fields=list(USER)),
        _histories(world, user),
        _candidates(world, requests),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _histories(world: World, user: Ints) -> pa.ListArray:
    history = world.history
    bounds = history.offsets(len(world.users.segment))
    lengths = bounds[user + 1] - bounds[user]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(bounds[user] - offsets[:-1], lengths) + np.arange(offsets[-1])
    steps = [
        pa.array(world.ads.ad_id[history.ad[places]]),
        _texts(ACTIONS, history.action[places]),
        pa.array(history.at[places], mask=~history.at_is_known[places]).cast(TIMESTAMP),
        _texts(CATEGORIES, history.category[places]),
    ]
    values = pa.StructArray.from_arrays(steps, fields=list(STEP))
    return pa.ListArray.from_arrays(offsets.astype(np.int32), values)


def _candidates(world: World, requests: _Requests) -> pa.ListArray:
    ads = world.ads
    ad = requests.ad.reshape(-1)
    shown = requests.shown.reshape(-1)
    price, clicked_at = ads.price[ad], ads.last_clicked_at[ad]
    columns = [
        pa.array(ads.ad_id[ad]),
        _texts(CATEGORIES, ads.category[ad]),
        pa.array(ads.advertiser_ids[ads.advertiser[ad]]),
        pa.array(ads.title, type=pa.string()).take(pa.array(ad)),
        pa.array(price, mask=np.isnan(price)),
        *_counters(ads.counters.impressions[ad], ads.counters.clicks[ad]),
        pa.array(clicked_at, mask=clicked_at == UNKNOWN).cast(TIMESTAMP),
        pa.array(ads.bid_micros[ad]),
        pa.array(requests.noise.reshape(-1)),
        pa.array(shown),
        pa.array(requests.click.reshape(-1), mask=~shown),
        pa.array(requests.pctr.reshape(-1)),
    ]
    offsets = np.arange(len(requests.user) + 1, dtype=np.int32) * requests.ad.shape[1]
    values = pa.StructArray.from_arrays(columns, fields=list(CANDIDATE))
    return pa.ListArray.from_arrays(offsets, values)


def _counters(impressions: Ints, clicks: Ints) -> tuple[pa.Array, pa.Array]:
    unknown = impressions == 0
    return pa.array(impressions, mask=unknown), pa.array(clicks, mask=unknown)


def _texts(names: tuple[str, ...], codes: NDArray[Any]) -> pa.Array:
    """The named values of codes; UNKNOWN is null."""
    places = pa.array(codes, mask=codes == UNKNOWN)
    return pa.array(names, type=pa.string()).take(places)


def _midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 24 * HOUR
