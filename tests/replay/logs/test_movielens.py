from __future__ import annotations

import csv
import importlib.util
import shutil
from bisect import bisect_left
from collections import Counter, defaultdict
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replay.errors import LogError
from replay.logs.imports import ImportedDay
from replay.logs.movielens import import_movielens, pages_of
from replay.logs.movielens_files import Ratings, find_movielens
from replay.logs.parquet import list_days, open_day, read_shard

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("recbole") is None, reason="pip install --no-deps recbole==1.2.1"
)
Record = dict[str, Any]
# An early day, one in the middle and the last: every field has nulls and values on them.
CHECKED = (date(1997, 9, 20), date(1998, 1, 13), date(1998, 4, 22))


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ImportedDay]]:
    out = tmp_path_factory.mktemp("movielens")
    return out, list(import_movielens(out))


def records_of(out: Path, day: date) -> list[Record]:
    found: list[Record] = []
    for shard in open_day(out, day).shards:
        validated = read_shard(shard)
        assert not validated.rejections
        found += validated.batch.records.to_pylist()
    return found


@pytest.fixture(scope="module")
def rows() -> list[tuple[int, int, int, int]]:
    """(user, movie, stars, second), read with the standard library."""
    path = find_movielens() / "ml-100k.inter"
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file, delimiter="\t"))[1:]
    return [(int(u), int(m), int(s), int(t)) for u, m, s, t in lines]


def test_every_rating_is_one_labelled_candidate(
    imported: tuple[Path, list[ImportedDay]], rows: list[tuple[int, int, int, int]]
) -> None:
    out, days = imported
    counts = [d.counts for d in days]
    shown = 0
    for day in list_days(out):
        for shard in open_day(out, day).shards:
            shown += len(read_shard(shard).batch.column("candidate.click").drop_null())

    assert shown == len(rows) == 100_000
    assert sum(c.clicks or 0 for c in counts) == sum(stars >= 4 for _, _, stars, _ in rows)
    assert sum(c.requests for c in counts) == 12_553


@pytest.mark.parametrize("day", CHECKED)
def test_histories_and_counters_know_only_what_came_before(
    imported: tuple[Path, list[ImportedDay]], rows: list[tuple[int, int, int, int]], day: date
) -> None:
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    by_user: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    rated: Counter[int] = Counter()
    liked: Counter[int] = Counter()
    latest: dict[int, int] = {}
    for user, movie, stars, at in rows:
        by_user[user].append((at, movie, stars))
        if at < midnight:
            rated[movie] += 1
            if stars >= 4:
                liked[movie] += 1
                latest[movie] = max(at, latest.get(movie, 0))
    for ratings in by_user.values():
        ratings.sort()

    for record in records_of(imported[0], day):
        user, at = record["user"], record["logged_at"].timestamp()
        own = by_user[user["user_id"]]
        before = own[: bisect_left(own, (at,))]
        steps = [(s["at"].timestamp(), s["ad_id"], s["stars"]) for s in record["history"]]
        assert steps == before[-500:]
        assert user["past_ratings"] == (len(before) or None)
        assert user["past_likes"] == (sum(s >= 4 for *_, s in before) if before else None)
        stars_of = {movie: stars for _, movie, stars in own}
        for candidate in record["candidates"]:
            movie = candidate["ad_id"]
            assert candidate["past_ratings"] == (rated[movie] or None)
            assert candidate["past_likes"] == (liked[movie] if rated[movie] else None)
            last = candidate["last_liked_at"]
            assert (None if last is None else last.timestamp()) == latest.get(movie)
            assert candidate["stars"] == (stars_of[movie] if candidate["shown"] else None)
            assert candidate["click"] == (candidate["stars"] >= 4 if candidate["shown"] else None)


def test_a_page_is_short_and_labelled_candidates_cannot_be_told_by_their_place(
    imported: tuple[Path, list[ImportedDay]],
) -> None:
    for record in records_of(imported[0], CHECKED[1]):
        ids = [c["ad_id"] for c in record["candidates"]]
        seen = {s["ad_id"] for s in record["history"]}
        assert ids == sorted(set(ids))
        assert not seen & set(ids)
        assert sum(not c["shown"] for c in record["candidates"]) == 20
        genres = {c["genre"]: c["genres"].split(" ")[0] for c in record["candidates"]}
        assert all(first == genre for genre, first in genres.items())
        for step in record["history"]:
            assert step["action"] == ("like" if step["stars"] >= 4 else "dislike")
            assert step["liked_genre"] == (step["genre"] if step["stars"] >= 4 else None)


def ratings_at(*seconds: int, user: int = 0) -> Ratings:
    count = len(seconds)
    return Ratings(
        user=np.full(count, user),
        movie=np.arange(count),
        stars=np.full(count, 3),
        at=np.array(seconds, dtype=np.int64),
    )


@pytest.mark.parametrize(
    ("seconds", "first", "number"),
    [
        (range(11), [0, 10], [1, 2]),  # ten movies fill a page
        ([0] * 12, [0], [1]),  # what has no order is not parted
        ([0] * 8 + [1] * 3, [0, 8], [1, 2]),
        ([0, 1800, 3601], [0, 2], [1, 1]),  # a pause of more than half an hour
        ([86_390, 86_410], [0, 1], [1, 2]),  # midnight parts a page, not a sitting
    ],
)
def test_pages_end_at_ten_movies_a_pause_and_midnight(
    seconds: list[int], first: list[int], number: list[int]
) -> None:
    found_first, found_number = pages_of(ratings_at(*seconds))

    assert found_first.tolist() == first
    assert found_number.tolist() == number


def test_a_second_import_writes_nothing(imported: tuple[Path, list[ImportedDay]]) -> None:
    out, first = imported

    second = list(import_movielens(out))

    assert not any(d.written for d in second)
    assert [d.counts for d in second] == [d.counts for d in first]
    assert all(a.day < b.day for a, b in pairwise(second))


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("ml-100k.inter", "\t3\t881250949", "\t6\t881250949", "not 1 to 5"),
        ("ml-100k.inter", "196\t242", "196\t2420", "2420"),
        ("ml-100k.item", "item_id:token", "movie:token", "columns"),
        ("ml-100k.inter", "196\t242\t3\t881250949", "196\t242\tx\t881250949", "x"),
        ("ml-100k.inter", "196\t242\t3", "196\t242\t3\t881250949\n196\t242\t3", "twice"),
    ],
)
def test_a_file_that_is_not_the_data_sets_is_refused(
    tmp_path: Path, name: str, old: str, new: str, what: str
) -> None:
    source = shutil.copytree(find_movielens(), tmp_path / "source")
    text = (source / name).read_text(encoding="utf-8")
    assert old in text
    (source / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(LogError, match=what) as caught:
        list(import_movielens(tmp_path / "out", source=source))
    assert name in caught.value.where


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"ml-100k\.item|No such file"):
        list(import_movielens(tmp_path / "out", source=tmp_path))
