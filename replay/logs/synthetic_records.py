"""The records of a synthetic log: what was drawn, written down as requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay.logs.synthetic_truth import Truth
from replay.logs.synthetic_world import (
    ACTIONS,
    CATEGORIES,
    COUNTRIES,
    SEGMENTS,
    UNKNOWN,
    Bools,
    Floats,
    Ints,
    World,
)
from replay.request import TIMESTAMP

DEVICES = ("desktop", "mobile", "tablet")
FORMATS = ("image", "video")
# User ids lie above what 40 bits hold: they can not pass through a float32 either.
_FIRST_USER_ID = (1 << 40) + 1

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
        pa.field("bought_category", pa.string()),
    ]
)
CANDIDATE = pa.struct(
    [
        pa.field("ad_id", pa.int64()),
        pa.field("category", pa.string()),
        pa.field("advertiser_id", pa.int64()),
        pa.field("title", pa.string()),
        pa.field("format", pa.string()),
        pa.field("price", pa.float64()),
        *_COUNTERS,
        pa.field("last_clicked_at", TIMESTAMP),
        pa.field("bid_micros", pa.int64()),
        pa.field("noise", pa.float64()),
        pa.field("shown", pa.bool_()),
        pa.field("click", pa.int64()),
        pa.field("conversion", pa.int64()),
        pa.field("converted_at", TIMESTAMP),
        pa.field("view_ms", pa.int64()),
        pa.field("true_pctr", pa.float64()),
        pa.field("true_pconversion", pa.float64()),
        pa.field("true_pview_2s", pa.float64()),
        pa.field("true_pview_5s", pa.float64()),
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DrawnRequests:
    """[request] arrays, and [request, candidate] ones from `ad` on.

    `converted_at` is UNKNOWN where nothing was bought, `view_ms` where nothing could be watched.
    """

    at: Ints
    user: Ints
    device: Ints
    slot: Ints
    context_noise: Floats
    ad: Ints
    noise: Floats
    shown: Bools
    click: Ints
    converted_at: Ints
    view_ms: Ints
    truth: Truth


def table_of(ids: list[str], requests: DrawnRequests, world: World) -> pa.Table:
    """The requests as records, with counters and histories as the world knows them."""
    users = world.users
    user = requests.user
    context = [
        _texts(DEVICES, requests.device),
        pa.array(requests.slot),
        pa.array(requests.context_noise),
    ]
    person = [
        pa.array(user + _FIRST_USER_ID),
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
    is_bought = history.action[places] == ACTIONS.index("purchase")
    steps = [
        pa.array(world.ads.ad_id[history.ad[places]]),
        _texts(ACTIONS, history.action[places]),
        pa.array(history.at[places], mask=~history.at_is_known[places]).cast(TIMESTAMP),
        _texts(CATEGORIES, history.category[places]),
        _texts(CATEGORIES, np.where(is_bought, history.category[places], UNKNOWN)),
    ]
    values = pa.StructArray.from_arrays(steps, fields=list(STEP))
    return pa.ListArray.from_arrays(offsets.astype(np.int32), values)


def _candidates(world: World, requests: DrawnRequests) -> pa.ListArray:
    ads = world.ads
    ad = requests.ad.reshape(-1)
    shown = requests.shown.reshape(-1)
    price, clicked_at = ads.price[ad], ads.last_clicked_at[ad]
    converted_at, view_ms = requests.converted_at.reshape(-1), requests.view_ms.reshape(-1)
    is_bought = converted_at != UNKNOWN
    truth = requests.truth
    columns = [
        pa.array(ads.ad_id[ad]),
        _texts(CATEGORIES, ads.category[ad]),
        pa.array(ads.advertiser_ids[ads.advertiser[ad]]),
        pa.array(ads.title, type=pa.string()).take(pa.array(ad)),
        _texts(FORMATS, ads.is_video[ad].astype(np.int64)),
        pa.array(price, mask=np.isnan(price)),
        *_counters(ads.counters.impressions[ad], ads.counters.clicks[ad]),
        pa.array(clicked_at, mask=clicked_at == UNKNOWN).cast(TIMESTAMP),
        pa.array(ads.bid_micros[ad]),
        pa.array(requests.noise.reshape(-1)),
        pa.array(shown),
        pa.array(requests.click.reshape(-1), mask=~shown),
        pa.array(is_bought.astype(np.int64), mask=~shown),
        pa.array(converted_at, mask=~(shown & is_bought)).cast(TIMESTAMP),
        pa.array(view_ms, mask=~(shown & (view_ms != UNKNOWN))),
        pa.array(truth.pctr.reshape(-1)),
        pa.array((truth.pctr * truth.pbuys).reshape(-1)),
        *(pa.array(p.reshape(-1), mask=~ads.is_video[ad]) for p in truth.pview),
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
