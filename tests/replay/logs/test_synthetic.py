from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.errors import ConfigError
from replay.logs import synthetic, synthetic_truth
from replay.logs.parquet import open_day, read_shard
from replay.logs.synthetic import Simulation, SyntheticLog, import_synthetic

SMALL = SyntheticLog(days=3, requests=150, candidates=8, seed=3)
Record = dict[str, Any]


def records_of(log: SyntheticLog, day: date) -> list[Record]:
    return [row for table in Simulation(log).tables(day) for row in table.to_pylist()]


@pytest.fixture(scope="module")
def days() -> list[list[Record]]:
    """The records of SMALL, a list a day."""
    simulation = Simulation(SMALL)
    return [
        [row for table in simulation.tables(day) for row in table.to_pylist()]
        for day in SMALL.dates
    ]


def digests(root: Path, log: SyntheticLog) -> list[str]:
    list(import_synthetic(root, log))
    return [open_day(root, day).digest for day in log.dates]


def test_a_seed_gives_one_log(tmp_path: Path) -> None:
    other_seed = SyntheticLog(days=3, requests=150, candidates=8, seed=4)

    first = digests(tmp_path / "a", SMALL)

    assert digests(tmp_path / "b", SMALL) == first
    assert not set(digests(tmp_path / "c", other_seed)) & set(first)


def test_a_missing_day_is_drawn_as_it_was(tmp_path: Path) -> None:
    before = digests(tmp_path, SMALL)
    last = open_day(tmp_path, SMALL.dates[2]).shards[0].path
    last.unlink()

    again = list(import_synthetic(tmp_path, SMALL))

    assert [d.written for d in again] == [False, False, True]
    assert digests(tmp_path, SMALL) == before


def test_days_can_be_added_to_a_log(tmp_path: Path) -> None:
    shorter = SyntheticLog(days=2, requests=150, candidates=8, seed=3)
    list(import_synthetic(tmp_path, shorter))

    again = list(import_synthetic(tmp_path, SMALL))

    assert [d.written for d in again] == [False, False, True]
    assert [open_day(tmp_path, d).digest for d in SMALL.dates] == digests(
        tmp_path / "at once", SMALL
    )


def test_other_settings_write_the_days_anew(tmp_path: Path) -> None:
    list(import_synthetic(tmp_path, SMALL))

    wider = SyntheticLog(days=3, requests=150, candidates=9, seed=3)

    assert [d.written for d in import_synthetic(tmp_path, wider)] == [True] * 3


def test_days_may_be_asked_for_in_any_order() -> None:
    simulation = Simulation(SMALL)
    last_first = [list(simulation.tables(day)) for day in reversed(SMALL.dates)]

    assert last_first[::-1] == [list(Simulation(SMALL).tables(day)) for day in SMALL.dates]


def test_every_row_is_valid(tmp_path: Path) -> None:
    log = SyntheticLog(days=2, requests=2500, candidates=3, seed=5)

    imported = list(import_synthetic(tmp_path, log))

    assert [(d.counts.requests, d.counts.candidates) for d in imported] == [(2500, 7500)] * 2
    for day in log.dates:
        for shard in open_day(tmp_path, day).shards:
            assert read_shard(shard).rejections == ()


def test_the_values_are_those_that_break_in_migrations(days: list[list[Record]]) -> None:
    candidates = [c for day in days for row in day for c in row["candidates"]]
    steps = [s for day in days for row in day for s in row["history"]]
    titles = {c["title"] for c in candidates}

    assert any(c["ad_id"] > 2**24 for c in candidates)
    above = {c["ad_id"] for c in candidates if c["ad_id"] > 2**24}
    assert len({np.float32(ad_id) for ad_id in above}) < len(above)
    assert all(c["advertiser_id"] > 2**32 for c in candidates)
    assert any(t and not t.isascii() for t in titles)
    assert any(t and t.isupper() for t in titles)
    assert any(t and t.islower() for t in titles)
    for name in ("title", "price", "category", "past_impressions", "last_clicked_at", "click"):
        values = [c[name] for c in candidates]
        assert None in values, name
        assert any(v is not None for v in values), name
    for name in ("at", "category"):
        assert any(s[name] is None for s in steps), name
    assert any(not row["history"] for row in days[0])
    assert None in {row["context"]["device"] for day in days for row in day}


def test_a_few_candidates_of_each_request_are_shown_and_labelled(days: list[list[Record]]) -> None:
    for row in days[0]:
        assert sum(c["shown"] for c in row["candidates"]) == 5
        assert all((c["click"] is not None) == c["shown"] for c in row["candidates"])
        assert len({c["ad_id"] for c in row["candidates"]}) == 8


