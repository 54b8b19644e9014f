from __future__ import annotations

import csv
import importlib.util
import shutil
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay.errors import LogError, ToolkitError
from replay.logs.imports import ImportedDay
from replay.logs.open_bandit import DAYS, find_open_bandit, import_open_bandit
from replay.logs.parquet import open_day, read_shard

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("obp") is None, reason="pip install --no-deps obp==0.4.1"
)
LOGS = [(p, c) for p in ("random", "bts") for c in ("all", "men", "women")]

Row = dict[str, str]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ImportedDay]]:
    out = tmp_path_factory.mktemp("obd")
    return out, list(import_open_bandit(out))


@dataclass(frozen=True)
class Impression:
    policy: str
    campaign: str
    at: datetime
    row: Row

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.row[f"user_feature_{i}"] for i in range(4))


class Past:
    """The csv rows read with the standard library, found by what is counted."""

    def __init__(self) -> None:
        self.by_request: dict[str, Impression] = {}
        self.by_key: dict[tuple[str, ...], list[Impression]] = defaultdict(list)
        for policy, campaign in LOGS:
            path = find_open_bandit() / policy / campaign / f"{campaign}.csv"
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    at = datetime.fromisoformat(row["timestamp"])
                    one = Impression(policy, campaign, at, row)
                    self.by_request[f"obd-{policy}-{campaign}-{int(row['']):05d}"] = one
                    for key in ((campaign,), (campaign, row["item_id"]), one.segments):
                        self.by_key[key].append(one)

    def before(self, day: date, *key: str) -> tuple[int, int, datetime | None]:
        """Impressions, clicks and latest click on the days before."""
        earlier = [one for one in self.by_key[key] if one.at.date() < day]
        clicked = [one.at for one in earlier if one.row["click"] == "1"]
        return len(earlier), len(clicked), max(clicked, default=None)


@pytest.fixture(scope="module")
def past() -> Past:
    return Past()


def test_the_seven_days_hold_what_the_dataset_holds(
    imported: tuple[Path, list[ImportedDay]],
) -> None:
    days = {d.day: d.counts for d in imported[1]}

    assert tuple(days) == DAYS
    last = days[date(2019, 11, 30)]
    assert (last.requests, last.candidates, last.clicks) == (8006, 424_680, 43)
    assert sum(c.requests for c in days.values()) == 60_000
    assert sum(c.candidates for c in days.values()) == 3_200_000
    assert sum(c.clicks or 0 for c in days.values()) == 287


def test_a_second_import_writes_nothing(imported: tuple[Path, list[ImportedDay]]) -> None:
    out, first = imported
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}

    second = list(import_open_bandit(out))

    assert [d.written for d in second] == [False] * 7
    assert [d.counts for d in second] == [d.counts for d in first]
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before


def test_a_damaged_day_is_imported_again_and_is_the_same(
    imported: tuple[Path, list[ImportedDay]],
) -> None:
    out = imported[0]
    before = open_day(out, DAYS[1]).digest
    part = open_day(out, DAYS[1]).shards[0].path
    part.write_bytes(part.read_bytes()[:1000])

    again = list(import_open_bandit(out))

    assert [d.day for d in again if d.written] == [DAYS[1]]
    assert open_day(out, DAYS[1]).digest == before


def test_every_row_is_valid_and_in_order(imported: tuple[Path, list[ImportedDay]]) -> None:
    for day in DAYS[-2:]:
        shards = [read_shard(shard) for shard in open_day(imported[0], day).shards]
        assert all(not shard.rejections for shard in shards)
        keys = [
            (row["logged_at"], row["request_id"])
            for shard in shards
            for row in shard.batch.records.select(["logged_at", "request_id"]).to_pylist()
        ]
        assert keys == sorted(keys)


@pytest.mark.parametrize("day", [DAYS[0], DAYS[1], DAYS[6]])
def test_records_are_the_rows_with_counters_of_earlier_days_only(
    imported: tuple[Path, list[ImportedDay]], past: Past, day: date
) -> None:
    records = pq.read_table(open_day(imported[0], day).shards[0].path)
    for place in np.linspace(0, records.num_rows - 1, 7, dtype=int).tolist():
        record = records.slice(place, 1).to_pylist()[0]
        one = past.by_request[record["request_id"]]
        assert record["logged_at"] == one.at
        assert record["history"] == []
        assert record["context"] == expected_context(past, day, one)
        affinity = record["user"].pop("affinity_total")
        assert affinity == pytest.approx(expected_affinity(one), abs=1e-12)
        assert record["user"] == expected_user(past, day, one)
        items = find_open_bandit() / one.policy / one.campaign / "item_context.csv"
        with items.open(encoding="utf-8", newline="") as file:
            expected = [expected_candidate(past, day, one, item) for item in csv.DictReader(file)]
        assert record["candidates"] == expected


def expected_context(past: Past, day: date, one: Impression) -> dict[str, Any]:
    shown, clicked, _ = past.before(day, one.campaign)
    return {
        "campaign": one.campaign,
        "policy": one.policy,
        "slot": int(one.row["position"]),
        "past_impressions": None if day == DAYS[0] else shown,
        "past_clicks": None if day == DAYS[0] else clicked,
    }


