from __future__ import annotations

import gc
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from replay.errors import LogError
from replay.logs import decoding, writing
from replay.logs.parquet import list_days, open_day, read_shard, write_day
from tests.replay.logs.examples import DAY, a_candidate, a_record, records, schema_of, table_of

NEXT_DAY = date(2026, 3, 2)
KEPT_BY_ARROW = (pq.ParquetFile, pq.FileMetaData, pq.ParquetSchema)


def a_log(root: Path, number: int = 3) -> Path:
    """Writes one small day, and gives the path of its only file."""
    write_day(root, DAY, [table_of(records(number))], schema=schema_of())
    return root / "date=2026-03-01" / "part-00000.parquet"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    table = table_of(records(1100))

    write_day(tmp_path, DAY, [table], schema=schema_of())

    shards = [read_shard(shard) for shard in open_day(tmp_path, DAY).shards]
    assert [shard.read for shard in shards] == [512, 512, 76]
    assert [row for s in shards for row in s.batch.records.to_pylist()] == table.to_pylist()


def test_a_shard_is_named_by_its_place_in_the_log(tmp_path: Path) -> None:
    a_log(tmp_path, 513)

    day = open_day(tmp_path, DAY)

    assert [s.id for s in day.shards] == [
        "date=2026-03-01/part-00000.parquet#0",
        "date=2026-03-01/part-00000.parquet#1",
    ]
    assert day.num_requests == 513


def test_a_rejection_names_file_row_group_and_row(tmp_path: Path) -> None:
    rows = records(514)
    rows[513]["candidates"] = []
    write_day(tmp_path, DAY, [table_of(rows)], schema=schema_of())

    shard = read_shard(open_day(tmp_path, DAY).shards[1])

    (rejection,) = shard.rejections
    assert rejection.where == "date=2026-03-01/part-00000.parquet#1 row 1"


def test_text_that_is_not_utf8_survives_the_file_and_is_rejected(tmp_path: Path) -> None:
    rows = [*records(2), a_record(2, candidates=[a_candidate(1, title=b"\xff")])]
    write_day(tmp_path, DAY, [table_of(rows)], schema=schema_of())

    shard = read_shard(open_day(tmp_path, DAY).shards[0])

    assert [(r.reason, r.detail) for r in shard.rejections] == [
        ("invalid_text", r"candidate.title is b'\xff', not UTF-8")
    ]


def test_the_same_requests_give_the_same_bytes_however_they_are_cut(tmp_path: Path) -> None:
    table = table_of(records(1100))
    cut = [table.slice(0, 1), table.slice(1, 600), table.slice(601, 0), table.slice(601)]

    write_day(tmp_path / "whole", DAY, [table], schema=schema_of())
    write_day(tmp_path / "cut", DAY, cut, schema=schema_of())

    assert open_day(tmp_path / "whole", DAY).digest == open_day(tmp_path / "cut", DAY).digest


def test_a_long_day_is_cut_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROW_GROUP_REQUESTS", 2)
    monkeypatch.setattr(writing, "ROW_GROUPS_PER_FILE", 2)

    write_day(tmp_path, DAY, [table_of(records(9))], schema=schema_of())

    day = open_day(tmp_path, DAY)
    assert [(s.path.name, s.row_group, s.num_rows) for s in day.shards] == [
        ("part-00000.parquet", 0, 2),
        ("part-00000.parquet", 1, 2),
        ("part-00001.parquet", 0, 2),
        ("part-00001.parquet", 1, 2),
        ("part-00002.parquet", 0, 1),
    ]


def test_a_day_without_requests_is_a_day(tmp_path: Path) -> None:
    write_day(tmp_path, DAY, [], schema=schema_of())

    assert [read_shard(s).read for s in open_day(tmp_path, DAY).shards] in ([], [0])


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    before = open_day(tmp_path, DAY).digest

    (part.parent / "_SUCCESS").touch()
    assert open_day(tmp_path, DAY).digest == before

    part.rename(part.with_name("part-00001.parquet"))
    assert open_day(tmp_path, DAY).digest != before


