"""The files of MovieLens 100k as columns, read out of the `recbole` wheel, which is never imported."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from replay.errors import LogError, ToolkitError

NAME = "ml-100k"
_INSTALL = "pip install --no-deps recbole==1.2.1"
_RATING_COLUMNS = {
    "user_id:token": pa.int64(),
    "item_id:token": pa.int64(),
    "rating:float": pa.int64(),
    "timestamp:float": pa.int64(),
}
_MOVIE_COLUMNS = {
    "item_id:token": pa.int64(),
    "movie_title:token_seq": pa.string(),
    "release_year:token": pa.string(),
    "class:token_seq": pa.string(),
}
_USER_COLUMNS = {
    "user_id:token": pa.int64(),
    "age:token": pa.int64(),
    "gender:token": pa.string(),
    "occupation:token": pa.string(),
    "zip_code:token": pa.string(),
}

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ratings:
    """[rating] who rated what how and when, in the order of (user, at, movie).

    Attributes:
        user, movie: Places in `MovieLens.users` and `MovieLens.movies`, not ids.
        stars: 1 to 5.
        at: Seconds since 1970.
    """

    user: Ints
    movie: Ints
    stars: Ints
    at: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MovieLens:
    """Ratings, with what is known of movies and users.

    Attributes:
        movies: `ad_id` int64, `title`, `genres` (separated by spaces) text, `release_year` int64,
            null where unknown.
        users: `user_id`, `age` int64, `gender`, `occupation` text.
    """

    ratings: Ratings
    movies: pa.Table
    users: pa.Table


def find_movielens() -> Path:
    """The data set's folder inside the installed `recbole` package, which is not imported.

    Raises:
        ToolkitError: It is not installed.
    """
    spec = importlib.util.find_spec("recbole")
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "dataset_example" / NAME
        if folder.is_dir():
            return folder
    raise ToolkitError(
        "MovieLens 100k is not installed.", where="Python package recbole", fix=_INSTALL
    )


def read_movielens(folder: Path) -> MovieLens:
    """Read the three files of `folder` that are used: ratings, movies, users.

    Raises:
        LogError: A file is missing or not as the data set has it.
    """
    movies = _read(folder / f"{NAME}.item", _MOVIE_COLUMNS)
    users = _read(folder / f"{NAME}.user", _USER_COLUMNS)
    path = folder / f"{NAME}.inter"
    rated = _read(path, _RATING_COLUMNS)
    user = _places(rated["user_id:token"], among=users["user_id:token"], path=path)
    movie = _places(rated["item_id:token"], among=movies["item_id:token"], path=path)
    stars = rated["rating:float"].to_numpy()
    at = rated["timestamp:float"].to_numpy()
    if len(np.unique(user * len(movies) + movie)) != len(user):
        raise _unexpected(path, "a user rates a movie twice")
    if stars.min() < 1 or stars.max() > 5:
        raise _unexpected(path, "a rating is not 1 to 5")
    order = np.lexsort((movie, at, user))
    year = movies["release_year:token"]
    return MovieLens(
        ratings=Ratings(user=user[order], movie=movie[order], stars=stars[order], at=at[order]),
        movies=pa.table(
            {
                "ad_id": movies["item_id:token"],
                "title": movies["movie_title:token_seq"],
                "genres": movies["class:token_seq"],
                "release_year": pc.if_else(
                    pc.match_substring_regex(year, r"^\d{4}$"), year, None
                ).cast(pa.int64()),
            }
        ),
        users=pa.table(
            {
                "user_id": users["user_id:token"],
                "age": users["age:token"],
                "gender": users["gender:token"],
                "occupation": users["occupation:token"],
            }
        ),
    )


def _read(path: Path, columns: dict[str, pa.DataType]) -> pa.Table:
    try:
        table = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(column_types=columns, strings_can_be_null=False),
        )
    except (OSError, pa.ArrowInvalid) as error:
        raise _unexpected(path, str(error)) from error
    if tuple(table.column_names) != tuple(columns):
        raise _unexpected(path, f"its columns are {', '.join(table.column_names)}")
    if not table.num_rows or any(column.null_count for column in table.columns):
        raise _unexpected(path, "it is empty, or a value is missing")
    return table.combine_chunks()


def _places(ids: pa.ChunkedArray, *, among: pa.ChunkedArray, path: Path) -> Ints:
    places = pc.index_in(ids, value_set=among)
    if places.null_count:
        unknown = ids.filter(pc.is_null(places))[0].as_py()
        raise _unexpected(path, f"{unknown} is rated or rates, and is described nowhere")
    found: Ints = places.to_numpy().astype(np.int64)
    return found


def _unexpected(path: Path, what: str) -> LogError:
    return LogError(
        f"this is not MovieLens 100k as released: {what}.",
        where=str(path),
        fix=f"install the data set again: {_INSTALL}",
    )