def test_histories_are_ordered_and_end_before_the_day(days: list[list[Record]]) -> None:
    for day, rows in zip(SMALL.dates, days, strict=True):
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for row in rows:
            times = [s["at"] for s in row["history"] if s["at"] is not None]
            assert times == sorted(times)
            assert all(at < midnight for at in times)
            assert len(row["history"]) <= 30


def test_counters_grow_by_what_was_logged_the_day_before(days: list[list[Record]]) -> None:
    shown: Counter[int] = Counter()
    clicked: Counter[int] = Counter()
    latest: dict[int, datetime] = {}
    for row in days[0]:
        for c in row["candidates"]:
            shown[c["ad_id"]] += c["shown"]
            if c["click"]:
                clicked[c["ad_id"]] += 1
                latest[c["ad_id"]] = row["logged_at"]
    first = {c["ad_id"]: c for row in days[0] for c in row["candidates"]}
    second = {c["ad_id"]: c for row in days[1] for c in row["candidates"]}
    both = first.keys() & second.keys()

    assert len(both) > 100
    for ad_id in both:
        before, after = first[ad_id], second[ad_id]
        if before["past_impressions"] is None:  # nothing of it is counted, ever
            assert after["past_impressions"] is after["last_clicked_at"] is None
            continue
        assert (after["past_impressions"] or 0) == (before["past_impressions"] or 0) + shown[ad_id]
        assert (after["past_clicks"] or 0) == (before["past_clicks"] or 0) + clicked[ad_id]
        assert after["last_clicked_at"] == latest.get(ad_id, before["last_clicked_at"])


def test_yesterdays_clicks_are_in_todays_histories(days: list[list[Record]]) -> None:
    clicks = {
        (row["user"]["user_id"], c["ad_id"], row["logged_at"], c["category"])
        for row in days[0]
        for c in row["candidates"]
        if c["click"]
    }
    today = {
        (row["user"]["user_id"], s["ad_id"], s["at"], s["category"])
        for row in days[1]
        for s in row["history"]
        if s["action"] == "click"
    }
    since = remembered_since(days[1])

    expected = {c for c in clicks if c[0] in since and c[2] >= since[c[0]]}
    assert len(expected) > 20
    lost = {c for c in expected if (c[0], c[1], None, c[3]) in today}
    assert expected - lost <= today
    assert len(lost) < 0.1 * len(expected)


def remembered_since(rows: list[Record]) -> dict[int, datetime]:
    """By user the time of the oldest step that is kept; without those of whom none is."""
    known = {
        row["user"]["user_id"]: [s["at"] for s in row["history"] if s["at"] is not None]
        for row in rows
    }
    return {user: min(times) for user, times in known.items() if times}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clicks_follow_their_true_probability(seed: int) -> None:
    log = SyntheticLog(days=2, requests=800, candidates=10, seed=seed)
    shown = [
        c
        for row in records_of(log, log.dates[1])
        for c in row["candidates"]
        if c["click"] is not None
    ]
    clicks = np.array([c["click"] for c in shown])
    truth = np.array([c["true_pctr"] for c in shown])

    deviation = np.sqrt((truth * (1 - truth)).sum())
    assert abs(clicks.sum() - truth.sum()) < 4 * deviation
    assert 0.08 < clicks.mean() < 0.25


def log_loss(logit: np.ndarray, clicks: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, logit) - clicks * logit


