"""Real histories from MovieLens 100k: pages of ratings, each with everything the user rated before.

Read from the files inside the `recbole` wheel, which is never imported (it pulls in torch). The
data set's terms forbid redistribution: what is imported stays on this machine.

A request is a *page*: what one user rated one after another, at most ten movies, ended by a pause
of half an hour and by midnight (UTC). It is logged at its first rating. Ratings of the same second
have no known order and are never parted. The rated movies are its labelled candidates, clicked when
they got four stars or five; twenty more that the user had not rated are eligible and unlabelled,
drawn from the movies rated on earlier days, a movie as often as it was. Candidates stand in order of
their ids.

Nothing of a request knows its own page or what came later: histories and the user's counters end
before the page's first second, the movies' counters with the day before.

| field | type | meaning |
| --- | --- | --- |
| `request_id` | string | `ml-<user>-<page>` |
| `context.page` | int64 | number of the page in this sitting, from 1 |
| `user.user_id`, `.age`, `.gender`, `.occupation` | int64, int64, string, string | as published |
| `user.past_ratings`, `.past_likes` | int64 | of the user; null before the first |
| `history.ad_id`, `.action`, `.at` | int64, string, timestamp | the latest 500 ratings, oldest first; `like` from four stars on, else `dislike` |
| `history.stars` | int64 | 1 to 5 |
| `history.genre`, `.genres`, `.release_year` | string, string, int64 | as of a candidate |
| `history.liked_genre` | string | the genre of a `like`, else null: for counts of matching steps |
| `candidate.ad_id`, `.title`, `.genres`, `.release_year` | int64, string, string, int64 | the movie; genres apart by spaces; the year is null for two |
| `candidate.genre` | string | the first of its genres |
| `candidate.past_ratings`, `.past_likes` | int64 | of the movie on earlier days; null before the first |
| `candidate.last_liked_at` | timestamp | on an earlier day; null when never |
| `candidate.shown` | bool | rated on this page |
| `candidate.click`, `.stars` | int64 | labels, of shown candidates; else null. `stars` is never a feature |

Source: Harper and Konstan 2015, "The MovieLens Datasets: History and Context".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from replay.digests import digest_of_file, digest_of_json
from replay.logs.imports import ImportedDay, import_days
from replay.logs.movielens_files import Ints, MovieLens, Ratings, find_movielens, read_movielens
from replay.request import TIMESTAMP

# Raise it when the records change: days of an older version are then written anew.
IMPORTER_VERSION = 1
# A screenful of movies. Fewer make more requests and the same labels.
MOVIES_PER_PAGE = 10
# Between the ratings of a sitting lie seconds; after half an hour people have come back.
LONGEST_PAUSE_S = 1800
# As many again as two pages, so that a rank says something.
UNLABELLED = 20
# All but four users rated less in all.
LONGEST_HISTORY = 500
FIRST_LIKED_STARS = 4
_DAY_S = 86_400

STEP = pa.struct(
    [
        pa.field("ad_id", pa.int64()),
        pa.field("action", pa.string()),
        pa.field("at", TIMESTAMP),
        pa.field("stars", pa.int64()),
        pa.field("genre", pa.string()),
        pa.field("genres", pa.string()),
        pa.field("liked_genre", pa.string()),
        pa.field("release_year", pa.int64()),
    ]
)
USER = pa.struct(
    [
        pa.field("user_id", pa.int64()),
        pa.field("age", pa.int64()),
        pa.field("gender", pa.string()),
        pa.field("occupation", pa.string()),
        pa.field("past_ratings", pa.int64()),
        pa.field("past_likes", pa.int64()),
    ]
)
CONTEXT = pa.struct([pa.field("page", pa.int64())])
CANDIDATE = pa.struct(
    [
        pa.field("ad_id", pa.int64()),
        pa.field("title", pa.string()),
        pa.field("genre", pa.string()),
        pa.field("genres", pa.string()),
        pa.field("release_year", pa.int64()),
        pa.field("past_ratings", pa.int64()),
        pa.field("past_likes", pa.int64()),
        pa.field("last_liked_at", TIMESTAMP),
        pa.field("shown", pa.bool_()),
        pa.field("click", pa.int64()),
        pa.field("stars", pa.int64()),
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


def import_movielens(out: Path, *, source: Path | None = None) -> Iterator[ImportedDay]:
    """Write the days that are not written yet, yielding each day's counts in order.

    Args:
        out: The log's folder.
        source: The folder of the data set's files; by default the installed wheel's.

    Raises:
        ToolkitError: The `recbole` package is not installed.
        LogError: A file is missing or not as the data set has it.
    """
    folder = find_movielens() if source is None else source
    pages = Pages(read_movielens(folder))
    files = sorted(folder.glob("*.*"))
    origin = {
        "importer": "movielens",
        "version": IMPORTER_VERSION,
        "source": digest_of_json({f.name: digest_of_file(f) for f in files}),
    }
    yield from import_days(out, pages.days, pages.tables, schema=SCHEMA, origin=origin)


class Pages:
    """All pages of the data set, cut into days."""

    def __init__(self, data: MovieLens) -> None:
        self.data = data
        self.is_like = data.ratings.stars >= FIRST_LIKED_STARS
        self.first, self.number_in_sitting = pages_of(data.ratings)
        self.last = np.append(self.first[1:], len(data.ratings.user))
        self.day_of = data.ratings.at[self.first] // _DAY_S
        self.first_of_user = np.searchsorted(data.ratings.user, data.ratings.user[self.first])
        self.number_of_user = (
            np.arange(len(self.first)) - np.searchsorted(self.first, self.first_of_user) + 1
        )
        self.likes_before = np.concatenate([[0], np.cumsum(self.is_like)])
        self.movies = _count_movies(data, self.is_like)
        self.genre = pc.list_element(pc.split_pattern(data.movies["genres"], " "), 0)

    @property
    def days(self) -> tuple[date, ...]:
        """Every UTC day with a page, in order."""
        seconds = (int(day) * _DAY_S for day in np.unique(self.day_of))
        return tuple(datetime.fromtimestamp(at, tz=UTC).date() for at in seconds)

    def tables(self, day: date) -> Iterator[pa.Table]:
        """The requests of a day, in order of (logged_at, request_id)."""
        number = (day - date(1970, 1, 1)).days
        pages = np.flatnonzero(self.day_of == number)
        table = self._table(pages, number)
        keys = [("logged_at", "ascending"), ("request_id", "ascending")]
        yield table.take(pc.sort_indices(table, sort_keys=keys)).combine_chunks()

    def _table(self, pages: Ints, day: int) -> pa.Table:
        ratings = self.data.ratings
        first, start = self.first[pages], self.first_of_user[pages]
        users = self.data.users.take(pa.array(ratings.user[first]))
        rated = first - start
        liked = self.likes_before[first] - self.likes_before[start]
        person = [
            *(users[name].combine_chunks() for name in users.column_names),
            pa.array(rated, mask=rated == 0),
            pa.array(liked, mask=rated == 0),
        ]
        ids = zip(users["user_id"].to_pylist(), self.number_of_user[pages], strict=True)
        return pa.Table.from_arrays(
            [
                pa.array([f"ml-{user}-{page}" for user, page in ids], type=pa.string()),
                _moments(ratings.at[first]),
                pa.StructArray.from_arrays(
                    [pa.array(self.number_in_sitting[pages])], fields=list(CONTEXT)
                ),
                pa.StructArray.from_arrays(person, fields=list(USER)),
                self._histories(first, start),
                self._candidates(pages, day),
            ],
            schema=SCHEMA,
        )

    def _histories(self, first: Ints, start: Ints) -> pa.ListArray:
        ratings = self.data.ratings
        length = np.minimum(first - start, LONGEST_HISTORY)
        offsets = np.concatenate([[0], np.cumsum(length)])
        rows = np.arange(offsets[-1]) + np.repeat(first - length - offsets[:-1], length)
        movie = pa.array(ratings.movie[rows])
        likes = pa.array(self.is_like[rows])
        genre = self.genre.take(movie)
        steps = {
            "ad_id": self.data.movies["ad_id"].take(movie),
            "action": pc.if_else(likes, "like", "dislike"),
            "at": _moments(ratings.at[rows]),
            "stars": pa.array(ratings.stars[rows]),
            "genre": genre,
            "genres": self.data.movies["genres"].take(movie),
            "liked_genre": pc.if_else(likes, genre, pa.scalar(None, pa.string())),
            "release_year": self.data.movies["release_year"].take(movie),
        }
        return pa.ListArray.from_arrays(offsets.astype(np.int32), _structs(steps, STEP))

    def _candidates(self, pages: Ints, day: int) -> pa.ListArray:
        parts = [self._candidates_of(int(page), day) for page in pages]
        offsets = np.cumsum([0, *(len(movies) for movies, _ in parts)])
        movie = np.concatenate([movies for movies, _ in parts])
        row = np.concatenate([rows for _, rows in parts])
        stars = self.data.ratings.stars[row]
        is_shown = row >= 0
        counters = self.movies
        known = counters.ratings[movie, day - counters.first_day]
        liked_at = counters.last_liked_at[movie, day - counters.first_day]
        place = pa.array(movie)
        candidates = {
            **{name: self.data.movies[name].take(place) for name in ("ad_id", "title", "genres")},
            "genre": self.genre.take(place),
            "release_year": self.data.movies["release_year"].take(place),
            "past_ratings": pa.array(known, mask=known == 0),
            "past_likes": pa.array(
                counters.likes[movie, day - counters.first_day], mask=known == 0
            ),
            "last_liked_at": _moments(liked_at, mask=liked_at < 0),
            "shown": pa.array(is_shown),
            "click": pa.array((stars >= FIRST_LIKED_STARS).astype(np.int64), mask=~is_shown),
            "stars": pa.array(stars, mask=~is_shown),
        }
        return pa.ListArray.from_arrays(offsets.astype(np.int32), _structs(candidates, CANDIDATE))

    def _candidates_of(self, page: int, day: int) -> tuple[Ints, Ints]:
        """Movies of a page in ascending order, each with its rating's row, or -1."""
        rows = np.arange(self.first[page], self.last[page])
        known = self.movies.ratings[:, day - self.movies.first_day].astype(np.float64)
        known[self.data.ratings.movie[self.first_of_user[page] : self.last[page]]] = 0.0
        count = min(UNLABELLED, int((known > 0).sum()))
        others = np.empty(0, dtype=np.int64)
        if count:
            rng = np.random.default_rng([IMPORTER_VERSION, page])
            others = rng.choice(len(known), size=count, replace=False, p=known / known.sum())
        movies = np.concatenate([self.data.ratings.movie[rows], others])
        order = np.argsort(movies)
        return movies[order], np.concatenate([rows, np.full(count, -1)])[order]