def expected_user(past: Past, day: date, one: Impression) -> dict[str, Any]:
    shown, clicked, _ = past.before(day, *one.segments)
    return {
        **{f"segment_{i}": segment for i, segment in enumerate(one.segments)},
        "past_impressions": shown or None,
        "past_clicks": clicked if shown else None,
    }


def expected_affinity(one: Impression) -> float:
    return sum(float(v) for name, v in one.row.items() if name.startswith("user-item"))


def expected_candidate(past: Past, day: date, one: Impression, item: Row) -> dict[str, Any]:
    number = item["item_id"]
    shown, clicked, latest = past.before(day, one.campaign, number)
    is_shown = one.row["item_id"] == number
    return {
        "ad_id": int(number),
        "item_feature_0": float(item["item_feature_0"]),
        **{f"item_group_{i}": int(item[f"item_feature_{i}"][:12], 16) for i in (1, 2, 3)},
        "affinity": float(one.row[f"user-item_affinity_{number}"]),
        "past_impressions": shown or None,
        "past_clicks": clicked if shown else None,
        "last_clicked_at": latest,
        "shown": is_shown,
        "propensity": float(one.row["propensity_score"]) if is_shown else None,
        "click": int(one.row["click"]) if is_shown else None,
    }


def test_group_ids_lie_far_above_what_float32_holds(
    imported: tuple[Path, list[ImportedDay]],
) -> None:
    shard = read_shard(open_day(imported[0], DAYS[0]).shards[0])

    groups = shard.batch.column("candidate.item_group_1")

    assert shard.batch.records.schema.field("logged_at").type == pa.timestamp("us", tz="UTC")
    assert max(groups.to_pylist()) > 2**40


def test_a_missing_dataset_is_answered_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ToolkitError, match="not installed") as caught:
        list(import_open_bandit(tmp_path))

    assert caught.value.fix == "pip install --no-deps obp==0.4.1"


@pytest.fixture(scope="module")
def short_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset's files with 20 impressions each."""
    folder = tmp_path_factory.mktemp("short") / "obd"
    for policy, campaign in LOGS:
        source, target = find_open_bandit() / policy / campaign, folder / policy / campaign
        target.mkdir(parents=True)
        shutil.copy(source / "item_context.csv", target)
        lines = (source / f"{campaign}.csv").read_text().splitlines(keepends=True)
        (target / f"{campaign}.csv").write_text("".join(lines[:21]))
    return folder


MEN = "bts/men/men.csv"
ITEMS = "bts/men/item_context.csv"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((MEN, "position", "slot"), "the header is"),
        ((MEN, ",user-item_affinity_33", ""), "the header is"),
        ((MEN, "\n0,", "\n5,"), "first column is not 0, 1, 2"),
        (
            (MEN, "2019-11-24 00:01:03.979311+00:00", "2019-12-24 00:01:03+00:00"),
            "outside 2019-11-24",
        ),
        ((MEN, "2019-11-24 00:01:03.979311+00:00", "yesterday"), "timestamp"),
        ((MEN, "979311+00:00,2,2,0,", "979311+00:00,34,2,0,"), "item_id is not in item_context"),
        ((MEN, "979311+00:00,2,2,0,", "979311+00:00,2,4,0,"), "position is not 1, 2 or 3"),
        ((MEN, "979311+00:00,2,2,0,", "979311+00:00,2,2,7,"), "click is neither 0 nor 1"),
        ((MEN, "979311+00:00,2,2,0,", "979311+00:00,2,,0,"), "'position' has an empty value"),
        ((MEN, "cef3390e", "cef3\xff0e"), "(?i)utf-?8"),
        ((MEN, ",0.0\n", ",nan\n"), "not finite"),
        ((ITEMS, "item_id", "ad_id"), "the header is"),
        ((ITEMS, "c82d13885d8b", "c82d1388-d8b"), "not an md5 in hexadecimal"),
        ((ITEMS, "\n3,3,", "\n3,4,"), "item_id is not 0, 1, 2"),
    ],
)
def test_a_csv_file_that_is_not_the_datasets_is_an_error_that_names_it(
    short_copy: Path, tmp_path: Path, change: tuple[str, str, str], says: str
) -> None:
    name, old, new = change
    folder = tmp_path / "obd"
    shutil.copytree(short_copy, folder)
    text = (folder / name).read_text()
    assert old in text
    changed = text.replace(old, new, 1).encode("latin-1")
    (folder / name).write_bytes(changed)

    with pytest.raises(LogError, match=says) as caught:
        list(import_open_bandit(tmp_path / "out", source=folder))

    assert caught.value.where == str(folder / name)
    assert not list((tmp_path / "out").glob("*"))


def test_a_missing_csv_file_is_an_error(short_copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "obd"
    shutil.copytree(short_copy, folder)
    (folder / "random" / "women" / "women.csv").unlink()

    with pytest.raises(LogError, match="does not exist"):
        list(import_open_bandit(tmp_path / "out", source=folder))


def test_times_are_read_as_utc_to_the_microsecond(short_copy: Path, tmp_path: Path) -> None:
    list(import_open_bandit(tmp_path, source=short_copy))

    table = pq.read_table(open_day(tmp_path, DAYS[0]).shards[0].path)

    by_id = dict(zip(table["request_id"].to_pylist(), table["logged_at"].to_pylist(), strict=True))
    assert by_id["obd-bts-men-00000"] == datetime(2019, 11, 24, 0, 1, 3, 979_311, tzinfo=UTC)