def test_every_effect_matters_on_a_few_thousand_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one effect shuffled, even the truth predicts significantly worse."""
    seen: list[dict[str, np.ndarray]] = []
    original = synthetic_truth.true_effects

    def noted(*args: Any, **kwargs: Any) -> dict[str, np.ndarray]:
        seen.append(original(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(synthetic_truth, "true_effects", noted)
    # The third day: on the first nobody has done anything lately.
    log = SyntheticLog(days=3, requests=2000, candidates=20, seed=11)
    rows = records_of(log, log.dates[2])
    clicks = np.array([[c["click"] for c in row["candidates"]] for row in rows], dtype=float)
    is_shown = ~np.isnan(clicks)
    effects = seen[-1]
    broad = {name: np.broadcast_to(e, clicks.shape) for name, e in effects.items()}
    truth = np.array([[c["true_pctr"] for c in row["candidates"]] for row in rows])
    logit = np.log(truth / (1 - truth))
    rng = np.random.default_rng(0)

    for name, effect in broad.items():
        shuffled = rng.permuted(effect, axis=0)
        worse = log_loss(logit - effect + shuffled, clicks) - log_loss(logit, clicks)
        by_request = np.where(is_shown, worse, 0.0).sum(axis=1)
        z = by_request.mean() / (by_request.std() / np.sqrt(len(by_request)))
        assert z > 4, name


@pytest.fixture(scope="module")
def shown() -> list[Record]:
    log = SyntheticLog(days=2, requests=1600, candidates=8, seed=5)
    return [
        {**c, "logged_at": row["logged_at"]}
        for row in records_of(log, log.dates[1])
        for c in row["candidates"]
        if c["shown"]
    ]


@pytest.mark.parametrize(
    ("truth", "happened"),
    [
        ("true_pconversion", lambda c: c["conversion"]),
        ("true_pview_2s", lambda c: c["view_ms"] >= 2000),
        ("true_pview_5s", lambda c: c["view_ms"] >= 5000),
    ],
)
def test_purchases_and_views_follow_their_true_probability(
    shown: list[Record], truth: str, happened: Callable[[Record], bool]
) -> None:
    those = [c for c in shown if c[truth] is not None]
    p = np.array([c[truth] for c in those])
    outcome = np.array([float(happened(c)) for c in those])

    error = (outcome - p) / np.sqrt((p * (1 - p)).sum())
    assert abs(error.sum()) < 4
    # Within the upper and the lower half too, so that it is more than the mean that is right.
    assert abs(error[p > np.median(p)].sum()) < 4
    assert outcome.sum() > 80


def test_who_bought_had_clicked_within_a_day(shown: list[Record]) -> None:
    bought = [c for c in shown if c["conversion"]]
    waited = np.array([(c["converted_at"] - c["logged_at"]).total_seconds() for c in bought])

    assert all(c["click"] == 1 for c in bought)
    assert all((c["converted_at"] is None) == (c["conversion"] == 0) for c in shown)
    assert 0 <= waited.min() < 3600
    assert 86400 * 0.7 < waited.max() < 86400
    assert 0.6 < np.mean(waited < 6 * 3600) < 0.7  # exponential of 6 hours, cut at 24: 0.64


def test_videos_alone_are_watched(shown: list[Record]) -> None:
    for c in shown:
        assert (c["view_ms"] is not None) == (c["format"] == "video")
        assert (c["true_pview_5s"] is not None) == (c["format"] == "video")


def test_a_purchase_stands_in_the_histories_of_the_day_after_it(days: list[list[Record]]) -> None:
    midnight = datetime(2026, 1, 6, tzinfo=UTC)
    bought = {
        (row["user"]["user_id"], c["ad_id"], c["converted_at"])
        for row in days[0]
        for c in row["candidates"]
        if c["conversion"] and row["user"]["user_id"]
    }
    noted = {
        (row["user"]["user_id"], s["ad_id"], s["at"])
        for row in days[1]
        for s in row["history"]
        if s["action"] == "purchase"
    }
    since = remembered_since(days[1])

    known = {b for b in bought if b[0] in since and since[b[0]] <= b[2] < midnight}
    later = {b for b in bought if b[0] in since and b[2] >= midnight}
    assert len(known) > 5
    assert {b for b in known if (b[0], b[1], None) not in noted} <= noted
    assert later
    assert not later & noted


def test_the_order_of_a_history_matters_and_no_count_tells_it() -> None:
    """The same steps in another order draw on to other categories; their counts stay."""
    log = SyntheticLog(days=1, requests=400, candidates=8, seed=2)
    simulation = Simulation(log)
    next(simulation.tables(log.start))  # the world as it is before the first day
    world = simulation._world
    assert world is not None
    rng = np.random.default_rng(0)
    num_users = len(world.users.segment)
    asked = {
        "at": np.full(400, synthetic._midnight(log.start) + 12 * synthetic.HOUR),
        "user": rng.integers(num_users, size=400),
        "device": np.zeros(400, dtype=np.int64),
        "slot": np.ones(400, dtype=np.int64),
        "ad": rng.integers(len(world.ads.ad_id), size=(400, 8)),
    }
    before = synthetic_truth.true_effects(world, **asked)
    shuffled = np.lexsort((rng.random(len(world.history.user)), world.history.user))
    world.history.category = world.history.category[shuffled]

    after = synthetic_truth.true_effects(world, **asked)

    assert np.array_equal(before["interest"], after["interest"])
    assert 0.9 < before["drawn_on"].std() < 1.8
    # In log-odds: of a third of the candidates and more, the odds change by a fifth and more.
    assert np.mean(np.abs(after["drawn_on"] - before["drawn_on"]) > 0.2) > 0.3


def test_a_log_may_be_tiny() -> None:
    log = SyntheticLog(days=1, requests=1, candidates=1, seed=0)

    (row,) = records_of(log, log.dates[0])

    assert [c["shown"] for c in row["candidates"]] == [True]


@pytest.mark.parametrize(
    "setting", [{"days": 0}, {"requests": 0}, {"candidates": -1}, {"seed": -1}]
)
def test_settings_that_make_no_log_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        SyntheticLog(**setting)


def test_a_log_starts_where_it_is_told() -> None:
    log = SyntheticLog(days=2, start=date(2024, 2, 29))

    assert log.dates == (date(2024, 2, 29), date(2024, 2, 29) + timedelta(days=1))
