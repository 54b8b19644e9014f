"""The users and ads behind a synthetic log, and how a day changes what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CATEGORIES = ("books", "games", "garden", "kitchen", "music", "shoes", "sport", "travel")
SEGMENTS = ("commuter", "family", "gamer", "retired", "student", "visitor")
COUNTRIES = ("DE", "FR", "JP", "US")
NOUNS = ("café", "Schlüssel", "東京", "крем", "lamp", "shoes", "guitar", "tent", "naïve art", "tea")
# The token that matters is `sale`, in whatever case.
TITLE_PATTERNS = ("{}", "{} sale", "new {} for you", "{} SALE today only")
ACTIONS = ("view", "click", "purchase")
NUM_ADVERTISERS = 16
LONGEST_HISTORY = 30
HOUR = 3_600_000_000  # microseconds
# Of a beta law: its mean of 17 % is near the log's own click rate. Counters of another mean would
# drift for weeks until clicks have filled them.
_PAST_RATES = (2.0, 9.8)
UNKNOWN = -1  # in code arrays: the log writes null


@dataclass(slots=True, kw_only=True)
class Counters:
    """Impressions and clicks known at midnight; 0 impressions are written as null.

    Of some nothing is counted, ever: so nulls stay as frequent as they are on the first day.
    """

    impressions: Ints
    clicks: Ints
    is_kept: Bools

    def relative_rate(self) -> Floats:
        """(clicks + 0.1 * 10) / (impressions + 10), less its mean over all.

        Less its mean, for else clicks would breed clicks, and a long log end in nothing else.
        """
        rate: Floats = (self.clicks + 1.0) / (self.impressions + 10.0)
        centred: Floats = rate - rate.mean()
        return centred

    def add(self, shown: Ints, clicked: Ints) -> None:
        """Count a day's impressions: one entry of `shown`, `clicked` for each, by index."""
        np.add.at(self.impressions, shown[self.is_kept[shown]], 1)
        np.add.at(self.clicks, clicked[self.is_kept[clicked]], 1)


@dataclass(slots=True, kw_only=True)
class Ads:
    """The catalogue; all arrays are [ad]."""

    ad_id: Ints
    advertiser: Ints
    advertiser_ids: Ints  # [advertiser]
    category: Ints  # codes; UNKNOWN for a few
    title: tuple[str | None, ...]
    has_sale: Bools
    price: Floats  # NaN for a few
    is_video: Bools
    bid_micros: Ints
    counters: Counters
    last_clicked_at: Ints  # microseconds; UNKNOWN before the first click, or if not counted


@dataclass(slots=True, kw_only=True)
class Users:
    """The people; all arrays are [user]."""

    segment: Ints
    country: Ints  # codes; UNKNOWN for a few
    age_days: Ints
    counters: Counters
    remembered: Ints  # how many steps of each are kept, at most LONGEST_HISTORY


@dataclass(slots=True, kw_only=True)
class History:
    """Every user's steps, one array entry a step, sorted by (user, at); codes as in Ads."""

    user: Ints
    ad: Ints
    action: Ints
    at: Ints
    at_is_known: Bools
    category: Ints

    def offsets(self, num_users: int) -> Ints:
        """[user + 1]: user u owns steps offsets[u]:offsets[u+1]."""
        return np.searchsorted(self.user, np.arange(num_users + 1)).astype(np.int64)

    def category_counts(self, num_users: int) -> Ints:
        """[user, category] number of steps; steps of unknown category count nowhere."""
        counts = np.zeros((num_users, len(CATEGORIES)), dtype=np.int64)
        is_known = self.category >= 0
        np.add.at(counts, (self.user[is_known], self.category[is_known]), 1)
        return counts

    def with_steps(
        self, user: Ints, ad: Ints, action: Ints, at: Ints, category: Ints, *, remembered: Ints
    ) -> History:
        """With these steps added in time, cut to each user's latest `remembered` ones."""
        # Of one in fifty the time is lost: by its own last digits, so that a day needs no further draw.
        known = at // 1000 % 50 != 0
        columns: list[tuple[str, NDArray[Any]]] = [
            ("user", np.concatenate([self.user, user])),
            ("ad", np.concatenate([self.ad, ad])),
            ("action", np.concatenate([self.action, action])),
            ("at", np.concatenate([self.at, at])),
            ("at_is_known", np.concatenate([self.at_is_known, known])),
            ("category", np.concatenate([self.category, category])),
        ]
        by_name = dict(columns)
        order = np.lexsort((by_name["at"], by_name["user"]))
        users = by_name["user"][order]
        end_of_user = np.searchsorted(users, users, side="right")
        kept = order[end_of_user - np.arange(len(users)) <= remembered[users]]
        return History(**{name: values[kept] for name, values in columns})


