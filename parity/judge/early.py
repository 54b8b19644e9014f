"""How soon a replay may stop: evidence about the rest of a day that holds whenever one looks.

Requests are read in the order of their hashes, so those read so far are a simple random sample of
the day, without replacement. Whatever the day holds, the chance that the evidence *ever* passes
for a rate that the day in truth exceeds is at most 1 - level (Ville's inequality), however often
one looks: a fixed-sample test that is looked at again and again passes far more often.

Source: Waudby-Smith and Ramdas 2020, "Confidence sequences for sampling without replacement";
Ville 1939. Here the bet is a likelihood ratio of how many of the day's requests differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import lgamma
from types import MappingProxyType

# Bets on the share of differing requests, as multiples of the tested rate, with their stakes.
# Most is bet on none at all, which is what a faithful translation has.
FEWER: Mapping[float, float] = MappingProxyType({0.0: 0.4, 0.1: 0.3, 0.25: 0.2, 0.5: 0.1})
# The other way round: from twice the rate to a fault that a thousand times as many requests show.
MORE: Mapping[float, float] = MappingProxyType({2.0: 0.25, 10.0: 0.25, 100.0: 0.25, 1000.0: 0.25})

# The first looks come while little is read, to end early where much differs.
FIRST_LOOKS = (1 / 16, 1 / 4)
# Sparing less than a tenth of a day is not worth leaving the rest of it unseen.
MOST_READ = 0.9


def wealth(compared: int, differing: int, *, day: int, rate: float) -> float:
    """Evidence that fewer than `rate` of a day's requests differ; 1 / alpha passes at level 1 - alpha.

    Args:
        compared: Requests read so far.
        differing: Those of them that differ.
        day: Requests of the day.
        rate: The share that is tested.
    """
    null = max(1, math.ceil(rate * day))
    if differing > null:
        return 0.0  # only days beyond the rate have so many
    bets = {math.floor(multiple * rate * day): 0.0 for multiple in FEWER}
    for multiple, stake in FEWER.items():
        bets[math.floor(multiple * rate * day)] += stake
    return _mixture({k: s for k, s in bets.items() if k < null}, null, compared, differing, day)


def wealth_against(compared: int, differing: int, *, day: int, rate: float) -> float:
    """Evidence that more than `rate` of a day's requests differ."""
    null = math.floor(rate * day)
    bets: dict[int, float] = {}
    for multiple, stake in MORE.items():
        there = min(day, max(null + 1, math.ceil(multiple * rate * day)))
        bets[there] = bets.get(there, 0.0) + stake
    return _mixture(bets, null, compared, differing, day)


def needed(day: int, rate: float, level: float) -> int:
    """Requests after which a day passes when none of them differs; the whole day at most."""
    low, high = 0, day
    while low < high:
        middle = (low + high) // 2
        if wealth(middle, 0, day=day, rate=rate) >= 1 / (1 - level):
            high = middle
        else:
            low = middle + 1
    return low


def looks(day: int, rate: float, level: float) -> tuple[float, ...]:
    """Shares of the day after which the evidence is looked at, the last being all of it.

    The main look comes when a day without any difference passes, a little later because shares
    of hashes are not exact counts; then at each doubling.
    """
    if day == 0:
        return (1.0,)
    needs = needed(day, rate, level)
    slack = 3.0 * math.sqrt(needs * max(0.0, 1 - needs / day))  # three standard deviations
    share = (needs + slack) / day
    shares = [first * share for first in FIRST_LOOKS]
    while share < MOST_READ:
        shares.append(share)
        share *= 2
    return (*(one for one in shares if one * day >= 1), 1.0)


def _mixture(
    bets: Mapping[int, float], null: int, compared: int, differing: int, day: int
) -> float:
    """Stakes times how much better each bet explains the sample than the null does."""
    at_null = _log_likelihood(null, compared, differing, day)
    if at_null == -math.inf:
        return math.inf  # the sample can not come from a day of the null
    logs = [
        math.log(stake) + _log_likelihood(there, compared, differing, day) - at_null
        for there, stake in bets.items()
        if stake > 0
    ]
    most = max(logs, default=-math.inf)
    if most == -math.inf:
        return 0.0
    total = most + math.log(sum(math.exp(one - most) for one in logs))
    return math.exp(min(total, 700.0))  # 1e304 is evidence enough


def _log_likelihood(there: int, compared: int, differing: int, day: int) -> float:
    """Log chance of one order of such a sample, when `there` requests of the day differ.

    It is the ways to place the differing ones among the unread, over those among all.
    """
    left, others = there - differing, (day - there) - (compared - differing)
    if left < 0 or others < 0:
        return -math.inf
    return (
        lgamma(day - compared + 1)
        - lgamma(left + 1)
        - lgamma(others + 1)
        - lgamma(day + 1)
        + lgamma(there + 1)
        + lgamma(day - there + 1)
    )