def pages_of(ratings: Ratings) -> tuple[Ints, Ints]:
    """[page] the row of each page's first rating, and its number within the sitting, from 1."""
    user, at = ratings.user, ratings.at
    is_new_moment = np.append(True, (user[1:] != user[:-1]) | (at[1:] != at[:-1]))
    moments = np.flatnonzero(is_new_moment)
    after = np.append(moments[1:], len(user))
    first: list[int] = []
    number: list[int] = []
    for begin, end in zip(moments.tolist(), after.tolist(), strict=True):
        is_new_user = not first or user[begin] != user[begin - 1]
        if is_new_user or at[begin] - at[begin - 1] > LONGEST_PAUSE_S:
            first.append(begin)
            number.append(1)
        elif end - first[-1] > MOVIES_PER_PAGE or at[begin] // _DAY_S != at[begin - 1] // _DAY_S:
            first.append(begin)
            number.append(number[-1] + 1)
    return np.array(first, dtype=np.int64), np.array(number, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _MovieCounters:
    """[movie, day] ratings, likes and the second of the latest like (or -1) on the days before."""

    first_day: int
    ratings: Ints
    likes: Ints
    last_liked_at: Ints


def _count_movies(data: MovieLens, is_like: NDArray[np.bool_]) -> _MovieCounters:
    day = data.ratings.at // _DAY_S
    shape = (data.movies.num_rows, int(day.max() - day.min()) + 2)
    day_after = (data.ratings.movie, day - day.min() + 1)
    rated, liked = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    latest = np.full(shape, -1, dtype=np.int64)
    np.add.at(rated, day_after, 1)
    np.add.at(liked, day_after, is_like)
    np.maximum.at(latest, day_after, np.where(is_like, data.ratings.at, -1))
    return _MovieCounters(
        first_day=int(day.min()),
        ratings=rated.cumsum(axis=1),
        likes=liked.cumsum(axis=1),
        last_liked_at=np.maximum.accumulate(latest, axis=1),
    )


def _moments(seconds: Ints, *, mask: NDArray[np.bool_] | None = None) -> pa.Array:
    return pa.array(seconds * 1_000_000, mask=mask).cast(TIMESTAMP)


def _structs(columns: dict[str, Any], kind: pa.StructType) -> pa.StructArray:
    """The columns as structs, in the order of the type's fields."""
    arrays = [columns[field.name] for field in kind]
    whole = [a.combine_chunks() if isinstance(a, pa.ChunkedArray) else a for a in arrays]
    return pa.StructArray.from_arrays(whole, fields=list(kind))