@dataclass(slots=True, kw_only=True)
class Tastes:
    """Effects on the log-odds of a click that no formula gives: drawn once, by seed."""

    category_of_segment: Floats  # [segment, category]
    advertiser: Floats  # [advertiser]
    country: Floats  # [country]
    category_after: Floats  # [category of a step, category of the candidate]
    buys_from: Floats  # [advertiser], on the log-odds of buying after a click
    watches: Floats  # [category], on the log of the time a video is watched


@dataclass(slots=True, kw_only=True)
class World:
    """Everything a day is drawn from, as known at the midnight before it."""

    ads: Ads
    users: Users
    history: History
    tastes: Tastes
    shown_today: list[_Shown] = field(default_factory=list)
    bought: list[_Steps] = field(default_factory=list)  # purchases that no midnight has seen yet

    def record(self, *, user: Ints, ad: Ints, at: Ints, click: Ints, converted_at: Ints) -> None:
        """Note shown candidates; nothing is known of them until `end_day`."""
        self.shown_today.append(_Shown(user=user, ad=ad, at=at, is_click=click == 1))
        is_bought = converted_at != UNKNOWN
        self.bought.append(
            _Steps(user=user[is_bought], ad=ad[is_bought], at=converted_at[is_bought])
        )

    def end_day(self, midnight: int) -> None:
        """The day's impressions, clicks, and all purchases before midnight become known."""
        user, ad, at, is_click = (
            np.concatenate([getattr(shown, name) for shown in self.shown_today])
            for name in ("user", "ad", "at", "is_click")
        )
        clicked = _Steps(user=user[is_click], ad=ad[is_click], at=at[is_click])
        self.ads.counters.add(ad, clicked.ad)
        self.users.counters.add(user, clicked.user)
        is_noted = self.ads.counters.is_kept[clicked.ad]
        np.maximum.at(self.ads.last_clicked_at, clicked.ad[is_noted], clicked.at[is_noted])
        waiting = [steps.split(midnight) for steps in self.bought]
        self._remember(clicked, "click")
        for before, _ in waiting:
            self._remember(before, "purchase")
        self.users.age_days += 1
        self.shown_today, self.bought = [], [after for _, after in waiting if len(after.at)]

    def _remember(self, steps: _Steps, action: str) -> None:
        self.history = self.history.with_steps(
            steps.user,
            steps.ad,
            np.full(len(steps.user), ACTIONS.index(action), dtype=np.int64),
            steps.at,
            self.ads.category[steps.ad],
            remembered=self.users.remembered,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    """[shown candidate] who saw what, and whether it was clicked."""

    user: Ints
    ad: Ints
    at: Ints
    is_click: Bools


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Steps:
    """[step] who did something with which ad."""

    user: Ints
    ad: Ints
    at: Ints

    def split(self, moment: int) -> tuple[_Steps, _Steps]:
        """Those before a moment, and the others."""
        is_before = self.at < moment
        before, after = (
            _Steps(user=self.user[chosen], ad=self.ad[chosen], at=self.at[chosen])
            for chosen in (is_before, ~is_before)
        )
        return before, after


def make_world(*, seed: int, num_users: int, num_ads: int, start: int) -> World:
    """Draw users, ads and their past up to `start`, in microseconds since 1970."""
    rng = np.random.default_rng([seed, 1])
    ads = _make_ads(rng, num_ads, start)
    users = _make_users(rng, num_users)
    return World(
        ads=ads,
        users=users,
        history=_make_history(rng, users.remembered, ads, start),
        tastes=Tastes(
            category_of_segment=_scaled(rng, (len(SEGMENTS), len(CATEGORIES)), 0.6),
            advertiser=_scaled(rng, (NUM_ADVERTISERS,), 0.5),
            country=_scaled(rng, (len(COUNTRIES),), 0.4),
            category_after=_scaled(rng, (len(CATEGORIES), len(CATEGORIES)), 1.8, centred_rows=True),
            buys_from=_scaled(rng, (NUM_ADVERTISERS,), 0.6),
            watches=_scaled(rng, (len(CATEGORIES),), 0.4),
        ),
    )


def _make_ads(rng: np.random.Generator, num_ads: int, start: int) -> Ads:
    # The last third lies above 2^24, where float32 merges an id with its neighbour.
    ad_id = np.arange(1, num_ads + 1, dtype=np.int64)
    ad_id[num_ads * 2 // 3 :] += 1 << 24
    noun = rng.integers(len(NOUNS), size=num_ads)
    pattern = rng.integers(len(TITLE_PATTERNS), size=num_ads)
    case = rng.integers(3, size=num_ads)
    titles: list[str | None] = []
    for n, p, c in zip(noun, pattern, case, strict=True):
        text = TITLE_PATTERNS[p].format(NOUNS[n])
        titles.append((text, text.upper(), text.title())[c])
    for nameless in np.flatnonzero(rng.random(num_ads) < 0.02):
        titles[nameless] = None
    impressions = rng.poisson(rng.gamma(2.0, 60.0, num_ads)).astype(np.int64)
    is_counted = rng.random(num_ads) >= 0.1
    impressions[~is_counted] = 0
    quality = rng.beta(*_PAST_RATES, num_ads)
    last_clicked_at = start - (rng.exponential(30.0, num_ads) * HOUR).astype(np.int64) - 1
    clicks = rng.binomial(impressions, quality).astype(np.int64)
    last_clicked_at[clicks == 0] = UNKNOWN
    price: Floats = np.exp(rng.normal(3.0, 0.9, num_ads)).round(2).astype(np.float64)
    price[rng.random(num_ads) < 0.08] = np.nan
    category = rng.integers(len(CATEGORIES), size=num_ads)
    category[rng.random(num_ads) < 0.02] = UNKNOWN
    return Ads(
        ad_id=ad_id,
        advertiser=rng.integers(NUM_ADVERTISERS, size=num_ads),
        advertiser_ids=(1 << 32) + 1 + 1009 * np.arange(NUM_ADVERTISERS, dtype=np.int64),
        category=category,
        title=tuple(titles),
        has_sale=np.array([t is not None and "sale" in t.lower().split() for t in titles]),
        price=price,
        is_video=rng.random(num_ads) < 0.5,
        bid_micros=np.exp(rng.normal(13.0, 0.7, num_ads)).astype(np.int64) + 1,
        counters=Counters(impressions=impressions, clicks=clicks, is_kept=is_counted),
        last_clicked_at=last_clicked_at,
    )


def _make_users(rng: np.random.Generator, num_users: int) -> Users:
    impressions = rng.poisson(rng.gamma(1.5, 40.0, num_users)).astype(np.int64)
    is_counted = rng.random(num_users) >= 0.15
    impressions[~is_counted] = 0
    country = rng.integers(len(COUNTRIES), size=num_users)
    country[rng.random(num_users) < 0.05] = UNKNOWN
    # One in ten wants none of it remembered; of the others so many steps as their settings keep.
    remembered = rng.integers(3, LONGEST_HISTORY + 1, size=num_users)
    remembered[rng.random(num_users) < 0.1] = 0
    return Users(
        segment=rng.integers(len(SEGMENTS), size=num_users),
        country=country,
        age_days=np.exp(rng.normal(5.5, 1.1, num_users)).astype(np.int64),
        counters=Counters(
            impressions=impressions,
            clicks=rng.binomial(impressions, rng.beta(*_PAST_RATES, num_users)).astype(np.int64),
            is_kept=is_counted,
        ),
        remembered=remembered,
    )


def _make_history(rng: np.random.Generator, remembered: Ints, ads: Ads, start: int) -> History:
    num_users = len(remembered)
    length = np.minimum(rng.geometric(0.1, num_users) - 1, remembered)
    user = np.repeat(np.arange(num_users, dtype=np.int64), length)
    # Half of the steps are of the user's favourite category: so counts say something, and leave
    # enough for the order to say.
    favourite = rng.integers(len(CATEGORIES), size=num_users)[user]
    ad = rng.integers(len(ads.ad_id), size=len(user))
    by_category = [np.flatnonzero(ads.category == c) for c in range(len(CATEGORIES))]
    follows = rng.random(len(user)) < 0.45
    pick = rng.random(len(user))
    for code, members in enumerate(by_category):
        chosen = np.flatnonzero(follows & (favourite == code))
        if len(members):
            ad[chosen] = members[(pick[chosen] * len(members)).astype(np.int64)]
    at = start - 1 - (rng.exponential(24.0 * 20, len(user)) * HOUR).astype(np.int64)
    order = np.lexsort((at, user))
    category = ads.category[ad].copy()
    category[rng.random(len(user)) < 0.02] = UNKNOWN
    return History(
        user=user,
        ad=ad,
        action=rng.choice(len(ACTIONS), size=len(user), p=[0.6, 0.3, 0.1]).astype(np.int64),
        at=at[order],
        at_is_known=rng.random(len(user)) >= 0.02,
        category=category,
    )


def _scaled(
    rng: np.random.Generator, shape: tuple[int, ...], spread: float, *, centred_rows: bool = False
) -> Floats:
    """Standard normal draws, centred and scaled so that every seed has effects of this spread.

    With `centred_rows` each row has mean 0: what draws on to some then draws away from others.
    """
    draws = rng.standard_normal(shape)
    draws -= draws.mean(axis=-1, keepdims=True) if centred_rows else draws.mean()
    scaled: Floats = draws / draws.std() * spread
    return scaled
