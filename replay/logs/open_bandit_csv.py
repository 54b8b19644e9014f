"""One csv log of the Open Bandit Dataset, as columns; anything unexpected in it is an error."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from replay.errors import LogError
from replay.request import TIMESTAMP

POLICIES = ("random", "bts")
CAMPAIGNS = ("all", "men", "women")
_SEGMENTS = tuple(f"user_feature_{i}" for i in range(4))
_ITEM_COLUMNS = ("", "item_id", *(f"item_feature_{i}" for i in range(4)))
_ROW_COLUMNS = (
    ("", pa.int64()),
    ("timestamp", TIMESTAMP),
    ("item_id", pa.int64()),
    ("position", pa.int64()),
    ("click", pa.int64()),
    ("propensity_score", pa.float64()),
    *((name, pa.string()) for name in _SEGMENTS),
)
# 48 bits: far above 2^24, and an int64 whatever the digits are.
_HEX_DIGITS_OF_GROUP = 12
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BanditLog:
    """One of the six logs, in file order.

    Attributes:
        logged_at: [row] microseconds since 1970.
        item: [row] the item that was shown.
        slot: [row] its position on the page, 1-3.
        click: [row] 0 or 1.
        propensity: [row] of showing that item there.
        segments: Four arrays of text, [row].
        affinity: [row, item].
        item_feature_0: [item].
        item_groups: Three arrays, [item].
    """

    path: Path
    policy: str
    campaign: str
    logged_at: NDArray[np.int64]
    item: NDArray[np.int64]
    slot: NDArray[np.int64]
    click: NDArray[np.int64]
    propensity: NDArray[np.float64]
    segments: tuple[pa.Array, ...]
    affinity: NDArray[np.float64]
    item_feature_0: NDArray[np.float64]
    item_groups: tuple[NDArray[np.int64], ...]

    @property
    def num_rows(self) -> int:
        return len(self.item)

    @property
    def num_items(self) -> int:
        return len(self.item_feature_0)


def read_log(folder: Path, policy: str, campaign: str) -> BanditLog:
    """Read `<policy>/<campaign>/<campaign>.csv` and the items beside it.

    Raises:
        LogError: A file is missing, its header is another one, or a value does not fit.
    """
    items_path = folder / policy / campaign / "item_context.csv"
    items = _read(items_path, [(n, _item_type(n)) for n in _ITEM_COLUMNS])
    _check(_ascends_from_zero(items["item_id"]), "item_id is not 0, 1, 2, ...", items_path)

    path = folder / policy / campaign / f"{campaign}.csv"
    affinities = [f"user-item_affinity_{i}" for i in range(items.num_rows)]
    rows = _read(path, [*_ROW_COLUMNS, *((name, pa.float64()) for name in affinities)])
    _check(_ascends_from_zero(rows[""]), "the first column is not 0, 1, 2, ...", path)
    item, slot, click = (_ints(rows[name]) for name in ("item_id", "position", "click"))
    _check(_all_within(item, 0, items.num_rows - 1), "an item_id is not in item_context.csv", path)
    _check(_all_within(slot, 1, 3), "a position is not 1, 2 or 3", path)
    _check(_all_within(click, 0, 1), "a click is neither 0 nor 1", path)
    return BanditLog(
        path=path,
        policy=policy,
        campaign=campaign,
        logged_at=_ints(rows["timestamp"].cast(pa.int64())),
        item=item,
        slot=slot,
        click=click,
        propensity=rows["propensity_score"].to_numpy(),
        segments=tuple(rows[name].combine_chunks() for name in _SEGMENTS),
        affinity=np.stack([rows[name].to_numpy() for name in affinities], axis=1),
        item_feature_0=items["item_feature_0"].to_numpy(),
        item_groups=tuple(_groups(items[f"item_feature_{i}"], items_path) for i in (1, 2, 3)),
    )


def _item_type(name: str) -> pa.DataType:
    if name in {"", "item_id"}:
        return pa.int64()
    return pa.float64() if name == "item_feature_0" else pa.string()


def _read(path: Path, columns: Sequence[tuple[str, pa.DataType]]) -> pa.Table:
    names = [name for name, _ in columns]
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            header = file.readline().rstrip("\r\n").split(",")
        _check(
            header == names, f"the header is {_shortened(header)}, not {_shortened(names)}", path
        )
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(use_threads=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict(columns), null_values=[""], strings_can_be_null=True
            ),
        )
    except FileNotFoundError as error:
        raise _error("the file does not exist", path) from error
    except (pa.ArrowException, OSError) as error:
        raise _error(str(error).rstrip("."), path) from error
    _check(table.num_rows > 0, "the file has no rows", path)
    for name in names:
        _check(table[name].null_count == 0, f"column {name!r} has an empty value", path)
    for name, kind in columns:
        if pa.types.is_floating(kind):
            _check(pc.all(pc.is_finite(table[name])).as_py(), f"{name!r} is not finite", path)
    return table


def _groups(hashes: pa.ChunkedArray, path: Path) -> NDArray[np.int64]:
    texts = hashes.to_pylist()
    for text in texts:
        _check(_MD5.fullmatch(text) is not None, f"{text!r} is not an md5 in hexadecimal", path)
    return np.array([int(text[:_HEX_DIGITS_OF_GROUP], 16) for text in texts], dtype=np.int64)


def _ints(values: pa.ChunkedArray) -> NDArray[np.int64]:
    array: NDArray[np.int64] = values.to_numpy()
    return array


def _ascends_from_zero(values: pa.ChunkedArray) -> bool:
    return bool(np.array_equal(values.to_numpy(), np.arange(len(values))))


def _all_within(values: NDArray[np.int64], low: int, high: int) -> bool:
    return bool(((values >= low) & (values <= high)).all())


def _shortened(names: Sequence[str]) -> str:
    text = ",".join(names)
    return repr(text if len(text) <= 200 else f"{text[:200]}... ({len(names)} columns)")


def _check(holds: bool, what: str, path: Path) -> None:  # noqa: FBT001 - a claim, as in assert
    if not holds:
        raise _error(what, path)


def _error(what: str, path: Path) -> LogError:
    return LogError(
        f"{what}.",
        where=str(path),
        fix="install the dataset as released: pip install --no-deps obp==0.4.1",
    )
