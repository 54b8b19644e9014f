"""The true probabilities behind a synthetic log: what moves a click, a purchase and a video's view.

Every probability follows from logged fields only. What was done *lately* counts three ways, each step
weighing (1 + its age in hours)^-2, so the latest decide: their categories draw the user on to others
(`category_after`), a purchase sates its category for two days, and videos of what one just looked at
are watched longer. No count over the history tells any of it. All else is counts, rates and fields
that aggregates keep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replay.logs.synthetic_world import (
    ACTIONS,
    CATEGORIES,
    HOUR,
    UNKNOWN,
    Bools,
    Floats,
    Ints,
    World,
)

# Chosen so that 10-20 % of shown candidates are clicked, whatever the seed.
_BASE_LOGIT = -3.2
# Two in ten clicks end in a purchase: some 3 % of what is shown.
_BASE_BUYING_LOGIT = -1.5
_DEVICE_EFFECT = np.array([0.0, 0.5, -0.6])
_DEVICE_WATCHES = np.array([0.0, -0.3, 0.2])
_TOKYO_HOURS = 9
# A step of yesterday weighs a hundredth of one an hour old; of steps long ago the latest still decide.
_POWER_OF_AGE = -2.0
_SATED_HOURS = 48.0
# Half of the videos are watched for 2.5 s and longer. The logarithm follows a logistic law, whose
# chances are in closed form; its scale puts 2 s and 5 s within reach.
_USUAL_VIEW_MS = 2500.0
_VIEW_SCALE = 0.45
VIEW_HEADS_MS = (2000, 5000)
# Purchases come after hours, and count within a day: the attribution window.
_MEAN_DELAY_HOURS = 6.0
ATTRIBUTION_HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """[request, candidate] probabilities.

    Attributes:
        pctr: Of a click.
        pbuys: Of a purchase within the attribution window, given a click.
        view_log_ms: Mean of the logarithm of the time watched.
        is_video: What is no video is never watched.
    """

    pctr: Floats
    pbuys: Floats
    view_log_ms: Floats
    is_video: Bools

    @property
    def pview(self) -> tuple[Floats, ...]:
        """Of being watched for each of VIEW_HEADS_MS, given that it is a video."""
        return tuple(
            _sigmoid((self.view_log_ms - np.log(limit)) / _VIEW_SCALE) for limit in VIEW_HEADS_MS
        )


def true_probabilities(
    world: World, *, at: Ints, user: Ints, device: Ints, slot: Ints, ad: Ints
) -> Truth:
    """The truth of every candidate, from logged fields only.

    Each effect on a click moves the log-odds by 0.3 to 1.6 (standard deviation), so that a model
    without it is measurably worse on a few thousand requests; a missing value has no effect.
    """
    effects = true_effects(world, at=at, user=user, device=device, slot=slot, ad=ad)
    logit = _BASE_LOGIT + sum(effects.values(), np.zeros(ad.shape))
    ads, tastes = world.ads, world.tastes
    lately = _lately(world, user, at)
    price = np.nan_to_num(np.log(ads.price[ad]) - 3.0, nan=0.0)
    buying = (
        _BASE_BUYING_LOGIT
        + tastes.buys_from[ads.advertiser[ad]]
        - 0.5 * price
        + 0.8 * effects["interest"]
    )
    category = ads.category[ad]
    watching = (
        np.log(_USUAL_VIEW_MS)
        + np.where(category == UNKNOWN, 0.0, tastes.watches[category])
        + np.where(device == UNKNOWN, 0.0, _DEVICE_WATCHES[device])[:, None]
        + 0.8 * np.take_along_axis(lately.share, np.maximum(category, 0), axis=1)
    )
    return Truth(
        pctr=_sigmoid(logit),
        pbuys=_sigmoid(buying),
        view_log_ms=watching,
        is_video=ads.is_video[ad],
    )


def true_effects(
    world: World, *, at: Ints, user: Ints, device: Ints, slot: Ints, ad: Ints
) -> dict[str, Floats]:
    """What each field adds to the log-odds: [request, 1] or [request, candidate], by name."""
    ads, users, tastes = world.ads, world.users, world.tastes
    category = ads.category[ad]
    lately = _lately(world, user, at)
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
        "age_days": -0.4 * (np.log1p(users.age_days[user]) - 5.5),
        "user_rate": 5.0 * users.counters.relative_rate()[user],
    }
    return {name: effect[:, None] for name, effect in of_request.items()} | {
        "interest": np.where(
            category == UNKNOWN, 0.0, 0.6 * (interest[user[:, None], category] - interest.mean())
        ),
        "drawn_on": np.where(
            category == UNKNOWN,
            0.0,
            np.take_along_axis(
                lately.share @ tastes.category_after, np.maximum(category, 0), axis=1
            ),
        ),
        "sated": np.where(
            np.take_along_axis(lately.bought, np.maximum(category, 0), axis=1)
            & (category != UNKNOWN),
            -1.5,
            0.0,
        ),
        "category_of_segment": np.where(category == UNKNOWN, 0.0, cross),
        "advertiser": tastes.advertiser[ads.advertiser[ad]],
        "sale": 0.9 * ads.has_sale[ad],
        "price": -0.5 * np.nan_to_num(np.log(ads.price[ad]) - 3.0, nan=0.0),
        "ad_rate": 3.5 * ads.counters.relative_rate()[ad],
        "recency": np.where(ads.last_clicked_at[ad] == UNKNOWN, 0.0, 0.4 * (freshness - usual)),
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lately:
    """What a history says of the last hours, by category.

    Attributes:
        share: [request, category] of the weight of its steps; all 0 where none has a known time.
        bought: [request, category] within _SATED_HOURS.
    """

    share: Floats
    bought: Bools


def _lately(world: World, user: Ints, at: Ints) -> _Lately:
    history = world.history
    bounds = history.offsets(len(world.users.segment))
    lengths = bounds[user + 1] - bounds[user]
    request = np.repeat(np.arange(len(user)), lengths)
    before = np.cumsum(lengths) - lengths
    step = np.arange(len(request)) + np.repeat(bounds[user] - before, lengths)
    step, request = (
        x[history.at_is_known[step] & (history.category[step] >= 0)] for x in (step, request)
    )
    place = (request, history.category[step])
    age_hours = np.maximum(at[request] - history.at[step], 0) / HOUR
    weight = np.zeros((len(user), len(CATEGORIES)))
    np.add.at(weight, place, (1.0 + age_hours) ** _POWER_OF_AGE)
    bought = np.zeros(weight.shape, dtype=np.bool_)
    is_purchase = history.action[step] == ACTIONS.index("purchase")
    np.logical_or.at(bought, place, is_purchase & (age_hours < _SATED_HOURS))
    total = weight.sum(axis=1, keepdims=True)
    return _Lately(share=weight / np.where(total > 0, total, 1.0), bought=bought)


def draw_delays(rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
    """Microseconds from click to purchase: exponential, given that it is within the window."""
    within = -np.expm1(-ATTRIBUTION_HOURS / _MEAN_DELAY_HOURS)
    hours = -_MEAN_DELAY_HOURS * np.log1p(-within * rng.random(shape))
    delays: Ints = (hours * HOUR).astype(np.int64)
    return delays


def draw_views(rng: np.random.Generator, truth: Truth) -> Ints:
    """[request, candidate] milliseconds watched; UNKNOWN for what is no video."""
    log_ms = truth.view_log_ms + _VIEW_SCALE * rng.logistic(size=truth.view_log_ms.shape)
    # Whole milliseconds, rounded down: below a limit exactly where the real time is.
    return np.where(truth.is_video, np.exp(log_ms).astype(np.int64), UNKNOWN)


def _sigmoid(logit: Floats) -> Floats:
    probability: Floats = 1.0 / (1.0 + np.exp(-logit))
    return probability
