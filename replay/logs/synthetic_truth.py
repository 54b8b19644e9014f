"""The true probabilities behind a synthetic log: what moves a click, a purchase and a video's view.

Every probability follows from logged fields only. The order of the history counts three ways:
the categories of the last three steps draw the user on to others (`category_after`, halved from
step to step), a purchase among the last five sates its category, and the latest step's category
is watched longer. All else is counts, rates and fields that aggregates keep.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from replay.logs.synthetic_world import (
    ACTIONS,
    HOUR,
    UNKNOWN,
    Bools,
    Floats,
    Ints,
    World,
)

# Chosen so that 10-20 % of shown candidates are clicked, whatever the seed.
_BASE_LOGIT = -3.1
# Two in ten clicks end in a purchase: some 3 % of what is shown.
_BASE_BUYING_LOGIT = -1.5
_DEVICE_EFFECT = np.array([0.0, 0.5, -0.6])
_DEVICE_WATCHES = np.array([0.0, -0.3, 0.2])
_TOKYO_HOURS = 9
# The last step weighs most; with category_after's spread of 0.7 their sum spreads by 0.8.
_WEIGHT_OF_LATEST = np.array([1.0, 0.5, 0.25])
_SATED_STEPS = 5
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

    Each effect on a click moves the log-odds by 0.3 to 0.8 (standard deviation), so that a model
    without it is measurably worse on a few thousand requests; a missing value has no effect.
    """
    effects = true_effects(world, at=at, user=user, device=device, slot=slot, ad=ad)
    logit = _BASE_LOGIT + sum(effects.values(), np.zeros(ad.shape))
    ads, tastes = world.ads, world.tastes
    price = np.nan_to_num(np.log(ads.price[ad]) - 3.0, nan=0.0)
    buying = (
        _BASE_BUYING_LOGIT
        + tastes.buys_from[ads.advertiser[ad]]
        - 0.5 * price
        + 0.8 * effects["interest"]
    )
    category = ads.category[ad]
    (latest,), _ = (steps.T for steps in world.history.latest(len(world.users.segment), 1))
    is_latest = (latest[user][:, None] == category) & (category != UNKNOWN)
    watching = (
        np.log(_USUAL_VIEW_MS)
        + np.where(category == UNKNOWN, 0.0, tastes.watches[category])
        + np.where(device == UNKNOWN, 0.0, _DEVICE_WATCHES[device])[:, None]
        + 0.6 * is_latest
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
        "drawn_on": _drawn_on(world, user, category),
        "sated": _sated(world, user, category),
        "category_of_segment": np.where(category == UNKNOWN, 0.0, cross),
        "advertiser": tastes.advertiser[ads.advertiser[ad]],
        "sale": 0.9 * ads.has_sale[ad],
        "price": -0.5 * np.nan_to_num(np.log(ads.price[ad]) - 3.0, nan=0.0),
        "ad_rate": 6.0 * ads.counters.relative_rate()[ad],
        "recency": np.where(ads.last_clicked_at[ad] == UNKNOWN, 0.0, 0.6 * (freshness - usual)),
    }


def _drawn_on(world: World, user: Ints, category: Ints) -> Floats:
    """From the categories of the last steps to the candidate's.

    Less its mean, for else what draws on most would breed itself, and clicks with it.
    """
    seen, _ = world.history.latest(len(world.users.segment), len(_WEIGHT_OF_LATEST))
    drawn = np.where((seen == UNKNOWN)[:, :, None], 0.0, world.tastes.category_after[seen])
    of_user = np.tensordot(drawn, _WEIGHT_OF_LATEST, axes=([1], [0]))
    of_user -= of_user.mean()
    return np.where(category == UNKNOWN, 0.0, of_user[user[:, None], category])


def _sated(world: World, user: Ints, category: Ints) -> Floats:
    """Less where the candidate's category was bought among the last steps."""
    seen, action = world.history.latest(len(world.users.segment), _SATED_STEPS)
    bought = np.where(action == ACTIONS.index("purchase"), seen, UNKNOWN)[user]
    is_bought = (bought[:, :, None] == category[:, None, :]).any(axis=1)
    return np.where(is_bought & (category != UNKNOWN), -1.5, 0.0)


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