def test_a_day_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    a_log(tmp_path)
    before = open_day(tmp_path, DAY).digest

    def failing() -> object:
        yield table_of(records(600))
        raise RuntimeError("the source broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        write_day(tmp_path, DAY, failing(), schema=schema_of())

    assert open_day(tmp_path, DAY).digest == before
    assert [p.name for p in tmp_path.iterdir()] == ["date=2026-03-01"]


def test_a_rewritten_day_keeps_nothing_of_the_old_one(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    part.with_name("part-00007.parquet").write_bytes(part.read_bytes())

    a_log(tmp_path, 2)

    assert open_day(tmp_path, DAY).num_requests == 2


def test_a_place_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(LogError, match="can not be written"):
        write_day(tmp_path / "file", DAY, [], schema=schema_of())


def test_days_are_listed_in_order(tmp_path: Path) -> None:
    for day in (NEXT_DAY, DAY):
        write_day(tmp_path, day, [], schema=schema_of())
    (tmp_path / "README").touch()
    (tmp_path / "elsewhere").mkdir()

    assert list_days(tmp_path) == (DAY, NEXT_DAY)


def test_a_day_that_is_not_there_is_answered_with_those_there_are(tmp_path: Path) -> None:
    a_log(tmp_path)

    with pytest.raises(LogError, match=r"no day 2026-03-02 \(there are: 2026-03-01\)"):
        open_day(tmp_path, NEXT_DAY)


def test_a_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no folder"):
        open_day(tmp_path / "absent", DAY)


@pytest.mark.parametrize(
    "name",
    ["date=..%2F..%2Fescape", "date=20260301", "date=2026-W09-7", "date=2026-02-30", "date="],
)
def test_a_partition_that_is_not_a_plain_date_is_refused(tmp_path: Path, name: str) -> None:
    a_log(tmp_path)
    (tmp_path / name).mkdir()

    with pytest.raises(LogError, match="not a folder named date=YYYY-MM-DD"):
        open_day(tmp_path, DAY)


def test_a_file_in_place_of_a_partition_is_refused(tmp_path: Path) -> None:
    (tmp_path / "date=2026-03-01").touch()

    with pytest.raises(LogError, match="not a folder"):
        list_days(tmp_path)


@pytest.mark.parametrize("name", ["0.parquet", "hour=03"])
def test_data_that_would_be_passed_over_is_an_error(tmp_path: Path, name: str) -> None:
    stranger = a_log(tmp_path).with_name(name)
    if stranger.suffix:
        stranger.touch()
    else:
        stranger.mkdir()

    with pytest.raises(LogError, match="is not a file named"):
        open_day(tmp_path, DAY)


def test_an_empty_partition_is_an_error(tmp_path: Path) -> None:
    a_log(tmp_path).unlink()

    with pytest.raises(LogError, match="holds no part"):
        open_day(tmp_path, DAY)


def test_files_of_a_day_have_the_same_fields(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    candidates = schema_of().field("candidates").type.value_type
    fewer = pa.struct([f for f in candidates if f.name != "bid_micros"])
    schema = schema_of().set(5, pa.field("candidates", pa.list_(fewer)))
    pq.write_table(schema.empty_table(), part.with_name("part-00001.parquet"))

    with pytest.raises(LogError, match=r"'candidates\.bid_micros' is absent") as caught:
        open_day(tmp_path, DAY)

    assert caught.value.where.endswith("part-00001.parquet")


def test_a_file_without_a_required_field_is_found_when_the_day_is_opened(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    pq.write_table(pq.read_table(part).drop_columns("user"), part)

    with pytest.raises(LogError, match="no field 'user'") as caught:
        open_day(tmp_path, DAY)

    assert caught.value.where == str(part)


def test_a_day_by_another_writer_is_read(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    table = pq.read_table(part)
    pq.write_table(table, part, row_group_size=2, use_compliant_nested_type=False, version="1.0")

    shards = [read_shard(s) for s in open_day(tmp_path, DAY).shards]

    assert [row for s in shards for row in s.batch.records.to_pylist()] == table.to_pylist()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path: Path, share: float) -> None:
    part = a_log(tmp_path)
    os.truncate(part, int(share * part.stat().st_size))

    with pytest.raises(LogError, match="not readable Parquet") as caught:
        open_day(tmp_path, DAY)

    assert caught.value.where == str(part)


def footer_start(part: Path) -> int:
    data = part.read_bytes()
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def test_a_flipped_bit_in_the_data_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    """Parquet itself has no checksum by default: 4 of 10 flips would decode to other requests."""
    part = a_log(tmp_path)
    (shard,) = open_day(tmp_path, DAY).shards
    expected = read_shard(shard).batch.records
    whole = part.read_bytes()
    places = np.random.default_rng(0).integers(4, footer_start(part), 250)
    refused = 0

    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(place) % 8
        part.write_bytes(flipped)
        try:
            assert read_shard(shard).batch.records.equals(expected)
        except LogError:
            refused += 1

    assert refused > len(places) / 2


def test_a_flipped_bit_in_the_footer_never_ends_in_another_error(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    whole = part.read_bytes()
    places = np.random.default_rng(1).integers(footer_start(part), len(whole), 12).tolist()
    refused = 0

    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        part.write_bytes(flipped)
        try:
            for shard in open_day(tmp_path, DAY).shards:
                read_shard(shard)
        except LogError:
            refused += 1

    assert refused > 0


FLIP_UNTIL_IT_ABORTS = """
import sys
import pyarrow as pa
import pyarrow.parquet as pq
whole, start = open(sys.argv[1], "rb").read(), int(sys.argv[2])
for place in range(start, len(whole) - 8):
    flipped = bytearray(whole)
    flipped[place] ^= 1 << place % 8
    print(place, flush=True)
    try:
        footer = pq.read_metadata(pa.BufferReader(bytes(flipped)))
        for group in range(footer.num_row_groups):
            for column in range(footer.num_columns):
                footer.row_group(group).column(column)
    except Exception:
        pass
"""


def test_a_footer_that_makes_arrow_abort_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    command = [sys.executable, "-c", FLIP_UNTIL_IT_ABORTS, str(part), str(footer_start(part))]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    assert tried.returncode < 0, "this Arrow raises for every flip: no probe is needed any more"
    place = int(tried.stdout.split()[-1])
    flipped = bytearray(part.read_bytes())
    flipped[place] ^= 1 << place % 8
    part.write_bytes(flipped)

    with pytest.raises(LogError, match="its footer is damaged"):
        open_day(tmp_path, DAY)


def test_a_day_says_whether_its_files_are_those_written(tmp_path: Path) -> None:
    part = a_log(tmp_path)
    assert open_day(tmp_path, DAY).is_as_written is True

    pq.write_table(pq.read_table(part).slice(1), part)
    assert open_day(tmp_path, DAY).is_as_written is False

    (part.parent / "_written.json").unlink()
    assert open_day(tmp_path, DAY).is_as_written is None


def test_a_shard_that_was_read_leaves_nothing_behind(tmp_path: Path) -> None:
    """Not even until the garbage collector comes by: a day has thousands of shards."""
    a_log(tmp_path)
    shard = open_day(tmp_path, DAY).shards[0]
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            read_shard(shard)
        # By its type alone: some libraries' objects import things when they are asked for a class.
        types = [type(one) for one in gc.get_objects()]
        left = [kind.__name__ for kind in types if issubclass(kind, KEPT_BY_ARROW)]
    finally:
        gc.enable()

    assert left == []


def test_a_file_that_changed_since_it_was_opened_is_an_error(tmp_path: Path) -> None:
    a_log(tmp_path, 600)
    first, second = open_day(tmp_path, DAY).shards
    part = a_log(tmp_path, 2)

    for shard in (first, second):
        with pytest.raises(LogError, match="not the"):
            read_shard(shard)
    part.unlink()
    with pytest.raises(LogError, match="gone"):
        read_shard(first)


@pytest.mark.parametrize("where", ["title", "request_id"])
def test_a_small_file_that_decodes_to_gigabytes_is_refused(tmp_path: Path, where: str) -> None:
    """One text of 4 MB, named 600 times by a dictionary, in a file of a few kilobytes."""
    table = table_of(records(600))
    text = pa.DictionaryArray.from_arrays(np.zeros(600, np.int32), ["x" * 4_000_000])
    if where == "title":
        struct = table_of([a_record(i, candidates=[a_candidate()]) for i in range(600)])
        lists = struct.column("candidates").chunk(0)
        kind = lists.type.value_type
        place = kind.get_field_index("title")
        children = [text if i == place else lists.values.field(i) for i in range(len(kind))]
        values = pa.StructArray.from_arrays(children, names=[f.name for f in kind])
        table = struct.set_column(5, "candidates", pa.ListArray.from_arrays(lists.offsets, values))
    else:
        table = table.set_column(0, "request_id", text)
    part = a_log(tmp_path)
    pq.write_table(table, part, compression="zstd", dictionary_pagesize_limit=1 << 30)
    assert part.stat().st_size < 100_000

    with pytest.raises(LogError, match="decodes to more than"):
        read_shard(open_day(tmp_path, DAY).shards[0])


def test_a_footer_that_promises_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_log(tmp_path, 500)
    monkeypatch.setattr(decoding, "MAX_ROW_GROUP_BYTES", 10_000)

    with pytest.raises(LogError, match="decodes to more than 10,000 bytes"):
        read_shard(open_day(tmp_path, DAY).shards[0])
